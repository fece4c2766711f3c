"""Pipelines: stages made in order, skipped where nothing changed, gone on with where one stopped, repeated until a metric is reached."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from luthier.engine.folder import RunFolder, read_json
from luthier.errors import SettingsError, UserError
from luthier.recipes.ingredients import Contents, difference, fingerprint, made_from
from luthier.recipes.ledger import Entry, Ledger
from luthier.recipes.stages import Told, make
from luthier.spec.base import Spec
from luthier.spec.nearest import did_you_mean, listed
from luthier.spec.paths import absolute, shown
from luthier.spec.pipeline import KINDS, AnswersStage, Pipeline, Rounds, Stage, Until, bound
from luthier.spec.pipeline_file import settings_of
from luthier.spec.run import RunSpec

STOPPED = {"paused": "It was paused.", "failed": "It failed."}
"""Why a stage goes on. Any other that is not done was broken off: by a key, a kill, a power cut."""


@dataclass(frozen=True)
class Planned:
    """A stage and what becomes of it: `action` is `skip`, `go on` or `make`; `why` is a sentence."""

    entry: Entry
    settings: Spec
    action: str
    why: str


@dataclass(frozen=True)
class Outcome:
    """`status`: `succeeded` or `paused`. `done`: what became of each stage; `rounds`: what ended them, a sentence each."""

    status: str
    folder: Path
    done: Sequence[Planned]
    rounds: Sequence[str]

    def facts(self) -> dict[str, Any]:
        """For a program."""
        keys = ("stage", "kind", "status", "fingerprint", "parents", "seconds", "figure")
        stages = [
            {
                **{key: getattr(each.entry, key) for key in keys},
                "folder": str(self.folder / each.entry.folder),
                "action": each.action,
                "why": each.why,
            }
            for each in self.done
        ]
        return {"status": self.status, "folder": str(self.folder), "stages": stages, "rounds": list(self.rounds)}


class Watcher:
    """Told how a pipeline goes. This one tells nobody."""

    told = Told()

    def began(self, planned: Planned) -> None: ...
    def ended(self, planned: Planned) -> None: ...
    def said(self, sentence: str) -> None: ...


def plan(pipeline: Pipeline) -> Outcome:
    """What a run would do now, nothing made. Rounds are told as far as they are known.

    Raises:
        UserError: a folder that is none of a pipeline's.
    """
    return _Walk(pipeline, Watcher(), dry=True).go()


def run(pipeline: Pipeline, watcher: Watcher | None = None) -> Outcome:
    """Make every stage that is not there yet.

    Raises:
        UserError: whatever a stage raises; it is marked as failed, those before it stay, and the next run begins with it.
    """
    folder = RunFolder(Path(absolute(pipeline.out)))
    walk = _Walk(pipeline, watcher or Watcher(), dry=False)
    with folder.locked():
        walk.ledger = Ledger(folder.path)  # another process may just have ended
        return walk.go()


class _Paused(Exception):
    """A stage was paused: those after it wait."""


class _Walk:
    """Through the stages in order. `newest`: of each stage's name what was made last, in this walk."""

    def __init__(self, pipeline: Pipeline, watcher: Watcher, dry: bool) -> None:
        self.pipeline, self.watcher, self.dry = pipeline, watcher, dry
        self.folder = Path(absolute(pipeline.out))
        self.ledger = Ledger(self.folder)
        self.contents = Contents()
        self.newest: dict[str, Entry] = {}
        self.done: list[Planned] = []
        self.rounds: list[str] = []

    def go(self) -> Outcome:
        rounds: list[dict[str, Any]] = []
        try:
            for item in self.pipeline.items:
                if isinstance(item, Rounds):
                    rounds.append({})
                    self._repeat(item, rounds)
                else:
                    self._stage(item, None)
        except _Paused:
            return Outcome("paused", self.folder, self.done, self.rounds)
        return Outcome("succeeded", self.folder, self.done, self.rounds)

    def _repeat(self, item: Rounds, told: list[dict[str, Any]]) -> None:
        """Rounds, each from the best one so far; what follows takes that one, too."""
        until, most = item.repeat.until, item.repeat.at_most
        values: list[float] = []
        best: dict[str, Entry] = {}
        for number in range(1, most + 1):
            actions = [self._stage(stage, number).action for stage in item.stages]
            if self.dry and set(actions) != {"skip"}:
                self.rounds.append(f"Rounds go on until {until.metric} is at least {until.at_least:g}, {most} at most.")
                return
            values.append(self._metric(until.metric))
            if values[-1] >= max(values):
                best = {stage.name: self.newest[stage.name] for stage in item.stages}
            self.newest.update(best)
            reached = values[-1] >= until.at_least
            told[-1] = {
                "stages": [stage.name for stage in item.stages],
                "metric": until.metric,
                "at_least": until.at_least,
                "values": values,
                "best": _best(values),
                "reached": reached,
            }
            if not self.dry:
                self.ledger.rounds = told
                self.ledger.write()
            self._say(_after(until, values, most), keep=reached or number == most)
            if reached:
                return

    def _say(self, sentence: str, keep: bool = False) -> None:
        self.watcher.said(sentence)
        if keep:
            self.rounds.append(sentence)

    def _stage(self, stage: Stage, number: int | None) -> Planned:
        planned = self._planned(stage, number)
        if planned.action != "skip" and not self.dry:
            planned = self._made(planned)
        else:
            self.watcher.ended(planned)
            if not self.dry:
                self.ledger.keep(planned.entry)
        self.newest[stage.name] = planned.entry
        self.done.append(planned)
        if planned.entry.status == "paused" and not self.dry:
            raise _Paused
        return planned

    def _planned(self, stage: Stage, number: int | None) -> Planned:
        label = stage.name if number in (None, 1) else f"{stage.name}~{number}"
        taken: dict[str, Entry] = {}

        def name(names: tuple[str, ...]) -> str:
            found = next(each for each in names if each in self.newest)
            taken[found] = self.newest[found]
            return found

        named = in_round(settings_of(stage, bound(stage.values, lambda names: f"${{{name(names)}}}")), number)
        settings = in_round(settings_of(stage, bound(stage.values, lambda names: self._result(name(names)))), number)
        made = made_from(stage.kind, named, {each: entry.fingerprint for each, entry in taken.items()}, self.contents)
        found, last = self.ledger.find(label, fingerprint(made)), self.ledger.last(label)
        if found is not None and found.done and self._is_there(found):
            return Planned(found, settings, "skip", "Nothing it is made from has changed.")
        if found is not None:
            whole = not found.done and (self.folder / found.folder).is_dir()
            why = STOPPED.get(found.status, "It was broken off.") if whole else "Its folder is gone." if found.done else "It did not begin."
            return Planned(replace(found, status="waiting"), settings, "go on" if whole else "make", why)
        parents = {each: entry.folder for each, entry in taken.items()}
        entry = Entry(label, stage.kind, self.ledger.free_folder(label), fingerprint(made), made, parents)
        return Planned(entry, settings, "make", difference(last.made_from, made) if last else "It is new.")

    def _is_there(self, entry: Entry) -> bool:
        return (self.folder / entry.folder / "record.json").is_file()

    def _result(self, name: str) -> str:
        """Where what a stage made lies."""
        entry = self.newest[name]
        kind = KINDS[entry.kind]
        return str(self.folder / entry.folder / (getattr(kind, "RESULT", "") if kind else ""))

    def _made(self, planned: Planned) -> Planned:
        entry = replace(planned.entry, status="running", reason="")
        planned = replace(planned, entry=entry)
        self.watcher.began(planned)
        self.ledger.keep(entry)
        began = time.perf_counter()
        parents = [
            {"stage": name, "folder": str(self.folder / folder), "fingerprint": self.newest[name].fingerprint}
            for name, folder in entry.parents.items()
        ]

        def ended(status: str, figure: str = "", reason: str = "") -> Entry:
            seconds = round(planned.entry.seconds + time.perf_counter() - began, 3)
            return replace(entry, status=status, seconds=seconds, figure=figure, reason=reason)

        try:
            made = make(planned.settings, self.folder / entry.folder, parents, self.watcher.told)
        except UserError as error:
            self.ledger.keep(ended("failed", reason=str(error)))
            raise type(error)(f"The stage `{entry.stage}` failed: {error}") from error
        except BaseException:
            self.ledger.keep(ended("interrupted"))
            raise
        planned = replace(planned, entry=ended(made.status, made.figure))
        self.ledger.keep(planned.entry)
        self.watcher.ended(planned)
        return planned

    def _metric(self, metric: str) -> float:
        """A figure of a stage's record; of a share with its interval, the share.

        Raises:
            SettingsError: the record has no such figure.
        """
        name, *path = metric.split(".")
        file = self.folder / self.newest[name].folder / "record.json"
        value: Any = read_json(file)
        for place, key in enumerate(path):
            if not isinstance(value, dict) or key not in value:
                has = list(value) if isinstance(value, dict) else []
                where = ".".join([name, *path[:place]])
                hint = did_you_mean(key, has) or (f" It has {listed(has[:12], 'and')}." if has else "")
                raise SettingsError(f"`repeat.until.metric`: {where} has no `{key}` ({shown(str(file))}).{hint}")
            value = value[key]
        if isinstance(value, dict) and "value" in value:
            value = value["value"]
        if not isinstance(value, int | float):
            raise SettingsError(f"`repeat.until.metric`: {metric} is {value!r} in {shown(str(file))}. It must be a number.")
        return float(value)


