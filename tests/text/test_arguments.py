"""Arguments of chat templates: `model.template_arguments`."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from luthier.errors import TemplateError
from luthier.spec.rows import Message
from luthier.text.renderer import Renderer
from luthier.text.template import ChatTemplate, find_template
from luthier.text.tokenizer import Tokenizer

Tiny = Callable[..., Tokenizer]

THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think></think>' }}{% endif %}{% endif %}"
)
HELLO = (Message("user", "Hello"),)


def _renderer(tokenizer: Tokenizer, source: str, folder: Path, **arguments: object) -> Renderer:
    (folder / "mine.jinja").write_text(source)
    return Renderer(tokenizer, find_template(folder, str(folder / "mine.jinja"), tokenizer, arguments))


def test_an_argument_reaches_the_template_and_the_fingerprint(tiny: Tiny, tmp_path: Path) -> None:
    tokenizer = tiny()
    plain, quiet = _renderer(tokenizer, THINKING, tmp_path), _renderer(tokenizer, THINKING, tmp_path, enable_thinking=False)
    assert plain.render(HELLO, add_generation_prompt=True).text.endswith("assistant\n")
    assert quiet.render(HELLO, add_generation_prompt=True).text.endswith("assistant\n<think></think>")
    assert plain.fingerprint != quiet.fingerprint


def test_the_saved_template_holds_its_arguments(tiny: Tiny, tmp_path: Path) -> None:
    """Whoever renders with it, gets them, and a value of his own goes before."""
    source = _renderer(tiny(), THINKING, tmp_path, enable_thinking=False).template_sources["default"]
    assert Renderer(tiny(), source).render(HELLO, add_generation_prompt=True).text.endswith("<think></think>")
    again = find_template(tmp_path, _written(tmp_path, source), tiny(), {"enable_thinking": True})
    assert Renderer(tiny(), again).render(HELLO, add_generation_prompt=True).text.endswith("assistant\n")


def _written(folder: Path, source: str) -> str:
    (folder / "saved.jinja").write_text(source)
    return str(folder / "saved.jinja")


def test_what_no_template_reads_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"`model.template_arguments.enable_thinkin` has no effect.*Did you mean `enable_thinking`"):
        _renderer(tiny(), THINKING, tmp_path, enable_thinkin=False)
    with pytest.raises(TemplateError, match=r"does not read it\. It reads `enable_thinking`"):
        _renderer(tiny(), THINKING, tmp_path, zebra=1)
    with pytest.raises(TemplateError, match="the model has no chat template"):
        find_template(tmp_path, None, tiny(), {"enable_thinking": False})


@pytest.mark.parametrize(
    "value, written",
    [
        (None, "True None"),
        ('it\'s "so"\n\\ü😀', 'False it\'s "so"\n\\ü😀'),
        ({"a": [1, 2.5, None, True]}, "False {'a': [1, 2.5, None, True]}"),
    ],
)
def test_any_value_of_yaml_arrives_as_it_is(value: object, written: str, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text("{{ x is none }} {{ x }}{{ messages[0].content }}")
    source = find_template(tmp_path, str(tmp_path / "mine.jinja"), tiny(), {"x": value})
    assert source is not None
    assert _text(source) == written + "!"


@pytest.mark.parametrize(
    "start", ["", "\n", "  ", "  {% if true %}a{% endif %}", "\n{%- if true %}a{% endif %}", " {# note #}\n", "{{ 'a' }}\n"]
)
def test_the_text_itself_is_not_changed(start: str, tiny: Tiny, tmp_path: Path) -> None:
    """Line breaks and spaces at its beginning mean what they meant: Jinja takes those around blocks for the blocks' own."""
    text = start + "{{ messages[0].content }}{{ x }}"
    (tmp_path / "mine.jinja").write_text(text)
    source = find_template(tmp_path, str(tmp_path / "mine.jinja"), tiny(), {"x": "?"})
    assert source is not None
    assert _text(source) == _text(text) + "?"


def _text(source: str | dict[str, str]) -> str:
    return ChatTemplate(source, {}).render([{"role": "user", "content": "!"}], None, False, datetime(2026, 3, 1))
