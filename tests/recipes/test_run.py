"""`luthier` from Python: a run is started, talked with, drawn and shown as on the command line."""

from pathlib import Path

import pytest

import luthier
from luthier.errors import RunError, SettingsError
from luthier.recipes.run import Run
from luthier.testing import write_jsonl


@pytest.fixture(scope="module")
def run(toy_run: Path) -> Run:
    return luthier.Run(toy_run)


def test_record_metrics_and_path(run: Run, toy_run: Path):
    assert run.path == toy_run
    assert run.record["status"] == "succeeded"
    assert [line["step"] for line in run.metrics if line["kind"] == "train"] == list(range(1, 9))
    assert repr(run) == f"Run({str(toy_run)!r})"


def test_one_answer(run: Run):
    answer = run.chat("Count from 3.", temperature=0, max_new_tokens=6)
    assert isinstance(answer, str)
    assert answer == run.chat("Count from 3.", temperature=0, max_new_tokens=6)
    assert answer != run.chat("Count from 3.", temperature=0, max_new_tokens=6, base=True)


def test_a_conversation_ends_with_an_empty_line(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    lines = iter(["Count from 3.", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    assert run.chat(max_new_tokens=4) is None
    assert "tokens/s" in capsys.readouterr().out


def test_the_figure_has_a_curve_for_each_quantity(run: Run):
    figure = run.plot()
    loss, accuracy, bits = figure.axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert loss.lines[0].get_xdata().tolist() == list(range(1, 9))
    assert loss.lines[1].get_xdata().tolist() == [0, 2, 4, 6, 8]
    assert [axes.get_title("left") for axes in (accuracy, bits)] == ["token accuracy in validation", "bits per byte in validation"]


def test_the_notebook_shows_a_table(run: Run):
    shown = run._repr_html_()
    assert shown.startswith("<table><tr><th")
    assert ">validation loss</th><td>" in shown
    assert "<td>succeeded</td>" in shown


def test_a_finished_run_is_resumed_by_doing_nothing(toy_run: Path):
    assert luthier.resume(toy_run, quiet=True).path == toy_run


def test_what_is_wrong_is_a_sentence(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"`epochs` is not a setting\. Did you mean `train\.epochs`\?"):
        luthier.train(data="x.jsonl", epochs=3)
    with pytest.raises(RunError, match="holds no run"):
        luthier.Run(tmp_path)
    with pytest.raises(AttributeError, match="has no attribute 'tune'"):
        luthier.tune  # noqa: B018


def test_a_run_file_and_settings_over_it(toy_folder: Path, toy_rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """As `luthier train run.yaml adapter.rank=2`: the file's settings, what is given over them, and a word on how it goes."""
    file = tmp_path / "run.yaml"
    file.write_text(f"model: {toy_folder}\nadapter: {{rank: 8, alpha: 4}}\ntrain: {{max_steps: 1}}\n", encoding="utf-8")
    run = luthier.train(str(file), data=toy_rows, adapter={"rank": 2}, evaluation={"prompts": []}, out=tmp_path / "run")
    settings = (run.path / "run.yaml").read_text(encoding="utf-8")
    assert "rank: 2" in settings
    assert "alpha: 4" in settings
    printed = capsys.readouterr().out
    assert "succeeded" in printed
    assert str(run.path) in printed


def test_several_files_with_weights(toy_rows: Path, tmp_path: Path):
    from luthier.spec.load import load_request

    more = write_jsonl(tmp_path / "more.jsonl", [])
    spec = load_request(data=[toy_rows, {"path": str(more), "weight": 2}], validation=tmp_path / "v.jsonl")
    assert [(source.path, source.weight) for source in spec.data.train] == [(str(toy_rows), 1), (str(more), 2)]
    assert spec.data.validation[0].path == str(tmp_path / "v.jsonl")
    assert load_request("train.epochs=2", ["adapter.rank=2"]).train.epochs == 2
