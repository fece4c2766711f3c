"""The page of results: one HTML file that shows what a run's record, metrics and answers say. It needs nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError

from luthier.engine.folder import RunFolder, read_lines, write_atomic
from luthier.errors import RunError
from luthier.recipes import evaluations, quantities
from luthier.recipes.charts import Line, line_chart, smooth

FILE = "index.html"
COMPARISON = "comparison.jsonl"
"""Questions with the answers of base and tuned model, one a line; shown where there is one."""

PAGES = Path(__file__).resolve().parent / "pages"
MAX_NOTES = 20
"""Notes on the data that the page prints; the record holds them all."""

PLACES = {
    "adapter": "the adapter, in PEFT's format: what was learned",
    "model": "the tuned model, in Hugging Face format",
    "record.json": "everything this page shows, and the hash of every input and result",
    "run.yaml": "all settings in effect; train with this file to make the same run again",
    "metrics.jsonl": "the figures of each step and each validation",
    "samples.jsonl": "answers to the fixed prompts as training went on",
    "comparison.jsonl": "the answers of base and tuned model, side by side",
    "events.jsonl": "what happened, when",
    "checkpoints": "states from which the run can go on, bit for bit",
    "lots": "what the method collected before it learned from it",
}

COUNTED = {
    "trained_tokens": "tokens learned, or scored in validation",
    "rows_dropped": "rows left out",
    "rows_cut": "rows cut short",
    "rows_text_checked": "rows read back from their tokens, as a check",
}
"""Names of counts that say too little by themselves."""

RESTATED = frozenset({"bits_per_byte"})
"""Quantities that are the loss in another unit: they stand in the table, and get no card and no chart of their own."""

TIERS = {
    1: "packed without padding, what rows share computed once",
    2: "packed without padding, nothing shared",
    3: "one row at a time, because this model allows nothing faster",
}
"""How rows went through the model."""


@dataclass(frozen=True)
class Answers:
    """One prompt and what was answered to it at (step, answer), in order."""

    prompt: str
    by_step: tuple[tuple[int, str], ...]


LOT_CHARTS = {"kl": "Nats from the reference", "answer_tokens": "Tokens of an answer", "unfinished": "Unfinished answers"}
"""What is drawn of the answers that a policy drew, besides their reward."""


@dataclass(frozen=True)
class Results:
    """What a run folder says, in the order that the page tells it."""

    folder: RunFolder
    name: str
    """The folder as the reader would type it."""

    @cached_property
    def record(self) -> dict[str, Any]:
        """Raises `RunError` where the run has none yet."""
        return self.folder.read_record()

    @cached_property
    def comparison(self) -> list[dict[str, Any]]:
        return read_lines(self.folder.path / COMPARISON)

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        return [line for line in read_lines(self.folder.metrics_file) if line["kind"] == "train"]

    @cached_property
    def validations(self) -> list[dict[str, Any]]:
        return [line for line in read_lines(self.folder.metrics_file) if line["kind"] == "validation"]

    @cached_property
    def lots(self) -> list[dict[str, Any]]:
        """What was seen of the answers that the policy drew."""
        return [line for line in read_lines(self.folder.metrics_file) if line["kind"] == "lot"]

    @cached_property
    def samples(self) -> list[Answers]:
        found: dict[str, list[tuple[int, str]]] = {}
        for line in read_lines(self.folder.samples_file):
            found.setdefault(line["prompt"], []).append((line["step"], line["answer"]))
        return [Answers(prompt, tuple(answers)) for prompt, answers in found.items()]

    @cached_property
    def measured(self) -> list[tuple[str, float, float]]:
        """(name, before, after) of each held-out quantity."""
        before, after = self.record["evaluation"]["before"], self.record["evaluation"]["after"]
        if not before or not after:
            return []
        return [(name, before[name], after[name]) for name in after if name not in ("step", "kind") and name in before]

    @property
    def headlines(self) -> list[tuple[str, float, float]]:
        """Those over all data sets together, the loss once."""
        return [entry for entry in self.measured if "/" not in entry[0] and entry[0] not in RESTATED]

    @cached_property
    def certificate(self) -> list[dict[str, Any]]:
        findings: list[dict[str, Any]] = self.record["certificate"]
        return findings

    @property
    def certified(self) -> bool:
        return bool(self.certificate) and all(finding["passed"] for finding in self.certificate)

    def allowed(self, finding: dict[str, Any]) -> float:
        """How far apart the gradients may be in fp32: the tolerance, or twice what fp32 rounds there in the plain computation, too."""
        return max(float(self.record["certificate_tolerance"]), 2 * (finding.get("fp32_noise") or 0.0))

    @property
    def worst_difference(self) -> float | None:
        """Largest relative difference in fp32; None where none was computed."""
        return max((f["fp32"] for f in self.certificate if f["fp32"] is not None), default=None)

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """Tables of `luthier evaluate`, one for each file of rows."""
        found: list[dict[str, Any]] = self.record.get("evaluations", [])
        return found

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """What the preflight said, the worst first."""
        found: list[dict[str, Any]] = self.record.get("preflight", [])
        return sorted(found, key=lambda finding: ("error", "warning", "advice").index(finding["severity"]))

    @property
    def trust(self) -> dict[str, Any] | None:
        """Of a reward model: what it does on judgements it has not seen."""
        found: dict[str, Any] | None = self.record.get("trust")
        return found

    @property
    def notes(self) -> list[str]:
        notes: list[str] = self.record["data"]["notes"]
        return notes

    @property
    def counts(self) -> list[tuple[str, int, int]]:
        """(what, in training, in validation) of all that was counted: rows, tokens, and what was left out."""
        train, validation = self.record["data"]["train_counts"], self.record["data"]["validation_counts"]
        return [(COUNTED.get(name, quantities.words(name)), train[name], validation.get(name, 0)) for name in train]

    @property
    def places(self) -> list[tuple[str, str]]:
        """(file or folder, what it holds) of everything that is there."""
        there = [(name, what) for name, what in PLACES.items() if (self.folder.path / name).exists()]
        return [(f"{name}/" if (self.folder.path / name).is_dir() else name, what) for name, what in there]

    @property
    def next_commands(self) -> list[tuple[str, str]]:
        """(command, what it does) that fit how the run ended."""
        if self.record["status"] != "succeeded":
            return [(f"luthier resume {self.name}", "go on from the last checkpoint")]
        return next_commands(self.name)

    def charts(self) -> list[tuple[str, str, Sequence[Line]]]:
        """(title, SVG, lines for the legend): the loss, then every other held-out quantity over all data sets."""
        charts = [_chart("Loss", self._loss_lines(), share=False)]
        for name in dict.fromkeys(key for line in self.validations for key in line):
            if name not in ("step", "kind", "loss", *RESTATED) and "/" not in name:
                held_out = Line("held-out rows", _points(self.validations, name), "held-out", dots=True)
                charts.append(_chart(quantities.words(name).capitalize(), [held_out], share=quantities.is_share(name)))
        return [chart for chart in [*charts, *self.charts_of_lots()] if chart[1]]

    def charts_of_lots(self) -> list[tuple[str, str, Sequence[Line]]]:
        """The reward with the check beside it, each in its own deviations from where it began; distance from the reference; lengths."""
        if not self.lots:
            return []
        judged = [
            Line(title, _from_start(self.lots, name), style, dots=style == "held-out")
            for name, title, style in (("reward", "reward, learned from", "smooth"), ("check", "check, never learned from", "held-out"))
            if name in self.lots[0]
        ]
        found = [_chart("Reward, in deviations at the start", judged, share=False)]
        for name, title in LOT_CHARTS.items():
            found.append(_chart(title, [Line("each lot", _points(self.lots, name), "smooth")], share=name == "unfinished"))
        return found

    def _loss_lines(self) -> list[Line]:
        raw = _points(self.steps, "loss")
        window = len(raw) // 40 * 2 + 1  # odd, so that it has a middle
        mean = tuple(zip((x for x, _ in raw), smooth([y for _, y in raw], window), strict=True))
        lines = [Line("each step", raw, "raw")]
        lines += [Line(f"mean of {window}", mean, "smooth")] if window > 1 else []
        return [*lines, Line("held-out rows", _points(self.validations, "loss"), "held-out", dots=True)]


def next_commands(run: str) -> list[tuple[str, str]]:
    """The three commands that a person would try after a run."""
    return [
        (f"luthier chat {run}", "talk to the tuned model"),
        ("luthier train sft --model starter --data YOUR_FILE.jsonl", "train on a file of your own"),
        ("luthier runs list", "look at all runs"),
    ]


def render(path: str | Path) -> str:
    """The page of a run folder.

    Raises:
        RunError: no record there, or one of another version.
    """
    results = Results(RunFolder(Path(path)), str(path))
    environment = Environment(
        loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["basename"] = lambda file: Path(file).name
    page = environment.get_template("run.html.jinja")
    try:
        return page.render(
            results=results,
            record=results.record,
            quantities=quantities,
            evaluation_lines=evaluations.lines,
            tiers=TIERS,
            max_notes=MAX_NOTES,
            folder=results.folder.path.resolve(),
        )
    except (KeyError, UndefinedError) as error:
        raise RunError(
            f"{results.folder.record_file} does not say all that a page shows ({error}): it was written by another version of Luthier, or "
            f"changed since. Draw the page with the version that trained it."
        ) from error


def write_page(path: str | Path, out: str | Path | None = None) -> Path:
    """Write the page of a run, by default as `index.html` into its folder, over an earlier one. Returns where it lies.

    Raises:
        RunError: no record there, or no room to write.
    """
    file = Path(out) if out is not None else Path(path) / FILE
    write_atomic(file, render(path))
    return file


def _chart(title: str, lines: Sequence[Line], share: bool) -> tuple[str, str, Sequence[Line]]:
    return title, line_chart(lines, f"{title} by step", "optimizer step", share), [line for line in lines if line.points]


def _from_start(lots: list[dict[str, Any]], name: str) -> tuple[tuple[float, float], ...]:
    """(step, value), 0 at the first lot, 1 a deviation of answers above it."""
    first, deviation = float(lots[0][name]), float(lots[0][f"{name}_std"]) or 1.0
    return tuple((float(lot["step"]), (float(lot[name]) - first) / deviation) for lot in lots)


def _points(lines: list[dict[str, Any]], name: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(line["step"]), float(line[name])) for line in lines if name in line)
