"""Several processes of a test that train one run together, as `--processes` starts them."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.engine.runs import end_of, start


def together(number: int, work: Callable[[], object], said: Path | None = None) -> list[int]:
    """The ids of `number` processes that do `work` as one team. `said`: a folder for what each prints, `0.txt` …"""
    meeting = Path(tempfile.mkdtemp()) / "meeting"

    def member(rank: int) -> None:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number, "LUTHIER_MEETING": meeting}
        os.environ.update({name: str(value) for name, value in place.items()})
        if said is not None:
            sys.stderr = (said / f"{rank}.txt").open("w")
        work()

    return [start(lambda rank=rank: member(rank)) for rank in range(number)]  # type: ignore[misc]


def done_by(number: int, work: Callable[[], object]) -> None:
    """`work` by a team, to its end; alone in a process of its own where the number is 1."""
    ends = [end_of(child, timeout_s=120) for child in together(number, work)]
    assert ends == [0] * number
