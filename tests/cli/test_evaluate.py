"""`luthier evaluate` and `luthier curve` as a user types them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from luthier.cli.main import main
from luthier.testing import write_jsonl

ROWS = [
    {"text": f"I see a {word}.", "label": label}
    for label, words in (("fruit", ("apple", "pear", "plum", "fig")), ("beast", ("dog", "cat", "cow", "hen")))
    for word in words
]


@pytest.fixture
def luthier(capsys: pytest.CaptureFixture[str]):
    """Runs one command line; its exit code, stdout and stderr."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


def test_the_table_is_printed(luthier, toy_folder: Path, tmp_path: Path):
    rows = write_jsonl(tmp_path / "things.jsonl", ROWS)
    code, out, err = luthier("evaluate", toy_folder, "--data", rows, "--train", rows)
    assert code == 0
    assert out.startswith("things.jsonl  8 rows, 2 classes")
    for word in ("accuracy", "95 % interval", "F1 (macro)", "TF-IDF", "commonest", "beast", "Classes, the hardest first"):
        assert word in out
    assert "Loading" in err


def test_the_table_as_json(luthier, toy_folder: Path, tmp_path: Path):
    rows = write_jsonl(tmp_path / "things.jsonl", ROWS)
    code, out, err = luthier("evaluate", toy_folder, "--data", rows, "--json", "--rows", 3)
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["data"]["rows"] == 3
    assert [column["name"] for column in found["columns"]] == ["model", "commonest"]


def test_a_part_of_a_file_is_asked(luthier, toy_folder: Path, tmp_path: Path):
    """Arrays of rows by name, two of which are asked together."""
    file = tmp_path / "all.json"
    parts = {"train": ROWS, "test": ROWS[2:6], "oos_test": [{"text": "Why is that?", "label": "oos"}]}
    file.write_text(json.dumps(parts), encoding="utf-8")
    given = ("--split", "test", "--split", "oos_test", "--out-of-scope", "oos", "--threshold", 0.5)
    code, out, _ = luthier("evaluate", toy_folder, "--data", file, *given)
    assert code == 0
    assert out.startswith("all.json test oos_test  5 rows, 2 classes")
    assert "out of scope: recall" in out


@pytest.mark.parametrize(
    "given, sentence",
    [
        (("--threshold", "0.5"), "have no effect without `--out-of-scope LABEL`"),
        (("--out-of-scope", "none", "--threshold", "0.5", "--calibrate", "x.jsonl"), "Leave one of them out"),
    ],
)
def test_options_without_effect_are_refused(luthier, toy_folder: Path, given: tuple[str, ...], sentence: str):
    code, out, err = luthier("evaluate", toy_folder, "--data", "rows.jsonl", *given)
    assert (code, out) == (1, "")
    assert sentence in err


def test_shares_are_numbers(luthier, toy_rows: Path):
    code, _, err = luthier("curve", "sft", "--data", toy_rows, "--shares", "half,all")
    assert code == 1
    assert "numbers with commas between them" in err


def test_a_curve_needs_rows(luthier):
    code, _, err = luthier("curve", "sft")
    assert code == 1
    assert "`data.train` is empty" in err


@pytest.mark.slow
def test_train_evaluate_and_draw_the_curve(luthier, toy_folder: Path, tmp_path: Path):
    """From two files to a table in the record and a forecast, all by commands."""
    train = write_jsonl(tmp_path / "train.jsonl", ROWS)
    held = write_jsonl(tmp_path / "held.jsonl", [{**row, "text": row["text"].replace("I see", "There is")} for row in ROWS])
    settings = ["adapter=full", "optimizer.learning_rate=0.01", "train.epochs=6", "train.batch_size=2", "train.dtype=float32"]
    given = ("--model", toy_folder, "--data", train, *settings, "evaluation.prompts=[]", "checkpoints.every=1000")
    assert luthier("train", "sft", *given, "--out", tmp_path / "run")[0] == 0
    code, out, _ = luthier("evaluate", tmp_path / "run", "--data", held, "--base", "--classes")
    assert code == 0
    assert "tuned" in out
    assert "base" in out
    record = json.loads((tmp_path / "run/record.json").read_text(encoding="utf-8"))
    assert record["evaluations"][0]["classes"] == 2
    assert luthier("page", tmp_path / "run")[0] == 0
    assert "Evaluation on held.jsonl" in (tmp_path / "run/index.html").read_text(encoding="utf-8")
    asked = ("curve", "sft", *given, "--validation", held, "--shares", "0.5,0.75,1", "--out", tmp_path / "curve")
    code, out, err = luthier(*asked)
    assert code == 0, err
    assert "Twice the data (16 rows) would bring an accuracy of" in out
    assert (tmp_path / "curve/curve.png").is_file()
    shutil.rmtree(tmp_path / "curve/share-1")  # it is not needed again
    code, out, err = luthier(*asked, "--json")
    assert code == 0
    assert [point["rows"] for point in json.loads(out)["points"]] == [4, 6, 8]
