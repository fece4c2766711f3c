"""What pydantic finds wrong, told as OpenAI's server tells it: `0 is less than the minimum of 1 - 'n_epochs'`."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LONGEST_SHOWN = 80
"""Characters of a wrong value that are told back."""

TYPES = {
    "string_type": "string",
    "int_type": "integer",
    "int_parsing": "integer",
    "int_from_float": "integer",
    "float_type": "number",
    "float_parsing": "number",
    "bool_type": "boolean",
    "bool_parsing": "boolean",
    "list_type": "array",
    "dict_type": "object",
    "model_type": "object",
    "model_attributes_type": "object",
    "dataclass_type": "object",
}
"""By pydantic's name of the error: the type that JSON schema names."""

SENTENCES: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
    "greater_than_equal": lambda given, limits: f"{given} is less than the minimum of {_number(limits['ge'])}",
    "greater_than": lambda given, limits: f"{given} is less than or equal to the minimum of {_number(limits['gt'])}",
    "less_than_equal": lambda given, limits: f"{given} is greater than the maximum of {_number(limits['le'])}",
    "less_than": lambda given, limits: f"{given} is greater than or equal to the maximum of {_number(limits['lt'])}",
    "literal_error": lambda given, limits: f"{given} is not one of {_choices(limits['expected'])}",
    "enum": lambda given, limits: f"{given} is not one of {_choices(limits['expected'])}",
    "string_too_long": lambda given, limits: f"{given} is too long, at most {limits['max_length']} characters",
    "string_too_short": lambda given, limits: f"{given} is too short, at least {limits['min_length']} characters",
    "too_long": lambda _, limits: f"{limits['actual_length']} is more than the maximum of {limits['max_length']} items",
    "too_short": lambda _, limits: f"{limits['actual_length']} is less than the minimum of {limits['min_length']} items",
}


@dataclass(frozen=True)
class Fault:
    """`param`: the field, dotted, or None for the whole body."""

    message: str
    param: str | None


def first_fault(errors: Sequence[Mapping[str, Any]]) -> Fault:
    """The first of the errors that pydantic lists; of a union's alternatives, the one that went furthest into the value."""
    error = max(errors, key=lambda error: (len(_path(error)), -errors.index(error))) if _of_one_union(errors) else errors[0]
    kind, param = error["type"], ".".join(_path(error)) or None
    if kind == "json_invalid":
        return Fault("We could not parse the JSON body of your request. (HINT: a JSON value with text keys is expected here.)", None)
    at = f" - '{param}'" if param else ""
    if kind == "missing":
        return Fault(f"'{_path(error)[-1]}' is a required property{at}" if param else "The request has no body.", param)
    if kind == "extra_forbidden":
        return Fault(f"Unrecognized request argument supplied: {param}", param)
    given = shown(error.get("input"))
    if kind in TYPES:
        return Fault(f"{given} is not of type '{TYPES[kind]}'{at}", param)
    if kind in SENTENCES:
        # pydantic stops counting at the limit of what it looks through, and says None
        counted = {"actual_length": len(error["input"])} if kind in ("too_long", "too_short") else {}
        return Fault(f"{SENTENCES[kind](given, {**error['ctx'], **counted})}{at}", param)
    return Fault(f"{error['msg'].removeprefix('Value error, ')}{at}", param)


def shown(value: Any) -> str:
    """A value as an error quotes it."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _path(error: Mapping[str, Any]) -> list[str]:
    """Where in the request, without pydantic's names of a union's alternatives, which no user wrote."""
    where = list(error["loc"])
    if where and where[0] in ("body", "query", "path", "header", "cookie"):
        where = where[1:]
    return [str(part) for part in where if not isinstance(part, str) or (part.isidentifier() and not part[:1].isupper())]


def _of_one_union(errors: Sequence[Mapping[str, Any]]) -> bool:
    return len(errors) > 1 and len({_path(error)[0] if _path(error) else "" for error in errors}) == 1


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _choices(expected: str) -> str:
    """pydantic's `'a', 'b' or 'c'` as a list."""
    return f"[{expected.replace(' or ', ', ')}]"
