"""Puts trained weights into the package: `python -m examples.starter.publish runs/starter/…/model.safetensors`.

The weights are rounded to bf16, so that the whole model stays within the 6 MB that the wheel has for it. Tokens that the corpus never
showed are moved apart, so that tuning can teach them.
"""

import argparse
from pathlib import Path

import torch
from examples.starter.tokenizer import STARTER
from safetensors.torch import load_file, save_file

LIMIT_BYTES = 6_000_000

EMBEDDING = "model.embed_tokens.weight"

ALIKE = 0.97
"""Cosine beyond which two rows of the embedding are one. Of tokens that were seen, the nearest two are below it."""

APART = 0.6
"""How far rows that were never seen are moved, each its own way; rows are about 1 long."""


def told_apart(embedding: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """(V, d): each row that is no other's twin as it was; the others moved, at a right angle to what they share.

    Pre-training pushes all tokens that never occur to one place (a fifth of this vocabulary), because it only ever says that they are not
    meant. Head and embedding are one and stay frozen under an adapter, so no tuning could tell two of them apart: it would write `Haritor`
    where it was taught `Harbour`. What they share is what makes them unlikely, and stays.
    """
    rows = embedding.float()
    likeness = torch.nn.functional.normalize(rows, dim=1) @ torch.nn.functional.normalize(rows, dim=1).T
    unseen = likeness.fill_diagonal_(-1).amax(1) > ALIKE
    if not unseen.any():
        return embedding
    shared = torch.nn.functional.normalize(rows[unseen].mean(0), dim=0)
    ways = torch.randn(rows.shape, generator=torch.Generator().manual_seed(seed))
    ways = torch.nn.functional.normalize(ways - (ways @ shared)[:, None] * shared, dim=1)
    return torch.where(unseen[:, None], rows + APART * ways, rows).to(embedding.dtype)


def publish(weights: Path, out: Path) -> int:
    """Writes `model.safetensors` in bf16 and returns the size of the folder in bytes.

    Raises:
        SystemExit: the folder is larger than the wheel allows.
    """
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in load_file(weights).items() if name != "lm_head.weight"}
    tensors[EMBEDDING] = told_apart(tensors[EMBEDDING])
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
