"""The settings of a JSON schema as a flat table of dotted keys: what error messages and the reference page say about each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from luthier.spec.nearest import listed

Schema = dict[str, Any]

KINDS = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text", "null": "null"}
BOUNDS = (("exclusiveMinimum", "above {}"), ("minimum", "at least {}"), ("exclusiveMaximum", "below {}"), ("maximum", "at most {}"))
SIZES = (("minItems", "at least {} of them"), ("maxItems", "at most {} of them"))


@dataclass(frozen=True)
class Setting:
    """One key. `allowed` completes "It must be …"; `default` is None where `required`; `group` marks a key that only holds others."""

    key: str
    allowed: str
    help: str
    default: Any = None
    required: bool = False
    group: bool = False
    choices: tuple[str, ...] = ()


def table(schema: Schema, prefix: str = "") -> dict[str, Setting]:
    """Every setting of an object schema by dotted key, groups included. Elements of a list are `key[].name`."""
    return {setting.key: setting for setting in _walk(schema, schema.get("$defs", {}), prefix)}


def _walk(schema: Schema, definitions: Schema, prefix: str) -> Iterator[Setting]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        key = f"{prefix}.{name}" if prefix else name
        kind = _resolve(field, definitions)
        yield Setting(
            key,
            allowed=_allowed(kind, definitions),
            help=field.get("description") or kind.get("description", ""),
            default=field.get("default"),
            required=name in required,
            group=_is_group(kind),
            choices=tuple(str(choice) for choice in kind.get("enum", ())),
        )
        if _is_group(kind):
            yield from _walk(kind, definitions, key)
        elif "items" in kind:
            yield from _walk(_resolve(kind["items"], definitions), definitions, f"{key}[]")


def _resolve(field: Schema, definitions: Schema) -> Schema:
    """The schema behind references and behind `X or null`, with `nullable` set for the latter."""
    if "$ref" in field:
        return _resolve(definitions[field["$ref"].rsplit("/", 1)[-1]], definitions)
    branches = [branch for branch in field.get("anyOf", ()) if branch.get("type") != "null"]
    if len(branches) == 1:
        return {**_resolve(branches[0], definitions), "nullable": True}
    return field


def _is_group(kind: Schema) -> bool:
    return "properties" in kind and kind.get("additionalProperties") is not True


def _is_component(kind: Schema) -> bool:
    return "name" in kind.get("properties", {}) and kind.get("additionalProperties") is True


def _allowed(kind: Schema, definitions: Schema) -> str:
    return _phrase(kind, definitions) + (", or null" if kind.get("nullable") else "")


def _phrase(kind: Schema, definitions: Schema) -> str:
    if "enum" in kind:
        return listed(kind["enum"])
    if "const" in kind:
        return f"`{kind['const']}`"
    if _is_component(kind):
        return "a name, or a group of `name` and its settings"
    if "properties" in kind:
        return f"a group of settings ({', '.join(kind['properties'])})"
    if "anyOf" in kind:
        return " or ".join(_phrase(_resolve(branch, definitions), definitions) for branch in kind["anyOf"])
    if kind.get("type") == "array":
        texts = kind.get("items", {}).get("type") == "string"
        return ", ".join(["a list of texts" if texts else "a list", *_limits(kind, SIZES)])
    if kind.get("type") == "object":
        return "a group of keys and values"
    return _joined(KINDS.get(kind.get("type", ""), "a value"), _limits(kind, BOUNDS))


def _limits(kind: Schema, words: tuple[tuple[str, str], ...]) -> list[str]:
    return [phrase.format(_number(kind[name])) for name, phrase in words if name in kind]


def _joined(noun: str, limits: list[str]) -> str:
    """`a number above 0 and at most 1`, `a whole number, at least 1`."""
    if not limits:
        return noun
    comma = "" if limits[0].startswith(("above", "below")) else ","
    return f"{noun}{comma} {' and '.join(limits)}"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:g}"
