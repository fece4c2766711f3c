"""The demo: the bundled data through the same `train` as any run, a page with answers side by side, nothing written over."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from luthier.engine.folder import read_lines
from luthier.errors import RunError
from luthier.recipes.demo import QUESTIONS, demo, demo_spec
from luthier.recipes.run import Run
from luthier.testing import toy_conversations, write_jsonl

NOON = datetime(2026, 11, 20, 12, 0, 0)


def small(toy: Path, folder: Path) -> list[str]:
    """The demo's settings with a toy model on toy rows, a few steps."""
    rows = toy_conversations(12)
    train, held = write_jsonl(folder / "train.jsonl", rows[:8]), write_jsonl(folder / "held.jsonl", rows[8:])
    return [
        f"model={toy}",
        f"data.train=[{train}]",
        f"data.validation=[{held}]",
        "train.max_steps=3",
        "train.batch_size=4",
        "train.dtype=float32",
        "evaluation.every=2",
        "evaluation.max_new_tokens=4",
    ]


@pytest.fixture(scope="module")
def finished(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("demo")
    return demo(demo_spec(str(folder / "run"), overrides=small(toy_folder, folder)))


def test_a_demo_leaves_a_run_with_a_page_and_answers(finished: Run):
    assert finished.record["status"] == "succeeded"
    assert {path.name for path in finished.path.iterdir()} >= {"index.html", "comparison.jsonl", "record.json", "adapter", "run.yaml"}


def test_base_and_tuned_model_answer_each_question(finished: Run):
    lines, page = read_lines(finished.path / "comparison.jsonl"), (finished.path / "index.html").read_text(encoding="utf-8")
    assert [line["question"] for line in lines] == list(QUESTIONS)
    assert all({"base", "tuned", "base_finished", "tuned_finished"} < set(line) for line in lines)
    assert all(question in page for question in QUESTIONS)


def test_the_demo_is_the_bundled_model_on_the_bundled_rows():
    spec = demo_spec(now=NOON)
    assert (spec.model.path, spec.method.name, spec.adapter.name) == ("starter", "sft", "lora")
    assert [Path(source.path).name for source in (*spec.data.train, *spec.data.validation)] == [
        "loan_support_train.jsonl",
        "loan_support_validation.jsonl",
    ]
    assert all(Path(source.path).is_file() for source in (*spec.data.train, *spec.data.validation))


def test_nobody_was_trained_or_measured_on_the_questions():
    spec = demo_spec(now=NOON)
    seen = set()
    for source in (*spec.data.train, *spec.data.validation):
        for line in Path(source.path).read_text(encoding="utf-8").splitlines():
            seen |= {message["content"].lower() for message in json.loads(line)["messages"]}
    assert not any(question.lower() in text for question in QUESTIONS for text in seen)


def test_each_demo_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    first = demo_spec(now=NOON).out
    assert first == "runs/demo-2026-11-20-120000"
    Path(first).mkdir(parents=True)
    assert demo_spec(now=NOON).out == "runs/demo-2026-11-20-120000~2"


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path):
    (tmp_path / "index.html").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="is not empty"):
        demo_spec(str(tmp_path))
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == "mine"
