"""The rows of the table: which method, model, type and amount of work; and the settings that TRL is tried with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from benchmarks.results import PeerSettings, SweepEntry

RANK, ALPHA, LEARNING_RATE = 16, 32, 1e-4
REWARD = Path(__file__).with_name("length_reward.py")
"""What answers are worth, to both sides."""

Method = Literal["sft", "dpo", "reward_model", "grpo"]


@dataclass(frozen=True)
class Work:
    """So many optimizer steps of so many rows. `answers`: drawn to each prompt, each a row, of `new_tokens` at most; 1: none is drawn."""

    rows_per_step: int
    num_steps: int
    answers: int = 1
    new_tokens: int = 0

    @property
    def read_per_step(self) -> int:
        """Rows of the data file that a step learns from."""
        return self.rows_per_step // self.answers

    @property
    def num_rows(self) -> int:
        return self.read_per_step * self.num_steps


@dataclass(frozen=True)
class Case:
    """One comparison. `work`: what each side does in each round; `sweep_work`: what each of TRL's settings is tried on.

    `unit`: what is counted in a second: `tokens`, or the rows, by what they are; or `steps`, which take seconds.
    """

    name: str
    title: str
    shape: str
    dtype: str
    work: Work
    sweep_work: Work
    method: Method = "sft"
    unit: str = "tokens"

    @property
    def draws(self) -> bool:
        """Whether the answers it learns from are drawn on the way, and so are others on each side."""
        return self.work.answers > 1


def _toy(case: Case, name: str, work: Work = Work(8, 3), sweep_work: Work = Work(8, 2)) -> Case:
    """A smoke test of the benchmark itself: its figures say nothing."""
    title = f"{case.title.split(',')[0]}, a toy, fp32"
    return replace(case, name=name, title=title, shape="tiny", dtype="float32", work=work, sweep_work=sweep_work)


_SFT = Case("m125-bf16", "LoRA SFT, 125M, bf16", "m125", "bfloat16", Work(16, 5), Work(8, 3))
_DPO = Case("dpo", "LoRA DPO, 125M, bf16", "m125", "bfloat16", Work(8, 5), Work(8, 2), "dpo", "pairs")
_REWARD_MODEL = Case("reward-model", "LoRA reward model, 125M, bf16", "m125", "bfloat16", Work(8, 5), Work(8, 2), "reward_model", "pairs")
_GRPO = Case("grpo", "LoRA GRPO, 15M, bf16", "m15", "bfloat16", Work(64, 4, 8, 64), Work(64, 2, 8, 64), "grpo", "steps")

CASES = {
    case.name: case
    for case in (
        _SFT,
        Case("m125-fp32", "LoRA SFT, 125M, fp32", "m125", "float32", Work(16, 5), Work(8, 3)),
        Case("m600-bf16", "LoRA SFT, 0.6B with 152k words, bf16", "m600", "bfloat16", Work(8, 4), Work(8, 2)),
        _DPO,
        _REWARD_MODEL,
        _GRPO,
    )
}

TOYS = {
    case.name: case
    for case in (
        _toy(_SFT, "tiny"),
        _toy(_DPO, "tiny-dpo"),
        _toy(_REWARD_MODEL, "tiny-reward-model"),
        _toy(_GRPO, "tiny-grpo", Work(8, 3, 4, 8), Work(8, 2, 4, 8)),
    )
}


def kinds(case: Case) -> list[PeerSettings]:
    """The types that TRL computes in: tried first, in the most usual layout."""
    at_once = 64 if case.draws else 4
    at_once = min(at_once, case.sweep_work.rows_per_step)
    if case.dtype == "float32":
        return [PeerSettings("float32", False, "padded", at_once)]
    return [
        PeerSettings("bfloat16", True, "padded", at_once),
        PeerSettings("bfloat16", False, "padded", at_once),
        PeerSettings("float32", True, "padded", at_once),
    ]


def layouts(case: Case, kind: PeerSettings) -> list[PeerSettings]:
    """The other ways to lay rows out, in the type that was fastest. Padding-free and packed rows are there for supervised tuning alone."""
    if case.method != "sft":
        most = case.sweep_work.rows_per_step
        tried = (8, 16, 32) if case.draws else (1, 2, 8)
        return [_with(kind, "padded", n) for n in tried if n <= most and n != kind.rows_at_once]
    others = (("padded", 1), ("padded", 8), ("padding_free", 4), ("padding_free", 8), ("packed", 4), ("packed", 8))
    return [_with(kind, layout, at_once) for layout, at_once in others]


def _with(kind: PeerSettings, layout: str, rows_at_once: int) -> PeerSettings:
    return PeerSettings(kind.weights, kind.autocast, layout, rows_at_once)


MORE: dict[Method, tuple[dict[str, bool | str], ...]] = {
    "dpo": ({"precompute_ref_log_probs": True},),
    "grpo": ({"use_transformers_continuous_batching": True}, {"cache_implementation": "static"}),
}
"""What else TRL offers for a method, each tried beside the fastest layout."""


def more(case: Case, fastest: PeerSettings) -> list[PeerSettings]:
    return [
        PeerSettings(fastest.weights, fastest.autocast, fastest.layout, fastest.rows_at_once, given) for given in MORE.get(case.method, ())
    ]


STAGES: tuple[Callable[[Case, PeerSettings], list[PeerSettings]], ...] = (layouts, more)
"""What is tried after the types, each beside the fastest so far."""


def best(entries: Sequence[SweepEntry]) -> PeerSettings:
    """The fastest.

    Raises:
        SystemExit: none ran.
    """
    ran = [(entry.tokens_per_second, entry.settings) for entry in entries if entry.tokens_per_second is not None]
    if not ran:
        raise SystemExit("TRL ran with none of its settings:\n" + "\n".join(f"{e.settings}: {e.fault}" for e in entries))
    return max(ran, key=lambda found: found[0])[1]
