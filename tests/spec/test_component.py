"""The settings beside a component's name, checked against its `Config`."""

from typing import Literal

import pytest
from pydantic import Field

from luthier.errors import SettingsError
from luthier.spec.base import Component, Spec
from luthier.spec.component import configure


class Config(Spec):
    rank: int = Field(16, ge=1)
    """Width."""
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Layers."""


def sentences(**settings: object) -> list[str]:
    with pytest.raises(SettingsError) as error:
        configure(Config, Component(name="lora", **settings), "adapter")
    return str(error.value).split("\n")


def test_settings_become_the_config() -> None:
    assert configure(Config, Component(name="lora", rank=4, targets=["q_proj"]), "adapter") == Config(rank=4, targets=("q_proj",))
    assert configure(Config, Component(name="lora"), "adapter") == Config()


def test_each_fault_names_component_key_and_range() -> None:
    assert sentences(rank=0, rnk=3) == [
        "With `adapter: lora`: `adapter.rank` is 0. It must be a whole number, at least 1.",
        "With `adapter: lora`: `adapter.rnk` is not a setting. Did you mean `adapter.rank`?",
    ]


def test_a_value_that_fits_no_branch_of_a_union_is_one_fault() -> None:
    assert sentences(targets=5) == ["With `adapter: lora`: `adapter.targets` is 5. It must be `all-linear` or a list of texts."]


def test_a_setting_of_the_run_is_sent_where_it_belongs() -> None:
    assert sentences(batch_size=4) == ["With `adapter: lora`: `adapter.batch_size` is not a setting. Did you mean `train.batch_size`?"]
