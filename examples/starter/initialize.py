"""Makes the untrained starter model: `python -m examples.starter.initialize --out runs/starter-initial`.

Random weights by seed, with the tokenizer and template that the trained model has, as a folder that `luthier train pretrain` starts from.
"""

import argparse
import shutil
from pathlib import Path

import torch
from examples.starter.config import model_config
from examples.starter.tokenizer import STARTER
from transformers import LlamaConfig, LlamaForCausalLM


def initialize(out: Path, seed: int) -> None:
    """Weights in fp32, beside copies of everything that the starter's folder holds but weights."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    settings = model_config() | {"dtype": "float32"}
    LlamaForCausalLM(LlamaConfig(**settings)).save_pretrained(out)
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(STARTER / name, out / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/starter-initial"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    initialize(options.out, options.seed)


if __name__ == "__main__":
    main()
