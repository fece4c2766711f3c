"""What a run keeps of the paths in its settings holds from any folder."""

from pathlib import Path

import pytest

from luthier.spec.load import load_run, to_yaml
from luthier.spec.paths import anchored, shown

FILES = "{model: ./m, data: {train: [{path: a.jsonl, format: ./f.py}, ~/b.jsonl], validation: ../v.jsonl}, method: ./mine.py, out: runs/x}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here" / "m").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", "/home/ada")
    return tmp_path / "here"


def test_every_path_becomes_absolute(here: Path) -> None:
    (here / "run.yaml").write_text(FILES)
    spec = anchored(load_run("run.yaml", ["model.chat_template=t.jinja"]))
    assert (spec.model.path, spec.model.chat_template) == (f"{here}/m", f"{here}/t.jinja")
    assert [(source.path, source.format) for source in spec.data.train] == [
        (f"{here}/a.jsonl", f"{here}/f.py"),
        ("/home/ada/b.jsonl", "auto"),
    ]
    assert spec.data.validation[0].path == f"{here.parent}/v.jsonl"
    assert (spec.method.name, spec.adapter.name, spec.out) == (f"{here}/mine.py", "lora", f"{here}/runs/x")


@pytest.mark.parametrize("name", ["starter", "meta-llama/Llama-3.2-1B", "./not-there"])
def test_what_is_no_folder_stays_as_it_is(name: str, here: Path) -> None:
    spec = load_run(None, model=name, **{"model.chat_template": "plain"})
    assert anchored(spec).model == spec.model


def test_anchoring_again_changes_nothing(here: Path) -> None:
    (here / "run.yaml").write_text(FILES)
    once = anchored(load_run("run.yaml"))
    (here / "kept.yaml").write_text(to_yaml(once))
    assert anchored(load_run("kept.yaml")) == once


def test_people_are_shown_what_they_would_type(here: Path) -> None:
    assert shown(f"{here}/m") == "m"
    assert [shown(path) for path in ("starter", "sft", "/elsewhere/m", str(here))] == ["starter", "sft", "/elsewhere/m", str(here)]


def test_rewards_name_their_files_and_runs_from_anywhere(here: Path) -> None:
    (here / "rm").mkdir()
    (here / "pattern").mkdir()
    judges = [{"name": "reward_model", "path": "rm"}, {"name": "./mine.py:score", "weight": 0.5}, {"name": "pattern", "pattern": "pattern"}]
    grader = {"name": "grader", "grader": {"type": "score_model", "model": "./m"}}
    spec = anchored(load_run(None, method="grpo", data={"train": "a.jsonl"}, reward=judges, check=grader))
    assert spec.reward[0].settings == {"path": f"{here}/rm"}
    assert (spec.reward[1].name, spec.reward[1].weight) == (f"{here}/mine.py:score", 0.5)
    assert spec.reward[2].settings == {"pattern": "pattern"}
    assert spec.check is not None and spec.check.settings["grader"]["model"] == f"{here}/m"
