"""What was measured, as values: written to JSON by `benchmarks.run`, read by the figure and the report."""

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

FOLDER = Path(__file__).parent / "results"
GIB = 2**30


class Step(msgspec.Struct, frozen=True):
    """One optimizer step. `tokens`: of its rows, prompts included, padding not."""

    tokens: int
    seconds: float
    loss: float


class Measurement(msgspec.Struct, frozen=True):
    """One training process from its start to its end.

    `startup`: seconds from the start of the process to the end of step 1, by what they went to. `peak_bytes`: most resident memory of the
    process; `peak_in_steps_bytes`: within its optimizer steps only. `load`: processes that wanted a core in the minute before.
    """

    steps: tuple[Step, ...]
    startup: dict[str, float]
    total_s: float
    peak_bytes: int
    peak_in_steps_bytes: int
    load: float

    @property
    def tokens_per_second(self) -> float:
        """In steady state: without the first step."""
        return sum(s.tokens for s in self.steps[1:]) / sum(s.seconds for s in self.steps[1:])

    @property
    def whole_run_tokens_per_second(self) -> float:
        """All tokens over all of the process's time: start, checks and saving included."""
        return sum(s.tokens for s in self.steps) / self.total_s

    @property
    def first_step_s(self) -> float:
        return sum(self.startup.values())


class LimitMeasurement(msgspec.Struct, frozen=True):
    """The matrix products of the same steps, alone. `seconds`: by kind, the first step left out."""

    tokens: int
    seconds: dict[str, float]
    gflop: float

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.total_s

    @property
    def gflop_per_second(self) -> float:
        return self.gflop / self.total_s


class PeerSettings(msgspec.Struct, frozen=True):
    """How TRL is set. `layout`: `padded`, `padding_free`, or `packed`; `rows_at_once`: of a forward, packed on average."""

    weights: str
    autocast: bool
    layout: str
    rows_at_once: int

    def __str__(self) -> str:
        how = {"padded": "padded", "padding_free": "padding-free", "packed": "packed"}[self.layout]
        kind = {"bfloat16": "bf16", "float32": "fp32"}[self.weights]
        return f"{kind} weights{', bf16 autocast' if self.autocast else ''}, {how}, {self.rows_at_once} at once"


class SweepEntry(msgspec.Struct, frozen=True):
    """One short run of the peer: its speed, or why there is none."""

    settings: PeerSettings
    tokens_per_second: float | None
    peak_bytes: int | None
    fault: str | None = None


class Round(msgspec.Struct, frozen=True):
    """Each side once, one after the other."""

    ours: Measurement
    limit: LimitMeasurement
    peer: Measurement | None = None


class Spread(msgspec.Struct, frozen=True):
    """Of one figure over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1])

    def text(self, digits: int = 1, unit: str = "") -> str:
        """`5.1× (4.9–5.3)`, or the median alone where all rounds agree to these digits."""
        low, median, high = (f"{x:,.{digits}f}" for x in (self.low, self.median, self.high))
        return f"{median}{unit}" if low == high else f"{median}{unit} ({low}–{high})"


class CaseResult(msgspec.Struct, frozen=True):
    """One row of the table. `ours`: the command line without paths. `memory` and `first_step` ratios: ours over the peer's."""

    title: str
    shape: str
    num_parameters: int
    dtype: str
    rows: str
    rows_per_step: int
    threads: int
    measured: str
    ours: tuple[str, ...]
    rounds: tuple[Round, ...]
    ratios: dict[str, Spread]
    peer: PeerSettings | None = None
    sweep: tuple[SweepEntry, ...] = ()

    @property
    def has_peer(self) -> bool:
        return all(r.peer is not None for r in self.rounds)


RATIOS = ("tokens_per_second", "whole_run_tokens_per_second", "peak_bytes", "peak_in_steps_bytes", "first_step_s")


def ratios(rounds: Iterable[Round]) -> dict[str, Spread]:
    """Ours over the peer's within each round, and `share_of_limit`: one round's two sides ran under the same conditions."""
    rounds = tuple(rounds)
    found = {"share_of_limit": Spread.of(r.ours.tokens_per_second / r.limit.tokens_per_second for r in rounds)}
    pairs = [(r.ours, r.peer) for r in rounds if r.peer is not None]
    if pairs:
        found |= {name: Spread.of(getattr(ours, name) / getattr(peer, name) for ours, peer in pairs) for name in RATIOS}
    return found


class Machine(msgspec.Struct, frozen=True):
    processor: str
    cores: int
    memory_gib: float
    instructions: tuple[str, ...]
    system: str

    @property
    def slug(self) -> str:
        """For file names."""
        words = "".join(c.lower() if c.isalnum() else " " for c in self.processor).split()
        return "-".join([*words[:6], f"{self.cores}-cores"])

    def __str__(self) -> str:
        return f"{self.processor}, {self.cores} cores, {self.memory_gib:.0f} GiB, {self.system}"


class Results(msgspec.Struct, frozen=True):
    """Everything measured on one machine on one day."""

    date: str
    machine: Machine
    versions: dict[str, dict[str, str]]
    commit: str | None
    cases: dict[str, CaseResult]


def write(results: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    partial.replace(path)


def read(path: Path) -> Results:
    return msgspec.json.decode(path.read_bytes(), type=Results)


def newest(folder: Path = FOLDER) -> Path:
    """The newest results file; names begin with the date.

    Raises:
        SystemExit: there is none.
    """
    found = sorted(folder.glob("*.json"))
    if not found:
        raise SystemExit(f"{folder} holds no results yet. Measure first: `make bench`.")
    return found[-1]


def as_table(rows: Iterable[Iterable[Any]]) -> str:
    """Markdown; the first row is the head."""
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * (lines[0].count(" | ") + 1), *lines[1:]])
