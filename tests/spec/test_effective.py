"""A setting that would do nothing is refused."""

from pathlib import Path

import pytest

from luthier.errors import SettingsError
from luthier.spec.effective import CHAT_RULES, RULES, refuse_ineffective
from luthier.spec.load import load_run, to_yaml
from luthier.spec.run import RunSpec

INEFFECTIVE = {
    "model.revision": ["model=starter", "model.revision=main"],
    "data.validation_share": ["data.validation=v.jsonl", "data.validation_share=0.1"],
    "optimizer.final_share": ["optimizer.schedule=constant", "optimizer.final_share=0.5"],
    "evaluation.every": ["evaluation.every=10", "evaluation.prompts=[]"],
    "evaluation.glance_every": ["evaluation.glance_every=3"],
    "evaluation.glance_rows": ["evaluation.glance_rows=3", "data.validation=v.jsonl"],
    "evaluation.patience": ["evaluation.patience=3"],
    "evaluation.max_new_tokens": ["evaluation.prompts=[]", "evaluation.max_new_tokens=9"],
    "data.validation[0].weight": ["data.validation=[{path: v.jsonl, weight: 2}]"],
}
EFFECTIVE = {
    "model.revision": ["model=someone/model", "model.revision=main"],
    "data.validation_share": ["data.validation_share=0.1"],
    "optimizer.final_share": ["optimizer.schedule=linear", "optimizer.final_share=0.5"],
    "evaluation.every": ["evaluation.every=10", "data.validation_share=0.1"],
    "evaluation.glance_every": ["evaluation.glance_every=3", "data.validation=v.jsonl"],
    "evaluation.glance_rows": ["evaluation.glance_rows=3", "evaluation.glance_every=3", "data.validation=v.jsonl"],
    "evaluation.patience": ["evaluation.patience=3", "data.validation=v.jsonl"],
    "evaluation.max_new_tokens": ["evaluation.max_new_tokens=9"],
    "data.validation[0].weight": ["data.train=[{path: v.jsonl, weight: 2}]"],
}


def test_every_rule_is_tried() -> None:
    assert {rule.key for rule in RULES} <= set(INEFFECTIVE) == set(EFFECTIVE)


@pytest.mark.parametrize("key", INEFFECTIVE)
def test_a_setting_without_effect_is_refused_by_name(key: str) -> None:
    with pytest.raises(SettingsError) as error:
        refuse_ineffective(load_run(None, INEFFECTIVE[key]))
    assert str(error.value).startswith(f"`{key}` is ")
    assert ", which has no effect: " in str(error.value)


@pytest.mark.parametrize("key", EFFECTIVE)
def test_where_it_has_an_effect_it_passes(key: str) -> None:
    refuse_ineffective(load_run(None, EFFECTIVE[key]))


def test_a_revision_of_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"`model\.revision` is \"main\""):
        refuse_ineffective(load_run(None, ["model.revision=main"], model=str(tmp_path)))


def test_rules_name_settings_that_exist() -> None:
    for rule in RULES + CHAT_RULES:
        group, name = rule.key.split(".")
        assert name in type(getattr(RunSpec(), group)).model_fields


def test_a_template_for_raw_text_is_refused() -> None:
    spec = load_run(None, ["model.chat_template=plain"])
    refuse_ineffective(spec)
    with pytest.raises(SettingsError, match=r"`model\.chat_template` is \"plain\", which has no effect"):
        refuse_ineffective(spec, reads_conversations=False)


def test_all_of_them_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        refuse_ineffective(load_run(None, INEFFECTIVE["evaluation.every"] + INEFFECTIVE["optimizer.final_share"]))
    assert str(error.value).count("which has no effect") == 2


def test_settings_written_out_in_full_pass_when_they_are_loaded_again(tmp_path: Path) -> None:
    """`run.yaml` gives every setting, the defaults too; a default that has no effect was not asked for."""
    spec = load_run(None, ["optimizer.schedule=constant", "evaluation.prompts=[]"])
    (tmp_path / "run.yaml").write_text(to_yaml(spec))
    refuse_ineffective(load_run(str(tmp_path / "run.yaml")))
