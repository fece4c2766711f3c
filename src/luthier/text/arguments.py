"""Arguments of a chat template (`enable_thinking: false`), written into its text, so that whoever renders with it gets them."""

import json
from collections.abc import Mapping
from typing import Any

import jinja2
from jinja2 import meta, nodes

from luthier.errors import TemplateError
from luthier.spec.nearest import did_you_mean, listed

GIVEN = frozenset({"messages", "tools", "documents", "add_generation_prompt", "strftime_now"})
"""What rendering itself gives a template, besides the names of tokens."""

TOKEN_NAMES = frozenset({"bos_token", "eos_token", "pad_token", "unk_token"})


def with_arguments(sources: Mapping[str, str], arguments: Mapping[str, Any], environment: jinja2.Environment) -> dict[str, str]:
    """The template's texts, each beginning with those of the arguments that it reads. A caller's own value still goes before ours.

    Raises:
        TemplateError: an argument that no text reads, which would do nothing; naming the nearest that one does.
    """
    read = {name: _read(text, environment) for name, text in sources.items()}
    for argument in arguments:
        if not any(argument in names for names, _ in read.values()):
            known = sorted({name for names, own in read.values() for name in names - own})
            what = f" It reads {listed(known, 'and')}." if known else " It reads none."
            raise TemplateError(
                f"`model.template_arguments.{argument}` has no effect: the chat template does not read it."
                f"{did_you_mean(argument, known) or what}"
            )
    return {name: _prefixed(text, {key: arguments[key] for key in arguments if key in read[name][0]}) for name, text in sources.items()}


def _read(text: str, environment: jinja2.Environment) -> tuple[set[str], set[str]]:
    """The names that a template may take from whoever renders it, and those that it sets somewhere itself.

    Both empty where it has a syntax error, which is told elsewhere.
    """
    try:
        parsed = environment.parse(text)
    except jinja2.TemplateSyntaxError:
        return set(), set()
    own = {name.name for name in parsed.find_all(nodes.Name) if name.ctx != "load"}
    return meta.find_undeclared_variables(parsed) - GIVEN - TOKEN_NAMES - environment.globals.keys(), own


def _prefixed(text: str, arguments: Mapping[str, Any]) -> str:
    if not arguments:
        return text
    lines = [f"{{% if {name} is not defined %}}{{% set {name} = {_literal(value)} %}}{{% endif %}}" for name, value in arguments.items()]
    # The empty expression stands between, because a line break after a block would be taken for the block's own; for the same reason
    # spaces before a block that began the text go, as they did there.
    rest = text.lstrip(" \t")
    return "".join(lines) + "{{ '' }}" + (rest if rest.startswith(("{%", "{#")) else text)


def _literal(value: Any) -> str:
    """A value of YAML as Jinja writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(key), ensure_ascii=False)}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
