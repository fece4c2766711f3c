"""`ChatTemplate`: a chat template in Jinja, in the environment that templates of published models expect, and where to find it."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from luthier.errors import TemplateError
from luthier.text.arguments import with_arguments
from luthier.text.markers import SPAN_END, SPAN_START
from luthier.text.plain import PLAIN
from luthier.text.tokenizer import Tokenizer

GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
ESCAPED_RESERVED = re.compile(r"(?<!\\)((?:\\\\)*)\\u(fdd[0-4])")

DATE_WRITTEN = re.compile(r"""strftime_now\(\s*(["'])((?:(?!\1)[^\\])*)\1\s*\)""")
DATE_ASKED_FOR = re.compile(r"strftime_now is (?:not )?defined")

FAULTS_OF_TEMPLATES = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What the code of a template can raise: it is a program that a stranger wrote."""


class ChatTemplate:
    """One model's template, or several by name (`default`, and `tool_use` where there are tools)."""

    def __init__(self, source: str | Mapping[str, str], named_tokens: Mapping[str, str]) -> None:
        """`named_tokens`: `bos_token`, `eos_token` … as templates call them. Raises `TemplateError` on a syntax error."""
        self.sources = {"default": source} if isinstance(source, str) else dict(source)
        if not self.sources:
            raise TemplateError("The model's list of chat templates is empty. Give one with `model.chat_template`, or set it to `plain`.")
        environment = _environment()
        self._named_tokens = dict(named_tokens)
        self._compiled: dict[str, jinja2.Template] = {}
        for name, text in self.sources.items():
            try:
                self._compiled[name] = environment.from_string(text)
            except jinja2.TemplateSyntaxError as error:
                raise TemplateError(
                    f"The chat template has a syntax error in line {error.lineno}: {error.message}. Correct it there."
                ) from error

    @property
    def text(self) -> str:
        """All sources, one after the other."""
        return "\n".join(self.sources.values())

    @property
    def marks_answers(self) -> bool:
        """The template says by `{% generation %}` what the assistant wrote."""
        return bool(GENERATION.search(self.text))

    @property
    def uses_date(self) -> bool:
        """What the template writes depends on the day."""
        return "strftime_now" in self.text

    def written_moment(self, now: datetime) -> str:
        """What the template can write of a moment: the same on one day where it writes dates; empty where it writes none."""
        if not self.uses_date:
            return ""
        formats = DATE_WRITTEN.findall(self.text)
        if len(formats) + len(DATE_ASKED_FOR.findall(self.text)) < self.text.count("strftime_now"):
            return now.isoformat()  # it may write anything
        return "\n".join(now.strftime(format) for _, format in formats)

    def render(self, messages: list[dict[str, Any]], tools: list[Any] | None, add_generation_prompt: bool, now: datetime) -> str:
        """The text, with `SPAN_START` and `SPAN_END` around what `{% generation %}` encloses.

        Raises `TemplateError` with the template's own words where it refuses the conversation.
        """
        name = "tool_use" if tools and "tool_use" in self.sources else "default" if "default" in self.sources else next(iter(self.sources))
        try:
            return self._compiled[name].render(
                messages=messages,
                tools=tools or None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                strftime_now=now.strftime,
                **self._named_tokens,
            )
        except _Refusal as error:
            raise TemplateError(f"The chat template refuses this conversation: {error}") from error
        except FAULTS_OF_TEMPLATES as error:
            raise TemplateError(f"The chat template fails on this conversation ({type(error).__name__}: {error}).") from error


def find_template(
    folder: Path, setting: str | None, tokenizer: Tokenizer, arguments: Mapping[str, Any] | None = None
) -> str | dict[str, str] | None:
    """The template that `setting` (`model.chat_template`) asks for; where that is None the model's own, or None.

    `arguments` (`model.template_arguments`) stand in its text. Raises `TemplateError` where a setting can't be met.
    """
    found = plain_template(tokenizer) if setting == "plain" else _own_template(folder) if setting is None else _read_setting(setting)
    if not arguments:
        return found
    if found is None:
        raise TemplateError("`model.template_arguments` has no effect: the model has no chat template. Remove it, or set one.")
    sources = {"default": found} if isinstance(found, str) else found
    return with_arguments(sources, arguments, _environment())


def plain_template(tokenizer: Tokenizer) -> str:
    """The built-in template, beginning with BOS where this model's texts do. Raises `TemplateError` without an end token."""
    if tokenizer.eos is None:
        raise TemplateError(
            "The plain chat template ends each turn with the model's end token, but this tokenizer names none. "
            "Set `eos_token` in the model's tokenizer_config.json."
        )
    return ("{{- bos_token -}}" if tokenizer.adds_bos else "") + PLAIN


def _read_setting(setting: str) -> str:
    path = Path(setting).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise TemplateError(
            f"`model.chat_template` is {setting}, which can't be read as a file ({error}). Give the path of a Jinja file, or `plain`."
        ) from error


def _own_template(folder: Path) -> str | dict[str, str] | None:
    """chat_template.jinja before what stands in tokenizer_config.json, as transformers does; additional_chat_templates/ beside it."""
    sources: dict[str, str] = {}
    for file in ("chat_template.json", "tokenizer_config.json"):
        sources |= _from_json(folder / file)
    if (folder / "chat_template.jinja").is_file():
        sources["default"] = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    for path in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        sources[path.stem] = path.read_text(encoding="utf-8")
    return sources["default"] if list(sources) == ["default"] else sources or None


def _from_json(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        template = json.loads(path.read_text(encoding="utf-8")).get("chat_template")
    except (ValueError, AttributeError) as error:
        raise TemplateError(f"{path} can't be read as JSON ({error}). Download or copy it again.") from error
    if isinstance(template, list):
        return {item["name"]: item["template"] for item in template}
    return {"default": template} if template else {}


class _Generation(Extension):
    """`{% generation %} … {% endgeneration %}`: encloses what the assistant wrote."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_enclose"), [], [], body).set_lineno(line)

    def _enclose(self, caller: Macro) -> str:
        return f"{SPAN_START}{caller()}{SPAN_END}"


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is, where Jinja's own filter would write `<` as `\\u003c`. The reserved characters survive `ensure_ascii`."""
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    return ESCAPED_RESERVED.sub(lambda match: match[1] + chr(int(match[2], 16)), text) if ensure_ascii else text


class _Refusal(jinja2.TemplateError):
    """`raise_exception` in a template."""


def _raise_exception(message: str) -> NoReturn:
    raise _Refusal(message)
