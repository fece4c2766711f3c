"""Files with random damage, and rows with random values: every outcome is a row or a sentence, never a traceback and never a wait."""

import gzip
import json
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.contract.test_formats import CONTAINERS, EXAMPLES, TEXTS, in_container

from luthier.data.load import stream
from luthier.data.prompts import read_prompts
from luthier.errors import UserError
from luthier.spec.run import DataSource

ODD = [None, True, 3, 1.5, "", [], {}, [1], {"a": 1}, [{"role": "user"}], [{"role": "user", "content": None}], "[", '{"a"', [[]], -1]
OTHER_FIELDS = ["label", "tools", "system", "history", "rater", "input", "score", "split", "ranks", "functions", "kto_tag"]
PIECES = [b'"', b"\n", b"[", b"{", b",", b"\xff", b'""', b"null", b"\r", b"\\u", b"\0"]


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Bytes changed, taken out, put in, or repeated in a few places."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        place, kind = chance.randrange(len(data) + 1), chance.random()
        if kind < 0.4:
            del data[place : place + chance.randint(1, 30)]
        elif kind < 0.8:
            data[place:place] = chance.choice(PIECES)
        else:
            data[place:place] = data[: chance.randint(1, 50)]
    return bytes(data)


def odd(value: Any, chance: random.Random) -> Any:
    """A value, or something within it, exchanged for another."""
    if isinstance(value, list) and value and chance.random() < 0.5:
        place = chance.randrange(len(value))
        return [odd(entry, chance) if i == place else entry for i, entry in enumerate(value)]
    if isinstance(value, dict) and value and chance.random() < 0.5:
        place = chance.choice(list(value))
        return {key: odd(entry, chance) if key == place else entry for key, entry in value.items()}
    return chance.choice(ODD)


def outcome(file: Path, format: str) -> None:
    """Read to the end, both as rows and as prompts."""
    begin = time.process_time()
    for read in (lambda: list(stream(DataSource(path=str(file), format=format))), lambda: read_prompts(str(file))):
        with suppress(UserError):
            assert all(str(row) for row in read())
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("kind", [*CONTAINERS, "txt"])
def test_damaged_files(tmp_path: Path, kind: str) -> None:
    chance = random.Random(kind)
    for name in EXAMPLES if kind != "txt" else TEXTS:
        whole = in_container(tmp_path, EXAMPLES[name], kind).read_bytes() if kind != "txt" else TEXTS[name].encode()
        for _ in range(6):
            content = damaged(whole, chance)
            file = tmp_path / f"damaged.{kind}"
            file.write_bytes(damaged(gzip.compress(content), chance) if chance.random() < 0.1 else content)
            outcome(file, chance.choice(["auto", name]))


@pytest.mark.parametrize("name", EXAMPLES)
def test_odd_values(tmp_path: Path, name: str) -> None:
    chance = random.Random(name)
    for _ in range(20):
        rows = [EXAMPLES[name]] * 3
        for _ in range(3):
            key = chance.choice([*EXAMPLES[name], *OTHER_FIELDS])
            rows.append({**EXAMPLES[name], key: odd(EXAMPLES[name].get(key), chance)})
        file = tmp_path / "odd.json"
        file.write_text(json.dumps(rows), encoding="utf-8")
        outcome(file, chance.choice(["auto", name]))
