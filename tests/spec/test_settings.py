"""A JSON schema as a table: what error messages and the reference page say a setting may be."""

from typing import Literal

import pytest
from pydantic import Field

from luthier.spec.base import Component, Spec
from luthier.spec.nearest import did_you_mean, listed, nearest
from luthier.spec.settings import table


class Inner(Spec):
    path: str
    """Where."""
    share: float = Field(0.5, gt=0, lt=1)
    """How much."""


class Outer(Spec):
    """Several kinds."""

    inner: Inner | None = None
    """A group."""
    items: tuple[Inner, ...] = ()
    """Some groups."""
    number: int = Field(3, ge=-1)
    """A number."""
    optional: float | None = Field(None, gt=1e-3)
    """Perhaps."""
    flag: bool = False
    """Whether."""
    choice: Literal["a", "b", "c"] = "a"
    """One of."""
    only: Literal["x"] = "x"
    """No choice."""
    either: Literal["all"] | tuple[str, ...] = Field("all")
    """A word or a list."""
    open: dict[str, str] = {}
    """Anything."""
    part: Component = Component(name="p")
    """A component."""


TABLE = table(Outer.model_json_schema())


@pytest.mark.parametrize(
    "key, allowed",
    [
        ("inner", "a group of settings (path, share), or null"),
        ("inner.share", "a number above 0 and below 1"),
        ("items", "a list"),
        ("items[].path", "text"),
        ("number", "a whole number, at least -1"),
        ("optional", "a number above 0.001, or null"),
        ("flag", "true or false"),
        ("choice", "`a`, `b` or `c`"),
        ("only", "`x`"),
        ("either", "`all` or a list of texts"),
        ("open", "a group of keys and values"),
        ("part", "a name, or a group of `name` and its settings"),
    ],
)
def test_what_a_setting_may_be_is_said_in_words(key: str, allowed: str) -> None:
    assert TABLE[key].allowed == allowed


def test_the_table_holds_every_key_once_with_its_help_and_default() -> None:
    assert list(TABLE)[:5] == ["inner", "inner.path", "inner.share", "items", "items[].path"]
    assert (TABLE["number"].help, TABLE["number"].default) == ("A number.", 3)
    assert TABLE["inner.path"].required
    assert not TABLE["part"].group  # its settings are its own file's
    assert TABLE["choice"].choices == ("a", "b", "c")


def test_a_prefix_stands_before_every_key() -> None:
    assert list(table(Inner.model_json_schema(), "adapter")) == ["adapter.path", "adapter.share"]


def test_words_are_listed_and_the_nearest_found() -> None:
    assert [listed(list(words)) for words in ("", "a", "ab", "abc")] == ["", "`a`", "`a` or `b`", "`a`, `b` or `c`"]
    assert nearest("Learing_Rate", ["learning_rate", "seed"]) == "learning_rate"
    assert nearest("x", ["learning_rate"]) is None
    assert did_you_mean("sed", ["seed"]) == " Did you mean `seed`?"
    assert did_you_mean("x", ["seed"]) == ""
