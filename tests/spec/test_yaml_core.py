"""YAML as people mean it."""

import pytest

from luthier.spec.yaml_core import dump, parse


@pytest.mark.parametrize(
    "text, value",
    [
        ("1e-4", 1e-4),
        ("2E3", 2000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", float("-inf")),
        ("-3", -3),
        ("010", 10),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("no", "no"),
        ("on", "on"),
        ("True", True),
        ("~", None),
        ("2026-11-20", "2026-11-20"),
        ("0x1f", "0x1f"),
        ("'1e-4'", "1e-4"),
        ("[1, [a, {b: c}]]", [1, ["a", {"b": "c"}]]),
        ("", None),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = parse(text, "a.yaml")[0]
    assert found == value
    assert type(found) is type(value)


def test_every_key_has_its_line() -> None:
    _, lines = parse("a: 1\nb:\n  c: [{d: 1}, {e: 2}]\n", "a.yaml")
    assert lines == {"a": 1, "b": 2, "b.c": 3, "b.c[0].d": 3, "b.c[1].e": 3}


@pytest.mark.parametrize(
    "value", ["1e-4", "no", "null", "", " a ", "ü: #", "3", "0x1f", "1_000", "2026-11-20", "a\nb", 1e-8, 1e22, True, None]
)
def test_what_is_dumped_is_read_back_as_it_was(value: object) -> None:
    found = parse(dump({"a": [value]}), "a.yaml")[0]["a"][0]
    assert found == value
    assert type(found) is type(value)
