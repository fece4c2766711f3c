"""What of an answer can be shown while it is drawn."""

import pytest

from luthier.serve.said import HeldCalls
from luthier.serve.spelling import letters
from luthier.serve.trimmed import Trimmed
from luthier.testing import byte_tokenizer
from luthier.text.dialects import DIALECTS
from luthier.text.tokenizer import Tokenizer


def test_white_space_around_an_answer_is_not_shown() -> None:
    trimmed = Trimmed()
    assert [trimmed.push(text) for text in (" \n", " Hi", " ", "\n", "there ", "")] == ["", "Hi", "", "", " \nthere", ""]


@pytest.mark.parametrize(
    "dialect, parts, shown, held",
    [
        ("json", ["Well. <to", "ol_call>\n", '{"name"'], ["Well. ", "", ""], '<tool_call>\n{"name"'),
        ("json", ["a <", "b>"], ["a ", "<b>"], ""),
        ("bare", [" ", '{"na', "me"], [" ", "", ""], '{"name'),
        ("bare", ["a {", "b}"], ["a {", "b}"], ""),
    ],
)
def test_what_may_be_a_call_waits(dialect: str, parts: list[str], shown: list[str], held: str) -> None:
    tokenizer = Tokenizer(byte_tokenizer(), {"eos": "<|end|>"})
    calls = HeldCalls(next(d for d in DIALECTS if d.name == dialect), tokenizer)
    assert [calls.push(0, part) for part in parts] == shown
    assert (calls.held, calls.holds) == (held, bool(held))


def test_letters_of_bytes_are_those_of_the_tokenizer() -> None:
    tokenizer = Tokenizer(byte_tokenizer(), {})
    assert {letter: tokenizer.id_of(letter) for letter in letters()} == letters()
