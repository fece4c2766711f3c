"""The demo: the whole loop through the same functions as any run, a page with what it brought, nothing written over."""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from luthier.engine.folder import read_json, read_lines
from luthier.errors import RunError, SettingsError
from luthier.recipes.case_study import arms
from luthier.recipes.case_study.inputs import write_inputs
from luthier.recipes.demo import QUESTIONS, RUNS, Outcome, Plan, Told, demo, new_folder, overrides_of, supervised
from luthier.recipes.demo_page import Shown, write_page
from luthier.recipes.ranked import Person
from luthier.recipes.run import Run

NOON = datetime(2026, 11, 20, 12, 0, 0)


def small(model: Path) -> Plan:
    """A demo of a few steps with a toy model; what it learns is nothing."""
    few = ["train.max_steps=2", "train.batch_size=4", "train.dtype=float32"]
    return Plan(
        overrides={
            "sft": [*few, "evaluation.every=2", "evaluation.max_new_tokens=4"],
            "reward": few,
            "ppo": [*few, "method.rollout.prompts=4", "method.rollout.max_new_tokens=6", "reward.accept=true"],
        },
        by_hand=2,
        questions=16,
        measured=2,
        model=str(model),
        most_new_tokens=6,
    )


class Typed:
    """Somebody who types these orders, and no more."""

    def __init__(self, *orders: str) -> None:
        self.orders = list(orders)

    def read(self, prompt: str) -> str:
        if not self.orders:
            raise EOFError
        return self.orders.pop(0)


@pytest.fixture(scope="module")
def finished(roomy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    plan = small(roomy_folder)
    folder = new_folder(str(tmp_path_factory.mktemp("demo") / "here"), plan)
    told = Told(person=Person(Typed("4>3>2>1", "1=2>3>4").read, lambda _: None))
    made = demo(folder, plan, told)
    write_page(Shown(folder, "runs/demo"))
    return made


def test_a_demo_leaves_three_runs_each_with_a_page(finished: Outcome):
    assert finished.status == "succeeded"
    for name in RUNS:
        assert Run(finished.folder / name).record["status"] == "succeeded"
        assert (finished.folder / name / "index.html").is_file()


def test_base_and_tuned_model_answer_each_question(finished: Outcome):
    run = finished.folder / "sft"
    lines, page = read_lines(run / "comparison.jsonl"), (run / "index.html").read_text(encoding="utf-8")
    assert [line["question"] for line in lines] == list(QUESTIONS)
    assert all(question in page for question in QUESTIONS)


def test_what_a_person_ranked_stands_among_the_rankings_and_is_counted(finished: Outcome):
    rows = read_lines(finished.folder / "rankings.jsonl")
    assert len(rows) == 16 and [row["rater"] for row in rows].count("person") == 2
    assert finished.results is not None and finished.results["ranked_by_hand"] == 2
    assert "2 of the 16 questions were ranked by the person" in (finished.folder / "index.html").read_text(encoding="utf-8")


def test_the_page_shows_each_model_beside_the_others(finished: Outcome):
    page = (finished.folder / "index.html").read_text(encoding="utf-8")
    for line in read_lines(finished.folder / "comparison.jsonl"):
        assert set(line) == {"kind", "question", "base", "sft", "ppo"}
    assert page.count('class="bar ') == 3 * 5 and 'href="ppo/index.html"' in page
    assert "simulated rater" in page and "luthier chat runs/demo/ppo" in page


def test_the_results_have_a_share_with_an_interval_for_each_model(finished: Outcome):
    figures = read_json(finished.folder / "results.json")["figures"]
    assert set(figures) == {"base", "sft", "ppo"}
    assert all(0 <= model["kept"]["low"] <= model["kept"]["share"] <= model["kept"]["high"] <= 1 for model in figures.values())
    assert all(model["kept"]["total"] == 2 for model in figures.values())


def test_a_demo_that_was_broken_off_goes_on_with_what_is_there(finished: Outcome, roomy_folder: Path):
    weights = finished.folder / "ppo" / "adapter" / "adapter_model.safetensors"
    before, written = weights.stat().st_mtime_ns, (finished.folder / "results.json").read_text(encoding="utf-8")
    (finished.folder / "results.json").unlink()
    again = demo(new_folder(str(finished.folder), small(roomy_folder)), small(roomy_folder))
    assert weights.stat().st_mtime_ns == before
    assert again.results is not None and again.results["figures"] == json.loads(written)["figures"]


def test_a_folder_with_another_demo_is_left_alone(finished: Outcome, roomy_folder: Path):
    with pytest.raises(RunError, match="demo with other settings"):
        new_folder(str(finished.folder), replace(small(roomy_folder), seed=1))


def test_the_demo_is_the_bundled_model_on_rows_that_it_writes(tmp_path: Path):
    settings = supervised(tmp_path, Plan(), write_inputs(tmp_path, 0))
    assert (settings["model"], settings["method"], settings["adapter"]["name"]) == ("starter", "sft", "lora")
    rows = [len(Path(settings["data"][part]).read_text(encoding="utf-8").splitlines()) for part in ("train", "validation")]
    assert rows == [500, 60]


def test_nobody_was_trained_or_measured_on_the_questions(tmp_path: Path):
    settings = supervised(tmp_path, Plan(), write_inputs(tmp_path, 0))
    seen = set()
    for part in ("train", "validation"):
        for line in Path(settings["data"][part]).read_text(encoding="utf-8").splitlines():
            seen |= {message["content"].lower() for message in json.loads(line)["messages"]}
    assert not any(question.lower() in text for question in QUESTIONS for text in seen)


def test_no_validation_row_is_a_training_row(tmp_path: Path):
    settings = supervised(tmp_path, Plan(), write_inputs(tmp_path, 0))
    train, held = (set(Path(settings["data"][part]).read_text(encoding="utf-8").splitlines()) for part in ("train", "validation"))
    assert not train & held


def test_the_policy_is_watched_by_what_it_never_learns_from(tmp_path: Path):
    settings = arms.ppo("starter", tmp_path / "questions.jsonl", tmp_path / "reward")
    assert settings["check"].endswith("check.py:score") and settings["reward"]["name"] == "reward_model"


def test_each_demo_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert new_folder(None, Plan(), NOON) == Path("runs/demo-2026-11-20-120000")
    assert new_folder(None, Plan(), NOON) == Path("runs/demo-2026-11-20-120000~2")


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path):
    (tmp_path / "index.html").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="is not empty"):
        new_folder(str(tmp_path), Plan())
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == "mine"


def test_a_setting_belongs_to_one_of_the_runs():
    assert overrides_of(["sft.train.epochs=2", "ppo.train.max_steps=4", "sft.adapter.rank=4"]) == {
        "sft": ["train.epochs=2", "adapter.rank=4"],
        "ppo": ["train.max_steps=4"],
    }
    with pytest.raises(SettingsError, match=r"`train\.epochs=2` is a setting of no run here.*sft, reward, ppo"):
        overrides_of(["train.epochs=2"])
