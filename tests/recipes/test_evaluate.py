"""A run's evaluation: what the record keeps of it, what the page shows, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from luthier.engine.folder import RunFolder
from luthier.errors import DataError, RunError, SettingsError
from luthier.evaluate.choices import choices
from luthier.evaluate.classify import classify
from luthier.recipes.assistant import open_assistant
from luthier.recipes.evaluate import evaluate
from luthier.recipes.evaluations import lines
from luthier.recipes.examination import Question
from luthier.recipes.page import render, write_page
from luthier.recipes.run import Run
from luthier.recipes.train import train
from luthier.recipes.verify import verify
from luthier.spec.load import load_run
from luthier.spec.rows import Labeled, Origin
from luthier.spec.run import DataSource
from luthier.testing import toy_conversations, write_jsonl

WORDS = {"fruit": ["apple", "pear", "plum"], "beast": ["dog", "cat", "cow"], "none": ["seven", "why", "blue"]}


def labeled(path: Path, classes: tuple[str, ...], number: int = 3, says: str = "I see a {}.") -> tuple[DataSource]:
    rows = [{"text": says.format(word), "label": label} for label in classes for word in WORDS[label][:number]]
    return (DataSource(path=str(write_jsonl(path, rows))),)


@pytest.fixture(scope="module")
def tuned(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy that learned two classes by heart."""
    folder = tmp_path_factory.mktemp("labels")
    source = labeled(folder / "things.jsonl", ("fruit", "beast"))
    settings = ["adapter=full", "optimizer.learning_rate=0.01", "train.epochs=12", "train.batch_size=2", "train.dtype=float32"]
    settings += ["evaluation.prompts=[]", "checkpoints.every=1000"]
    train(load_run(None, settings, model=str(toy_folder), data={"train": source[0].path}, out=str(folder / "run")))
    return folder / "run"


@pytest.fixture
def run(tuned: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(tuned, tmp_path / "run"))


def test_the_table_has_the_model_and_its_rivals(run: Path, tmp_path: Path):
    """Learned by heart, the rows are all right; the commonest class is right on half of them."""
    found = evaluate(Question(str(run), labeled(tmp_path / "things.jsonl", ("fruit", "beast"))))
    assert [column["name"] for column in found["columns"]] == ["tuned", "TF-IDF", "commonest"]
    assert [column["scores"]["accuracy"] for column in found["columns"]] == [1.0, 1.0, 0.5]
    assert dict(lines(found))["accuracy"] == ["100.0 %", "100.0 %", "50.0 %"]
    assert found["classes"] == 2
    assert found["confusions"] == []


def test_the_base_stands_beside_it(run: Path, tmp_path: Path):
    found = evaluate(Question(str(run), labeled(tmp_path / "things.jsonl", ("fruit", "beast")), base=True))
    assert [column["name"] for column in found["columns"]] == ["tuned", "base", "TF-IDF", "commonest"]
    assert found["columns"][1]["scores"]["accuracy"] < 1


def test_the_record_keeps_it_and_the_page_shows_it(run: Path, tmp_path: Path):
    write_page(run)
    source = labeled(tmp_path / "things.jsonl", ("fruit", "beast"))
    evaluate(Question(str(run), source))
    again = evaluate(Question(str(run), source))
    kept = RunFolder(run).read_record()["evaluations"]
    assert kept == json.loads(json.dumps([again]))  # the newer takes the place of the older
    page = (run / "index.html").read_text(encoding="utf-8")
    assert page == render(run)
    assert "things.jsonl" in page
    assert "TF-IDF" in page
    assert all(check.outcome != "differs" for check in verify(run, compute=False))


def test_an_adapter_is_asked_in_packed_streams(toy_run: Path):
    """What a LoRA run says in packed streams is what the model's own attention says, one row a forward; and not what the base says."""
    tuned, packed, base = (open_assistant(str(toy_run), **how) for how in ({}, {"packed": True}, {"base": True}))
    assert (tuned.root.packing.tier, packed.root.packing.tier) == (3, 1)
    rows = [Labeled(f"Count from {k}.", "0 1 2", Origin("rows", k)) for k in range(4)]
    asked = choices(rows, ["0 1 2", "3 4 5", "7"], tuned.renderer, tuned.context)
    fast = classify(packed.root, packed.adapter, asked)
    plain = classify(tuned.root, tuned.adapter, asked)
    assert [p.answer for p in fast] == [p.answer for p in plain]
    assert [p.logprob for p in fast] == pytest.approx([p.logprob for p in plain], rel=1e-5)
    assert [p.logprob for p in classify(base.root, None, asked)] != pytest.approx([p.logprob for p in fast], rel=1e-3)


