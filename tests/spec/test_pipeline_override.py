"""`stages.ppo.train.max_steps=4` over a pipeline file."""

from pathlib import Path
from typing import Any

import pytest

from luthier.errors import SettingsError
from luthier.spec.pipeline import CompareStage, Rounds
from luthier.spec.pipeline_file import load_pipeline, settings_of
from luthier.spec.run import RunSpec

FILE = """
out: somewhere
stages:
  - name: sft
    kind: train
    method: sft
    data: rows.jsonl
    train: {epochs: 3}
  - name: merged
    kind: merge
    run: ${sft}
  - repeat:
      until: {metric: compare.win_rate, at_least: 0.6}
      at_most: 4
    stages:
      - {name: ppo, kind: train, method: ppo, model: "${merged}", data: p.jsonl}
      - {name: compare, kind: compare, a: "${ppo}", b: "${sft}", prompts: p.jsonl, judge: {name: length, price: 0.1}}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "p.yaml"
    path.write_text(FILE, encoding="utf-8")
    return str(path)


def settings(file: str, name: str, *overrides: str) -> Any:
    stage = next(each for each in load_pipeline(file, None, overrides).stages if each.name == name)
    return settings_of(stage, stage.values)


def test_a_setting_of_a_run(file: str):
    """Short forms become groups, as on the command line of `train`; the settings beside it stay."""
    spec = settings(file, "ppo", "stages.ppo.train.max_steps=4", "stages.ppo.method.rollout.prompts=8")
    assert isinstance(spec, RunSpec)
    assert (spec.train.max_steps, spec.method.name, spec.method.settings) == (4, "ppo", {"rollout": {"prompts": 8}})
    assert settings(file, "sft", "stages.sft.train.batch_size=2").train.epochs == 3


def test_a_setting_of_another_stage(file: str):
    spec = settings(file, "compare", "stages.compare.rows=7", "stages.compare.judge.price=0.5")
    assert isinstance(spec, CompareStage)
    assert (spec.rows, spec.judge) == (7, {"name": "length", "price": 0.5})


def test_the_folder_and_the_rounds(file: str):
    pipeline = load_pipeline(file, None, ["out=elsewhere", "repeat.at_most=2", "repeat.until.at_least=0.9"])
    (rounds,) = [item for item in pipeline.items if isinstance(item, Rounds)]
    assert (pipeline.out, rounds.repeat.at_most, rounds.repeat.until.at_least) == ("elsewhere", 2, 0.9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages.pop.train.epochs=1", r"`stages\.pop\.train\.epochs=1`: there is no stage `pop`\. Did you mean `ppo`\?"),
        ("stages.sft=1", r"it names no setting\. Write `stages\.NAME\.SETTING=value`"),
        ("stages.sft.kind=merge", "`kind` of a stage cannot be changed"),
        ("train.epochs=1", r"`train\.epochs=1`: a pipeline has no such setting\. Write `stages\.NAME\.SETTING=value`"),
        ("stages.sft.train.epochs", "is not of the form `key=value`"),
        ("stages.sft.train.epochs=many", r'`stages\.sft\.train\.epochs=many`: `train\.epochs` is "many"'),
        ("stages.sft.trian.epochs=1", r"`trian` is not a setting\. Did you mean `train`\?"),
        ("stages.merged.dtpye=float32", r"`stages\.merged\.dtpye=float32`: `dtpye` is not a setting\. Did you mean `dtype`\?"),
        ("stages.merged.run.x=1", "`run.x` is one setting of a group, but the group was given as"),
        ("repeat.at_mots=1", r"`repeat\.at_mots=1`: `stages\[2\]\.repeat\.at_mots` is not a setting"),
    ],
)
def test_what_cannot_be_set_is_a_sentence(text: str, said: str, file: str):
    with pytest.raises(SettingsError, match=said):
        load_pipeline(file, None, [text])
