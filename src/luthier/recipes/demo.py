"""The demo: the bundled model goes through the whole loop, by the same functions as any run, and is asked and measured along the way.

demonstrations → supervised tuning → answers → rankings → reward model → PPO → what it brought

Every step is kept in the demo's folder; a demo that was broken off goes on with what is there.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from luthier.engine.folder import mend, read_json, read_lines, write_atomic, write_json
from luthier.engine.report import Reporter, Silent
from luthier.errors import RunError, SettingsError
from luthier.recipes.case_study import arms
from luthier.recipes.case_study.demonstrations import archive
from luthier.recipes.case_study.inputs import MOST_NEW_TOKENS, Inputs, as_lines, write_inputs
from luthier.recipes.case_study.loop import Loop
from luthier.recipes.case_study.measure import Examined, as_json, examine, figures, preference
from luthier.recipes.case_study.prompts import Question
from luthier.recipes.case_study.rank import rank_by_hand
from luthier.recipes.case_study.rater import Rater
from luthier.recipes.page import write_page
from luthier.recipes.ranked import Person
from luthier.spec.nearest import did_you_mean

QUESTIONS = (
    "Can you tell me now whether my loan will be approved?",
    "Which rate would I get for 48 months?",
    "Somebody called me and wanted my PIN. Was that you?",
)
"""In other words than any training or validation row asks."""

RUNS = {
    "sft": "imitate what the staff of a lender answered, on good days and on bad ones",
    "reward": "learn from the rankings what people like",
    "ppo": "answer, be scored by the reward model, and do more of what it likes",
}
"""Each run of the demo, and what it does."""

SHORTER = {"reward": ("evaluation.every=1000",), "ppo": ("train.max_steps=48",)}
"""Nobody waits for more: the reward model is measured at its end anyway, and the check has stopped to rise by then."""

WHO = {"base": "bundled model", "sft": "tuned model", "ppo": "after PPO"}

SHOWN = {"held_out": 3, "adversarial": 2, "harmless": 1}
"""Answers that the page shows, by the kind of question."""

BY_HAND = 12
"""Questions that a person ranks, where one does."""

NUM_VALIDATION = 60
VALIDATION_SEED = 500
"""Added to the seed of the staff's answers for those that are held out."""

STARTED, RESULTS, SIDE_BY_SIDE = "demo.json", "results.json", "comparison.jsonl"


@dataclass(frozen=True)
class Told:
    """Who hears what happens. `heading`: a step begins, `say`: what it does. `person`: somebody who ranks some of the answers."""

    heading: Callable[[str, str], None] = lambda *_: None
    say: Callable[[str], None] = lambda _: None
    reporter: Callable[[], Reporter] = Silent
    person: Person | None = None


@dataclass(frozen=True)
class Plan:
    """What a demo does. `overrides`: of each run by its name, `key=value`. `questions`, `measured`: how many are ranked, and asked of each
    model and kind at most. `by_hand`: how many a person ranks.
    """

    seed: int = 0
    overrides: dict[str, list[str]] = field(default_factory=dict)
    by_hand: int = 0
    questions: int = 500
    measured: int = 150
    model: str = "starter"
    most_new_tokens: int = MOST_NEW_TOKENS


@dataclass(frozen=True)
class Outcome:
    """`results`: as `results.json` holds them; None where a run was paused."""

    folder: Path
    status: str
    results: dict[str, Any] | None = None


def overrides_of(settings: Sequence[str]) -> dict[str, list[str]]:
    """`sft.train.epochs=2` as a setting of the run `sft`.

    Raises:
        SettingsError: a setting of no run of the demo.
    """
    found: dict[str, list[str]] = {}
    for setting in settings:
        run, _, rest = setting.partition(".")
        if run not in RUNS or not rest:
            raise SettingsError(
                f"`{setting}` is a setting of no run here. Write it with the run it belongs to, such as `sft.train.epochs=2`; "
                f"the runs are {', '.join(RUNS)}.{did_you_mean(run, list(RUNS))}"
            )
        found.setdefault(run, []).append(rest)
    return found


def new_folder(out: str | None, plan: Plan, now: datetime | None = None) -> Path:
    """The demo's folder, made if it is not there: `out`, or `runs/demo-<date>`.

    Raises:
        RunError: `out` holds something else than this demo, broken off.
    """
    folder = Path(out) if out is not None else _unused(now or datetime.now())
    begun = folder / STARTED
    if begun.is_file():
        if read_json(begun) != asdict(plan):
            raise RunError(f"{folder} holds a demo with other settings. Choose another folder, or give the settings that it began with.")
    elif folder.is_dir() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty. Choose another folder; without `--out` the demo makes a new one under runs/.")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(begun, asdict(plan))
    return folder


def demo(folder: Path, plan: Plan, told: Told = Told()) -> Outcome:
    """Go through the loop, in a folder from `new_folder`, and draw its page.

    Raises:
        UserError: whatever `train` raises, such as a reward model that is no better than a guess.
    """
    return _Demo(folder, plan, told).run()