def test_from_python(run: Path, tmp_path: Path):
    tuned = Run(run)
    assert "evaluations" not in tuned.record
    found = tuned.evaluate(labeled(tmp_path / "things.jsonl", ("fruit", "beast"))[0].path, rows=2)
    assert found["data"]["rows"] == 2
    assert len(tuned.record["evaluations"]) == 1


def test_rows_are_drawn_by_seed(run: Path, tmp_path: Path):
    source = labeled(tmp_path / "things.jsonl", ("fruit", "beast"))
    drawn = [evaluate(Question(str(run), source, most_rows=4, seed=seed))["data"] for seed in (1, 1)]
    assert drawn[0] == drawn[1]
    assert (drawn[0]["rows"], drawn[0]["rows_of_file"]) == (4, 6)


def test_out_of_scope_by_a_threshold(run: Path, tmp_path: Path):
    """Nothing is below probability 0 and everything is below 1: all of them found, or none."""
    source = labeled(tmp_path / "mixed.jsonl", ("fruit", "beast", "none"))
    low, high = (evaluate(Question(str(run), source, out_of_scope="none", threshold=t))["columns"][0] for t in (0.0, 1.0))
    assert low["out_of_scope"]["recall"] == 0
    assert low["out_of_scope"]["in_scope_accuracy"] == 1
    assert high["out_of_scope"]["recall"] == 1
    assert high["out_of_scope"]["rows"] == 3
    assert low["out_of_scope"]["area"] == high["out_of_scope"]["area"]


def test_a_threshold_is_found_on_rows_of_its_own(run: Path, tmp_path: Path):
    source = labeled(tmp_path / "mixed.jsonl", ("fruit", "beast", "none"))
    found = evaluate(Question(str(run), source, out_of_scope="none", calibration=source))
    column = found["columns"][0]
    assert 0 <= column["threshold"] <= 1
    assert column["scores"]["accuracy"] >= 6 / 9  # the best threshold is no worse than none at all
    assert "called so below" in dict(lines(found))


def test_predictions_are_written(run: Path, tmp_path: Path):
    source, out = labeled(tmp_path / "things.jsonl", ("fruit", "beast")), tmp_path / "said.jsonl"
    evaluate(Question(str(run), source, predictions=out))
    said = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line["predicted"] for line in said] == [line["label"] for line in said]
    assert said[0]["origin"].endswith("things.jsonl:1")
    assert 0 < said[0]["probability"] <= 1
    with pytest.raises(RunError, match="nothing is written over"):
        evaluate(Question(str(run), source, predictions=out))


def test_a_model_without_a_template_gets_the_plain_one(toy_folder: Path, tmp_path: Path):
    from luthier.testing import toy_model

    folder = toy_model(tmp_path / "raw", chat_template=None)
    source = labeled(tmp_path / "things.jsonl", ("fruit", "beast"))
    found = evaluate(Question(str(folder), source))
    assert [column["name"] for column in found["columns"]] == ["model", "commonest"]
    assert any("--train" in note for note in found["notes"])
    beside = evaluate(Question(str(folder), source, train=source))
    assert beside["columns"][1]["scores"]["accuracy"] == 1


def test_written_answers_are_held_against_the_rows(toy_run: Path, toy_rows: Path, tmp_path: Path):
    copy = Path(shutil.copytree(toy_run, tmp_path / "run"))
    out = tmp_path / "said.jsonl"
    found = evaluate(Question(str(copy), (DataSource(path=str(toy_rows)),), max_new_tokens=12, predictions=out))
    names = [column["name"] for column in found["columns"]]
    assert names == ["tuned", "TF-IDF, nearest question", "always the commonest answer"]
    assert all(0 <= column["exact_match"] <= column["token_f1"] <= 1 for column in found["columns"])
    assert len(out.read_text(encoding="utf-8").splitlines()) == found["data"]["rows"] == len(toy_conversations())
    assert next(name for name, _ in lines(found)) == "the same answer"


def test_what_cannot_be_evaluated_is_said(run: Path, toy_folder: Path, tmp_path: Path):
    source = labeled(tmp_path / "things.jsonl", ("fruit", "beast"))
    texts = (DataSource(path=str(write_jsonl(tmp_path / "texts.jsonl", [{"text": "One."}, {"text": "Two."}]))),)
    with pytest.raises(DataError, match="rows of the kind document"):
        evaluate(Question(str(run), texts))
    with pytest.raises(SettingsError, match="no base model"):
        evaluate(Question(str(toy_folder), source, base=True))
    with pytest.raises(DataError, match=r"No row of .* has the label `other`"):
        evaluate(Question(str(run), source, out_of_scope="other"))
    with pytest.raises(SettingsError, match=r"--threshold 0\.5"):
        evaluate(Question(str(run), labeled(tmp_path / "mixed.jsonl", ("fruit", "none")), out_of_scope="none"))
