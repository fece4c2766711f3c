"""What was measured, as values: written to JSON by `benchmarks.run` and `benchmarks.inside`, read by the figure and the report."""

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

FOLDER = Path(__file__).parent / "results"
GIB = 2**30


class Step(msgspec.Struct, frozen=True):
    """One optimizer step. `tokens`: of its rows, prompts included, padding not.

    `seconds`: with what had to be there first: the answers it learns from, its share of what a reference says of the rows.
    """

    tokens: int
    seconds: float
    loss: float


class Measurement(msgspec.Struct, frozen=True):
    """One training process from its start to its end.

    `startup`: seconds from the start of the process to the end of step 1, by what they went to. `peak_bytes`: most resident memory of the
    process; `peak_in_steps_bytes`: within its optimizer steps only. `load`: processes that wanted a core in the minute before.
    `facts`: what the first step found before anything was learned, the same on both sides. `kept_s`: seconds of the steps that went into
    what a second epoch does not compute again.
    """

    steps: tuple[Step, ...]
    startup: dict[str, float]
    total_s: float
    peak_bytes: int
    peak_in_steps_bytes: int
    load: float
    facts: dict[str, float] = {}
    kept_s: float = 0.0

    @property
    def steady_s(self) -> float:
        """Without the first step."""
        return sum(s.seconds for s in self.steps[1:])

    @property
    def steady_tokens(self) -> int:
        return sum(s.tokens for s in self.steps[1:])

    @property
    def tokens_per_second(self) -> float:
        """In steady state."""
        return self.steady_tokens / self.steady_s

    @property
    def second_epoch_tokens_per_second(self) -> float:
        """The same without what is kept from the first epoch."""
        return self.steady_tokens / (self.steady_s - self.kept_s * self.steady_tokens / sum(s.tokens for s in self.steps))

    @property
    def whole_run_tokens_per_second(self) -> float:
        """All tokens over all of the process's time: start, checks and saving included."""
        return sum(s.tokens for s in self.steps) / self.total_s

    @property
    def first_step_s(self) -> float:
        return sum(self.startup.values())


def spread_over(steps: Iterable[Step], seconds: float) -> tuple[Step, ...]:
    """The steps with their shares, by tokens, of what took `seconds` for all of them."""
    steps = tuple(steps)
    tokens = sum(step.tokens for step in steps)
    return tuple(msgspec.structs.replace(step, seconds=step.seconds + seconds * step.tokens / tokens) for step in steps)


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
    """How TRL is set. `layout`: `padded`, `padding_free`, or `packed`; `rows_at_once`: of a forward, packed on average.

    `more`: arguments of TRL's own config, by name.
    """

    weights: str
    autocast: bool
    layout: str
    rows_at_once: int
    more: dict[str, bool | str] = {}

    def __str__(self) -> str:
        how = {"padded": "padded", "padding_free": "padding-free", "packed": "packed"}[self.layout]
        kind = {"bfloat16": "bf16", "float32": "fp32"}[self.weights]
        more = "".join(f", {name}={value}" for name, value in self.more.items())
        return f"{kind} weights{', bf16 autocast' if self.autocast else ''}, {how}, {self.rows_at_once} at once{more}"


class SweepEntry(msgspec.Struct, frozen=True):
    """One short run of the peer: its speed, or why there is none."""

    settings: PeerSettings
    tokens_per_second: float | None
    peak_bytes: int | None
    fault: str | None = None


class Round(msgspec.Struct, frozen=True):
    """Each side once, one after the other. `limit`: where it is known."""

    ours: Measurement
    limit: LimitMeasurement | None
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
    """One row of the table. `ours`: the command line without paths. `memory` and `first_step` ratios: ours over the peer's.

    `unit`: what speed is told in, see `benchmarks.cases.Case`.
    """

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
    unit: str = "tokens"

    @property
    def has_peer(self) -> bool:
        return all(r.peer is not None for r in self.rounds)

    @property
    def has_limit(self) -> bool:
        return all(r.limit is not None for r in self.rounds)

    def speed(self, sides: Iterable[Measurement]) -> str:
        """The median as `211 tokens/s`, `1.8 pairs/s`, or `3.4 s a step`."""
        sides = tuple(sides)
        if self.unit == "tokens":
            return f"{Spread.of(m.tokens_per_second for m in sides).median:,.0f} tokens/s"
        a_step = Spread.of(m.steady_s / len(m.steps[1:]) for m in sides).median
        return f"{a_step:,.1f} s a step" if self.unit == "steps" else f"{self.rows_per_step / a_step:,.2f} {self.unit}/s"


class SidesResult(msgspec.Struct, frozen=True):
    """Luthier beside itself. `sides`: what each of the two is called; `rounds`: the figure of each, by round, in `unit`.

    `ratio`: the first over the second. `aim`: in words. `notes`: what was checked, and what else there is to know.
    """

    title: str
    sides: tuple[str, str]
    unit: str
    rounds: tuple[tuple[float, float], ...]
    ratio: Spread
    aim: str
    shape: str
    threads: int
    measured: str
    notes: tuple[str, ...] = ()


RATIOS = (
    "tokens_per_second",
    "second_epoch_tokens_per_second",
    "whole_run_tokens_per_second",
    "peak_bytes",
    "peak_in_steps_bytes",
    "first_step_s",
)


def ratios(rounds: Iterable[Round]) -> dict[str, Spread]:
    """Ours over the peer's within each round, and `share_of_limit`: one round's two sides ran under the same conditions."""
    rounds = tuple(rounds)
    shares = [r.ours.tokens_per_second / r.limit.tokens_per_second for r in rounds if r.limit is not None]
    found = {"share_of_limit": Spread.of(shares)} if shares else {}
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
    """Everything measured on one machine on one day. `cases`: beside the peer. `inside`: Luthier beside itself."""

    date: str
    machine: Machine
    versions: dict[str, dict[str, str]]
    commit: str | None
    cases: dict[str, CaseResult]
    inside: dict[str, SidesResult] = {}


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
    found = sorted(folder.glob("20*.json"))
    if not found:
        raise SystemExit(f"{folder} holds no results yet. Measure first: `make bench`.")
    return found[-1]


def as_table(rows: Iterable[Iterable[Any]]) -> str:
    """Markdown; the first row is the head."""
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * (lines[0].count(" | ") + 1), *lines[1:]])
