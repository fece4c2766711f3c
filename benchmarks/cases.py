"""The rows of the table: which model, type and amount of work; and the settings that TRL is tried with."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import PeerSettings, SweepEntry

RANK, ALPHA, LEARNING_RATE = 16, 32, 1e-4


@dataclass(frozen=True)
class Work:
    """So many optimizer steps of so many rows."""

    rows_per_step: int
    num_steps: int

    @property
    def num_rows(self) -> int:
        return self.rows_per_step * self.num_steps


@dataclass(frozen=True)
class Case:
    """One comparison. `work`: what each side does in each round; `sweep_work`: what each of TRL's settings is tried on."""

    name: str
    title: str
    shape: str
    dtype: str
    work: Work
    sweep_work: Work


CASES = {
    case.name: case
    for case in (
        Case("m125-bf16", "LoRA SFT, 125M, bf16", "m125", "bfloat16", Work(16, 5), Work(8, 3)),
        Case("m125-fp32", "LoRA SFT, 125M, fp32", "m125", "float32", Work(16, 5), Work(8, 3)),
        Case("m600-bf16", "LoRA SFT, 0.6B with 152k words, bf16", "m600", "bfloat16", Work(8, 4), Work(8, 2)),
    )
}

QUICK = Case("tiny", "LoRA SFT, a toy, fp32", "tiny", "float32", Work(8, 3), Work(8, 2))
"""A smoke test of the benchmark itself: its figures say nothing."""


def kinds(dtype: str) -> list[PeerSettings]:
    """The types that TRL computes in: tried first, in the most usual layout."""
    if dtype == "float32":
        return [PeerSettings("float32", False, "padded", 4)]
    return [
        PeerSettings("bfloat16", True, "padded", 4),
        PeerSettings("bfloat16", False, "padded", 4),
        PeerSettings("float32", True, "padded", 4),
    ]


def layouts(kind: PeerSettings) -> list[PeerSettings]:
    """The other ways to lay rows out, in the type that was fastest."""
    weights, autocast = kind.weights, kind.autocast
    return [
        PeerSettings(weights, autocast, "padded", 1),
        PeerSettings(weights, autocast, "padded", 8),
        PeerSettings(weights, autocast, "padding_free", 4),
        PeerSettings(weights, autocast, "padding_free", 8),
        PeerSettings(weights, autocast, "packed", 4),
        PeerSettings(weights, autocast, "packed", 8),
    ]


def best(entries: Sequence[SweepEntry]) -> PeerSettings:
    """The fastest.

    Raises:
        SystemExit: none ran.
    """
    ran = [(entry.tokens_per_second, entry.settings) for entry in entries if entry.tokens_per_second is not None]
    if not ran:
        raise SystemExit("TRL ran with none of its settings:\n" + "\n".join(f"{e.settings}: {e.fault}" for e in entries))
    return max(ran, key=lambda found: found[0])[1]
