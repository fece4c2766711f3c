"""`stages.ppo.train.max_steps=4`: settings of a pipeline's stages from the command line, over the file's own."""

from collections.abc import Iterator, Sequence
from typing import Any

from luthier.errors import SettingsError
from luthier.spec.load import expanded, merge, put, split
from luthier.spec.nearest import did_you_mean, listed

FORMS = "Write `stages.NAME.SETTING=value`, such as `stages.sft.train.epochs=2`, `repeat.at_most=2`, or `out=FOLDER`."

Places = dict[str, str]


def override(values: dict[str, Any], places: Places, overrides: Sequence[str]) -> None:
    """Changes what a pipeline file holds, and where it is said to stand.

    Args:
        values, places: of the file; places by dotted key, `stages[0].train.epochs`.
    Raises:
        SettingsError: not of this form, no such stage, or nothing that can be changed.
    """
    for text in overrides:
        key, value = split(text)
        first, _, rest = key.partition(".")
        place = f"`{text}`: "
        if key == "out":
            values["out"], places["out"] = value, place
        elif first == "repeat" and rest:
            element, at = _rounds(values, place)
            _set(element, places, at, key, value, place)
        elif first == "stages" and rest:
            name, _, setting = rest.partition(".")
            element, at = _stage(values, name, place)
            if not setting or setting in ("name", "kind"):
                what = f"`{setting}` of a stage cannot be changed" if setting else "it names no setting"
                raise SettingsError(f"{place}{what}. {FORMS}")
            _set(element, places, at, setting, value, place)
        else:
            raise SettingsError(f"{place}a pipeline has no such setting. {FORMS}")


def _set(element: dict[str, Any], places: Places, at: str, key: str, value: Any, place: str) -> None:
    """One dotted key of an element of `stages`, which stands at `at`."""
    own = {known.removeprefix(f"{at}."): text for known, text in places.items() if known.startswith(f"{at}.")}
    for known in own:
        del places[f"{at}.{known}"]
    if element.get("kind") == "train":  # short forms, `method: ppo`, become groups that a setting can be put into
        element.update(expanded(element))
        put(element, own, key, value, place)
    else:
        for part in reversed(key.split(".")[1:]):
            value = {part: value}
        first = key.split(".")[0]
        element[first] = merge(element.get(first), value, key)
        own[key] = place
    places.update({f"{at}.{known}": text for known, text in own.items()})


def _elements(stages: Any, key: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Stages and groups of rounds, with where they stand, as far as the file holds what it should."""
    for i, element in enumerate(stages if isinstance(stages, list) else ()):
        if isinstance(element, dict):
            yield element, f"{key}[{i}]"
            yield from _elements(element.get("stages"), f"{key}[{i}].stages")


def _stage(values: dict[str, Any], name: str, place: str) -> tuple[dict[str, Any], str]:
    known = {str(element["name"]): (element, at) for element, at in _elements(values.get("stages"), "stages") if "name" in element}
    if name not in known:
        hint = did_you_mean(name, known) or f" There are {listed(list(known), 'and')}."
        raise SettingsError(f"{place}there is no stage `{name}`.{hint}")
    return known[name]


def _rounds(values: dict[str, Any], place: str) -> tuple[dict[str, Any], str]:
    found = [(element, at) for element, at in _elements(values.get("stages"), "stages") if "repeat" in element]
    if len(found) != 1:
        raise SettingsError(f"{place}this pipeline has {len(found) or 'no'} groups of rounds; with one of them it would be clear. {FORMS}")
    return found[0]
