"""YAML as people mean it: the scalars of YAML 1.2 (`1e-4` is a number, `no` and `2026-11-20` are text), no key twice, line numbers."""

import re
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from luthier.errors import SettingsError

Lines = dict[str, int]
"""The line on which each dotted key stands, counted from 1."""


class CoreLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2 instead of 1.1."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


class CoreDumper(yaml.SafeDumper):
    """Its counterpart: quotes what `CoreLoader` would read as something other than text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


SCALARS = (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+.0123456789"),
    ),
)
for kind, pattern, first in SCALARS:
    CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(pattern), first)
    CoreDumper.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(pattern), first)


def _integer(loader: yaml.SafeLoader, node: ScalarNode) -> int:
    return int(loader.construct_scalar(node))  # `010` is ten, as in YAML 1.2


CoreLoader.add_constructor("tag:yaml.org,2002:int", _integer)


def parse(text: str, name: str) -> tuple[Any, Lines]:
    """A YAML document as plain values, and where each of its keys stands.

    Raises:
        SettingsError: not YAML, a key given twice, or a value that contains itself; names the line.
    """
    try:
        loader = CoreLoader(text)
        node = loader.get_single_node()
        lines: Lines = {}
        return (None if node is None else _plain(loader, node, "", lines, name)), lines
    except yaml.YAMLError as error:
        raise SettingsError(_syntax(error, name)) from None
    except RecursionError:
        raise SettingsError(f"{name}: a value contains itself. Write it out instead of using `&` and `*`.") from None


def parse_value(text: str, key: str) -> Any:
    """The value of a `key=value` on the command line: a list or mapping where it begins with a bracket, otherwise one word or number."""
    if text[:1] in ("[", "{", '"', "'"):
        return parse(text, f"`{key}={text}`")[0]
    loader = CoreLoader("")
    tag = loader.resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return loader.construct_object(ScalarNode(tag, text))


def dump(value: Any) -> str:
    """Plain values as YAML, keys in the given order."""
    return str(yaml.dump(value, Dumper=CoreDumper, sort_keys=False, allow_unicode=True, width=120))


def _plain(loader: CoreLoader, node: Node, key: str, lines: Lines, name: str) -> Any:
    if isinstance(node, MappingNode):
        return _mapping(loader, node, key, lines, name)
    if isinstance(node, SequenceNode):
        return [_plain(loader, item, f"{key}[{i}]", lines, name) for i, item in enumerate(node.value)]
    return loader.construct_object(node)


def _mapping(loader: CoreLoader, node: MappingNode, prefix: str, lines: Lines, name: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, ScalarNode):
            raise SettingsError(f"{name}:{line}: a key must be one word.")
        word = str(key_node.value)
        key = f"{prefix}.{word}" if prefix else word
        if word in values:
            raise SettingsError(f"{name}:{line}: `{key}` stands here a second time (first in line {lines[key]}). Remove one of the two.")
        lines[key] = line
        values[word] = _plain(loader, value_node, key, lines, name)
    return values


def _syntax(error: yaml.YAMLError, name: str) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    where = f"{name}:{mark.line + 1}" if mark else name
    return f"{where}: this is not valid YAML: {problem}."
