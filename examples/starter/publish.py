"""Puts trained weights into the package: `python -m examples.starter.publish runs/starter/…/model.safetensors`.

The weights are rounded to bf16, so that the whole model stays within the 6 MB that the wheel has for it.
"""

import argparse
from pathlib import Path

import torch
from examples.starter.tokenizer import STARTER
from safetensors.torch import load_file, save_file

LIMIT_BYTES = 6_000_000


def publish(weights: Path, out: Path) -> int:
    """Writes `model.safetensors` in bf16 and returns the size of the folder in bytes.

    Raises:
        SystemExit: the folder is larger than the wheel allows.
    """
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in load_file(weights).items() if name != "lm_head.weight"}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    size = sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    if size > LIMIT_BYTES:
        raise SystemExit(f"{out} holds {size:,} bytes, more than the {LIMIT_BYTES:,} that the wheel has for it. Make the model smaller.")
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--out", type=Path, default=STARTER)
    options = parser.parse_args()
    print(f"{publish(options.weights, options.out):,} bytes in {options.out}")


if __name__ == "__main__":
    main()
