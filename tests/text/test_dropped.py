"""Counting what a template leaves out."""

from luthier.spec.rows import Message
from luthier.text.dropped import Dropped, dropped_from_answer, num_missing


def test_nothing_is_missing_where_the_text_stands_whole_or_as_json() -> None:
    assert num_missing("  The rate.\n", "<a>The rate.</a>") == 0
    assert num_missing('say "hi"\n"you"', '{"text": "say \\"hi\\"\\n\\"you\\""}') == 0
    assert num_missing("", "anything") == 0


def test_missing_words_are_counted_by_their_characters() -> None:
    """`<think>hm</think>` is <, think, >, hm, <, /, think, >: 17 characters without white space."""
    assert num_missing("<think>hm</think>\nThe rate is low.", "The rate is low.") == 17
    assert num_missing("one two three", "") == 11


def test_changed_white_space_is_not_missing() -> None:
    assert num_missing("a  b\n\nc", "a b c") == 0


def test_arguments_are_looked_for_one_by_one() -> None:
    call = {"function": {"name": "find", "arguments": '{"city": "Oslo", "days": 3, "also": ["rain", {"x": "snow"}]}'}}
    message = Message("assistant", "", tool_calls=(call,))
    assert dropped_from_answer(1, message, "call find(city=Oslo, also=[rain, snow])") == []
    assert dropped_from_answer(1, message, "call find(city=Oslo)") == [Dropped(1, "assistant", "tool_calls", len("rain") + len("snow"))]


def test_what_is_dropped_reads_as_a_sentence() -> None:
    calls = Dropped(1, "assistant", "tool_calls", 9)
    assert str(calls) == "message 2 (assistant): its tool calls: 9 characters that the template leaves out."
    assert str(Dropped(-1, "tools", "tools", 9)) == "the list of tools: 9 characters that the template leaves out."
