"""What both sides are given: a model of a shape, and rows, the same for both."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks import peer, rows
from benchmarks.cases import Method
from benchmarks.process import ROOT, run
from benchmarks.shapes import SHAPES

CACHE = Path(os.environ.get("LUTHIER_BENCH_CACHE") or Path.home() / ".cache" / "luthier-benchmarks")
SHARED = Path(os.environ.get("LUTHIER_SHARED") or ROOT.parent / "shared")
SENTENCEPIECE = SHARED / "tokenizers" / "llama2-32k" / "tokenizer.model"
REAL_VOCABULARY = 32_000
GSM8K = SHARED / "data" / "gsm8k" / "train.jsonl"

MAKE: dict[Method, Callable[[list[rows.Row]], list[rows.Row]]] = {
    "sft": list,
    "dpo": rows.pairs,
    "reward_model": rows.pairs,
    "grpo": rows.prompts,
}
"""Conversations → the rows that a method learns from."""


@dataclass(frozen=True)
class Model:
    """`real`: with Llama 2's tokenizer, so that GSM8K's lengths are what they are taken for."""

    folder: Path
    real: bool

    def count(self) -> Callable[[str], int]:
        """Tokens of a text, without special ones."""
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def model_of(name: str, cache: Path, threads: int) -> Model:
    """The model of a shape, made if it is not there.

    Llama 2's tokenizer needs a large enough vocabulary, the shared folder, and a package of the peers' environment to convert it.
    """
    shape = SHAPES[name]
    real = SENTENCEPIECE.is_file() and peer.PYTHON.exists() and shape.vocabulary >= REAL_VOCABULARY
    folder = cache / f"{shape.name}-{'llama2' if real else 'generated'}"
    if not folder.is_dir():
        print(f"Making {folder}", flush=True)
        python = peer.PYTHON if real else sys.executable
        more: list[str | Path] = ["--tokenizer", SENTENCEPIECE] if real else []
        run([python, "-m", "benchmarks.shapes", shape.name, folder, *more], threads, cache / "scratch" / "shapes.log")
    return Model(folder, real)


def rows_of(model: Model, method: Method, number: int, scratch: Path) -> tuple[str, Path]:
    """Where the rows are from, and the file. GSM8K only with a real tokenizer."""
    source = "GSM8K" if model.real and GSM8K.is_file() else "generated"
    found = rows.gsm8k(GSM8K, number) if source == "GSM8K" else rows.generated(number, model.count())
    return source, rows.write(scratch / f"{source.lower()}-{method}.jsonl", MAKE[method](found))
