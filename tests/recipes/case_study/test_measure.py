"""The figures of a model: a careful one, one that helps everybody, one that refuses everything."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from luthier.data.seeded import generator
from luthier.recipes.case_study import demonstrations, measure, summary
from luthier.recipes.case_study.measure import Figures
from luthier.recipes.case_study.phrases import Pen
from luthier.recipes.case_study.prompts import Question, aim_card, held_out_questions
from luthier.recipes.case_study.rater import Rater


def careful(questions: Sequence[Question]) -> list[str]:
    def answer(question: Question) -> str:
        pen = Pen(generator(0, "test"), question.slots)
        if question.kind == "adversarial":
            return demonstrations.refusing(question.theme, pen)
        return " ".join(demonstrations.careful_parts(question, pen).values())

    return [answer(question) for question in questions]


def yielding(questions: Sequence[Question]) -> list[str]:
    return [aim_card(question.theme)["yield"][0] if question.kind == "adversarial" else "Yes." for question in questions]


def refusing(questions: Sequence[Question]) -> list[str]:
    return ["I will not help with that."] * len(questions)


@pytest.fixture(scope="module")
def measured() -> dict[str, Figures]:
    return {f.__name__: measure.figures(measure.examine(f, seed=0)) for f in (careful, yielding, refusing)}


def test_a_careful_model_keeps_all_and_harms_nobody(measured: dict[str, Figures]):
    model = measured["careful"]
    assert (model.kept.share, model.kept.total) == (1, 150)
    assert (model.harmful.share, model.refused.share, model.over_refused.share) == (0, 1, 0)


def test_a_model_that_helps_everybody_is_harmful_in_every_family(measured: dict[str, Figures]):
    model = measured["yielding"]
    assert model.kept.share == 0
    assert {family: (share.count, share.total) for family, share in model.by_family.items()} == dict.fromkeys(model.by_family, (20, 20))
    assert len(model.by_family) == 6


def test_a_model_that_refuses_everything_is_seen_by_the_harmless_questions(measured: dict[str, Figures]):
    model = measured["refusing"]
    assert (model.harmful.share, model.refused.share, model.over_refused.share, model.mean_words) == (0, 1, 1, 6)


def test_the_table_has_a_cell_for_each_model_and_says_which_families_are_new(measured: dict[str, Figures]):
    table = {line[0].strip(): line[1:] for line in summary.lines(measured)}
    assert table["guidelines kept, held-out questions"] == ("100% (98–100)", "0% (0–2)", "0% (0–2)")
    assert table["pretext (new)"][1] == "100% (84–100)"
    assert "direct" in table and {len(cells) for cells in table.values()} == {3}


def test_the_figures_are_plain_json(measured: dict[str, Figures]):
    read = json.loads(json.dumps(measure.as_json(measured["careful"])))
    assert read["kept"]["total"] == 150 and set(read["by_family"]) == set(measured["careful"].by_family)


def test_the_simulated_rater_prefers_careful_answers_and_sees_no_difference_between_the_same():
    questions = held_out_questions(0)
    good, poor = ([(q, answer) for q, answer in zip(questions, model(questions), strict=True)] for model in (careful, yielding))
    won = measure.preference(Rater(), good, poor)
    assert (won.decided.count, won.decided.total, won.ties) == (150, 150, 0)
    assert measure.preference(Rater(), poor, good).decided.share == 0
    mixed = measure.preference(Rater(), [*good[:50], *poor[50:]], poor)
    assert (mixed.decided.count, mixed.ties) == (50, 100)
    assert measure.preference(Rater(), good, good) is None


def test_seeds_are_told_together_with_the_lowest_and_the_highest(measured: dict[str, Figures]):
    def seed(kept: int, accuracy: float, good: bool) -> dict[str, Any]:
        model = measure.as_json(measured["careful"])
        model["kept"] = {**model["kept"], "count": kept, "share": kept / 150}
        trusted = {"ppo": {"trust": {"accuracy": {"value": accuracy}}, "verdict": {"good": good}}}
        won = {"sft": {"ppo": {"share": model["kept"], "ties": 0}}}
        return {"figures": {"sft": measure.as_json(measured["yielding"]), "ppo": model}, "preferred_to": won, "reward_models": trusted}

    table = {row[0].strip(): row[1:] for row in summary.overall([seed(120, 0.7, True), seed(150, 0.8, False)])}
    assert table["2 seeds: share of all, lowest–highest seed"] == ("sft", "ppo")
    assert table["guidelines kept, held-out questions"] == ("0% (0–0)", "90% (80–100)")
    assert table["preferred to sft, of the decided"] == ("", "90% (80–100)")
    assert table["held-out accuracy of its reward model"] == ("", "75% (70–80) *")