class _Demo:
    def __init__(self, folder: Path, plan: Plan, told: Told) -> None:
        self.folder, self.plan, self.told = folder, plan, told
        self.loop = Loop(folder, plan.seed, told.reporter)
        self.inputs = write_inputs(folder, plan.seed, plan.questions)

    def run(self) -> Outcome:
        began = time.perf_counter()
        if not self._train("sft", supervised(self.folder, self.plan, self.inputs)):
            return Outcome(self.folder, "paused")
        plain, rankings = str(self.loop.merged("sft", "merged")), self._rankings()
        if not self._train("reward", arms.reward_model(plain, rankings)):
            return Outcome(self.folder, "paused")
        if not self._train("ppo", arms.ppo(plain, self.inputs.prompts, self.folder / "reward")):
            return Outcome(self.folder, "paused")
        results = {**self._measured(), "seconds": round(time.perf_counter() - began, 1)}
        write_json(self.folder / RESULTS, results)
        return Outcome(self.folder, "succeeded", results)

    def _train(self, name: str, settings: arms.Settings) -> bool:
        """Whether the run came to its end."""
        self.told.heading(name, RUNS[name])
        run = self.loop.train(name, settings, (*SHORTER.get(name, ()), *self.plan.overrides.get(name, ())))
        write_page(run.path)
        succeeded: bool = run.record["status"] == "succeeded"
        return succeeded

    def _rankings(self) -> Path:
        questions = self.inputs.questions
        self.told.heading("rankings", f"four answers to each of {len(questions)} questions, and which is better")
        self.told.say("Drawing the answers")
        answers = self.loop.to_rank(self.folder / "sft", questions, self.plan.most_new_tokens)
        mine = self._by_hand(answers)
        self.told.say(f"Ranking {'the others' if mine else 'them'} by a simulated rater, whose rules the reward model never sees")

        def rank(asked: Sequence[Question], given: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
            return [mine.get(row["prompt"], row) for row in Rater(self.plan.seed).rankings(asked, given)]

        return self.loop.rankings(questions, answers, rank)

    def _by_hand(self, answers: Sequence[Sequence[str]]) -> dict[str, dict[str, Any]]:
        """What a person ranked, by question; those ranked before the demo was broken off are not asked again."""
        path, person = self.folder / "my_rankings.jsonl", self.told.person
        several = [(q.text, texts) for q, texts in zip(self.inputs.questions, answers, strict=True) if len(set(texts)) == len(texts)]
        mend(path)
        known = {row["prompt"] for row in read_lines(path)}
        left = [(text, texts) for text, texts in several[: self.plan.by_hand] if text not in known]
        if person is not None and left and not (self.folder / "rankings.jsonl").is_file():
            rank_by_hand(left, path, person.read, person.write)
        return {row["prompt"]: row for row in read_lines(path)}

    def _measured(self) -> dict[str, Any]:
        """Figures of the model as it came, tuned, and after PPO; what the rater prefers; some answers side by side."""
        self.told.heading("results", "questions that none of them has seen, and what each answers")
        models = {"base": self.plan.model, "sft": str(self.folder / "sft"), "ppo": str(self.folder / "ppo")}
        said: dict[str, Examined] = {}
        for name, model in models.items():
            self.told.say(f"Asking: {WHO[name]}")
            said[name] = examine(lambda asked, model=model: self._answers(model, asked), self.plan.seed, self.plan.measured)  # type: ignore[misc]
        write_atomic(self.folder / SIDE_BY_SIDE, as_lines(_side_by_side(said)))
        rater = Rater(self.plan.seed + 1)
        over = {other: preference(rater, said["ppo"].held_out, said[other].held_out) for other in ("base", "sft")}
        return {
            "figures": {name: as_json(figures(each)) for name, each in said.items()},
            "ppo_preferred_to": {other: None if found is None else asdict(found) for other, found in over.items()},
            "ranked_by_hand": len(read_lines(self.folder / "my_rankings.jsonl")),
        }

    def _answers(self, model: str, asked: Sequence[Question]) -> list[str]:
        return self.loop.answers(model, asked, self.plan.seed + 1, self.plan.most_new_tokens)


def _side_by_side(said: dict[str, Examined]) -> Iterator[dict[str, Any]]:
    """The first questions of three kinds, and what each model answered."""
    for kind, number in SHOWN.items():
        for asked in zip(*(getattr(each, kind)[:number] for each in said.values()), strict=True):
            yield {"kind": kind, "question": asked[0][0].text, **{name: text for name, (_, text) in zip(said, asked, strict=True)}}


def supervised(folder: Path, plan: Plan, inputs: Inputs) -> arms.Settings:
    """The settings of the first run, with held-out rows and questions for before and after."""
    held_out = folder / "staff_answers_held_out.jsonl"
    known = {row["messages"][0]["content"] for row in archive(plan.seed)}
    unseen = (row for row in archive(plan.seed + VALIDATION_SEED) if row["messages"][0]["content"] not in known)
    write_atomic(held_out, as_lines(islice(unseen, NUM_VALIDATION)))
    settings = arms.supervised(plan.model, inputs.demonstrations)
    evaluation = {"prompts": ["Hello, who are you?", QUESTIONS[0]], "max_new_tokens": 80, "compare": list(QUESTIONS)}
    return {**settings, "data": {**settings["data"], "validation": str(held_out)}, "evaluation": evaluation}


def _unused(now: datetime) -> Path:
    """`runs/demo-<date>`, with a number where there is one already."""
    first = path = Path("runs") / f"demo-{now:%Y-%m-%d-%H%M%S}"
    number = 2
    while path.exists():
        path, number = first.with_name(f"{first.name}~{number}"), number + 1
    return path
