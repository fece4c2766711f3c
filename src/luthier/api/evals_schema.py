"""The schema of an eval's items: whether it is one, and whether an item fits it. Nothing is fetched, and no pattern takes long."""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for
from pydantic import StringConstraints, TypeAdapter
from pydantic import ValidationError as NotValid
from pydantic_core import SchemaError as BadPattern
from referencing import Registry
from referencing.exceptions import Unresolvable

from luthier.api.validation import shown

NAMED = ("properties", "$defs", "definitions", "dependentSchemas")
"""Keywords below which keys are names, not keywords."""
PLAIN = ("const", "enum", "default", "examples")
"""Keywords below which there is no schema."""

Check = Callable[[Any], str | None]
"""What is wrong with an item, as the end of a sentence; None where nothing is."""


def schema_fault(schema: Mapping[str, Any]) -> str | None:
    """Why it is no schema that items can be checked by; None where it is one."""
    try:
        _kind(schema).check_schema(dict(schema))
        for pattern in _patterns(schema):
            _matching(pattern)
    except SchemaError as error:
        return f"{error.message}{_place(error)}"
    except BadPattern as error:
        return f"a pattern cannot be used here: {str(error).splitlines()[0]}"
    except _Refused as error:
        return str(error)
    except RecursionError:
        return "it is nested too deeply"
    return None


def checked_by(schema: Mapping[str, Any]) -> Check:
    """Checks items by a schema that has no fault."""
    kind = extend(_kind(schema), {"pattern": _pattern})
    validator: Validator = kind(dict(schema), registry=Registry())  # an empty one: a reference to elsewhere is not followed

    def check(item: Any) -> str | None:
        try:
            error = next(iter(validator.iter_errors(item)), None)
        except Unresolvable as missing:
            return f"its schema refers to {missing.ref}, which is not in it"
        except RecursionError:
            return "its schema never ends"
        return None if error is None else f"{error.message[:300]}{_place(error)}"

    return check


class _Refused(Exception):
    """What a schema may not say here."""


def _kind(schema: Mapping[str, Any]) -> Any:
    return validator_for(dict(schema), default=Draft202012Validator)


def _patterns(schema: Any) -> Iterator[str]:
    """Every pattern in a schema. Raises `_Refused`."""
    if isinstance(schema, list):
        for one in schema:
            yield from _patterns(one)
    if not isinstance(schema, Mapping):
        return
    for key, value in schema.items():
        if key == "patternProperties":
            raise _Refused("`patternProperties` cannot be used here; name the properties")
        if key == "pattern" and isinstance(value, str):
            yield value
        elif key in NAMED and isinstance(value, Mapping):
            yield from _patterns(list(value.values()))
        elif key not in PLAIN:
            yield from _patterns(value)


@functools.lru_cache(maxsize=256)
def _matching(pattern: str) -> TypeAdapter[str]:
    """Rust's expressions, whose time grows with the text and never explodes. Raises `BadPattern` for what they cannot say."""
    return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])


def _pattern(validator: Validator, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str):
        try:
            _matching(pattern).validate_python(instance)
        except NotValid:
            yield ValidationError(f"{shown(instance)} does not match {json.dumps(pattern)}")


def _place(error: ValidationError | SchemaError) -> str:
    return f" (at {error.json_path.removeprefix('$.')})" if error.absolute_path else ""
