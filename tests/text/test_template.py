"""Chat templates: where they are found, and the environment they run in."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from luthier.errors import TemplateError
from luthier.text.markers import SPAN_END, SPAN_START
from luthier.text.template import ChatTemplate, find_template
from luthier.text.tokenizer import Tokenizer

Tiny = Callable[..., Tokenizer]
NOON = datetime(2026, 3, 1, 12)


def _render(source: str, messages: list[dict[str, object]] | None = None, tools: list[object] | None = None) -> str:
    return ChatTemplate(source, {"bos_token": "<s>"}).render(messages or [], tools, False, NOON)


def test_blocks_leave_no_lines_and_json_keeps_its_signs() -> None:
    assert _render("{% if true %}\n    {% set a = 1 %}\nx\n{% endif %}\ny") == "x\ny"
    assert _render("{{ {'a': '<é&>'} | tojson }}") == '{"a": "<é&>"}'
    assert _render("{{ {'b': 1, 'a': [2]} | tojson(indent=1, sort_keys=true) }}") == '{\n "a": [\n  2\n ],\n "b": 1\n}'


def test_json_in_ascii_keeps_the_reserved_characters() -> None:
    """Otherwise a marker in a message would lose the brackets that hold it apart. A person's own backslashes stay."""
    source = "{{ messages[0].content | tojson(ensure_ascii=true) }}"
    assert _render(source, [{"content": "é\ufdd0</s>\ufdd1 \\ufdd0"}]) == '"\\u00e9\ufdd0</s>\ufdd1 \\\\ufdd0"'


def test_loop_controls_date_and_named_tokens() -> None:
    source = "{{ bos_token }}{% for i in range(5) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"
    assert _render(source) == "<s>01"
    assert _render("{% macro today() %}{{ strftime_now('%d %b %Y') }}{% endmacro %}{{ today() }}") == "01 Mar 2026"
    assert ChatTemplate("{{ strftime_now('%Y') }}", {}).uses_date and not ChatTemplate("", {}).uses_date


def test_generation_encloses_what_the_assistant_wrote_even_inside_macros_and_sets() -> None:
    source = "{% macro m(x) %}[{% generation %}{{ x }}{% endgeneration %}]{% endmacro %}{% set y = m('a') %}{{ y }}{{ m('b') }}"
    assert _render(source) == f"[{SPAN_START}a{SPAN_END}][{SPAN_START}b{SPAN_END}]"
    assert ChatTemplate(source, {}).marks_answers and not ChatTemplate("generation", {}).marks_answers


def test_a_template_can_not_reach_python() -> None:
    with pytest.raises(TemplateError):
        _render("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(TemplateError):
        _render("{{ messages.append(1) }}")


def test_refusals_and_failures_are_sentences() -> None:
    with pytest.raises(TemplateError, match="refuses this conversation: No system here"):
        _render("{{ raise_exception('No system here') }}")
    with pytest.raises(TemplateError, match="fails on this conversation"):
        _render("{{ 'a' + messages[0].nothing }}", [{}])
    with pytest.raises(TemplateError, match="syntax error in line 2"):
        ChatTemplate("a\n{% if %}", {})


def test_tool_use_has_a_template_of_its_own() -> None:
    template = ChatTemplate({"default": "d", "tool_use": "t"}, {})
    assert (template.render([], None, False, NOON), template.render([], [{}], False, NOON)) == ("d", "t")
    assert ChatTemplate({"other": "o"}, {}).render([], [{}], False, NOON) == "o"
    with pytest.raises(TemplateError, match="list of chat templates is empty"):
        ChatTemplate({}, {})


def test_templates_are_found_where_models_keep_them(tiny: Tiny, tmp_path: Path) -> None:
    config = tmp_path / "tokenizer_config.json"
    assert find_template(tmp_path, None, tiny()) is None
    config.write_text(json.dumps({"chat_template": "from config"}), encoding="utf-8")
    assert find_template(tmp_path, None, tiny()) == "from config"
    config.write_text(json.dumps({"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]}))
    assert find_template(tmp_path, None, tiny()) == {"default": "d", "tool_use": "t"}
    (tmp_path / "chat_template.jinja").write_text("from file", encoding="utf-8")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates/rag.jinja").write_text("r", encoding="utf-8")
    assert find_template(tmp_path, None, tiny()) == {"default": "from file", "tool_use": "t", "rag": "r"}


def test_the_setting_replaces_the_models_template(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("the model's", encoding="utf-8")
    (tmp_path / "mine.jinja").write_text("mine", encoding="utf-8")
    assert find_template(tmp_path, str(tmp_path / "mine.jinja"), tiny()) == "mine"
    assert "Assistant:" in str(find_template(tmp_path, "plain", tiny()))
    with pytest.raises(TemplateError, match="can't be read as a file"):
        find_template(tmp_path, str(tmp_path / "nowhere.jinja"), tiny())
