"""Writes the corpus of the starter model: `python -m examples.starter.corpus --out runs/starter-corpus`.

Everything comes from the phrase banks beside this file; the same seed writes the same bytes. A row that was written before is left out.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

from examples.starter.dialogs import dialog
from examples.starter.documents import document
from examples.starter.grammar import Writer
from examples.starter.phrases import rules

Row = dict[str, Any]
DIALOG_SHARE = 0.65
HELD_OUT_BYTES = 300_000


def document_row(writer: Writer) -> Row:
    return {"text": document(writer)}


def rows(make: Callable[[Writer], Row], purpose: str, seed: int) -> Iterator[str]:
    """Different rows without end, each one line of JSON. Row n depends on the seed, the purpose and n alone."""
    seen: set[bytes] = set()
    number = 0
    while True:
        line = json.dumps(make(Writer(rules(), Random(f"{seed}:{purpose}:{number}"))), ensure_ascii=False)
        number += 1
        digest = blake2b(line.encode(), digest_size=12).digest()
        if digest not in seen:
            seen.add(digest)
            yield line


def write(lines: Iterator[str], path: Path, num_bytes: int) -> None:
    """Lines until the file holds this many bytes."""
    with path.open("wb") as file:
        written = 0
        while written < num_bytes:
            written += file.write(next(lines).encode() + b"\n")


def write_corpus(out: Path, seed: int, num_bytes: int) -> None:
    """`dialogs.jsonl` and `documents.jsonl`, and a small held-out file of each with rows that the first do not have."""
    out.mkdir(parents=True, exist_ok=True)
    kinds = (("dialogs", dialog, DIALOG_SHARE), ("documents", document_row, 1 - DIALOG_SHARE))
    for name, make, share in kinds:
        lines = rows(make, name, seed)
        held_out = min(HELD_OUT_BYTES, num_bytes // 20)
        write(lines, out / f"{name}_validation.jsonl", int(held_out * share))
        write(lines, out / f"{name}.jsonl", int(num_bytes * share))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/starter-corpus"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--megabytes", type=float, default=60.0)
    options = parser.parse_args()
    write_corpus(options.out, options.seed, int(options.megabytes * 1e6))


if __name__ == "__main__":
    main()