def _best(values: Sequence[float]) -> int:
    """The number of the best round, counted from 1; the latest of several."""
    return max(range(len(values)), key=lambda place: (values[place], place)) + 1


def _after(until: Until, values: Sequence[float], most: int) -> str:
    """What a round came to, and what comes of it."""
    number, best = len(values), _best(values)
    sentence = f"{until.metric} is {values[-1]:.4g} after round {number}"
    if values[-1] >= until.at_least:
        return f"{sentence}, at least {until.at_least:g}: no further round."
    if number < most:
        begins = "" if best == number else f", from round {best}, the best so far ({values[best - 1]:.4g})"
        return f"{sentence}, below {until.at_least:g}: round {number + 1} begins{begins}."
    rest = "" if best == number else f" Round {best} was the best ({values[best - 1]:.4g}), and what follows takes that one."
    return f"{sentence}, below {until.at_least:g}: {most} rounds are the most.{rest}"


def in_round(settings: Spec, number: int | None) -> Spec:
    """From the second round on with another seed: a round that begins where an earlier one did would be that one over again."""
    later = (number or 1) - 1
    match settings:
        case RunSpec() if later:
            return settings.model_copy(update={"train": settings.train.model_copy(update={"seed": settings.train.seed + later})})
        case AnswersStage() if later:
            return settings.model_copy(update={"seed": settings.seed + later})
    return settings
