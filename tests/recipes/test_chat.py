"""A conversation: turns add up, another answer can be asked for, mistakes leave it as it was."""

from pathlib import Path

import pytest

from luthier.errors import SettingsError
from luthier.recipes.assistant import Sampling, open_assistant
from luthier.recipes.chat import Chat, converse
from luthier.testing import toy_model


@pytest.fixture
def chat(toy_run: Path) -> Chat:
    return Chat(open_assistant(str(toy_run)), Sampling(temperature=1.0, max_new_tokens=6))


def session(chat: Chat, *lines: str) -> tuple[str, list[str]]:
    """What a conversation of `lines` writes as answers, and the lines beside them."""
    left = list(lines)
    written: list[str] = []
    aside: list[str] = []

    def read() -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    converse(chat, read, written.append, aside.append)
    return "".join(written), aside


def test_turns_add_up(chat: Chat):
    session(chat, "Count from 1.", "Go on.")
    assert [m.role for m in chat.messages] == ["user", "assistant", "user", "assistant"]


def test_again_replaces_the_last_answer(chat: Chat):
    session(chat, "Count from 1.")
    first = chat.messages[1].content
    session(chat, "/again")
    assert chat.messages[0].content == "Count from 1."
    assert len(chat.messages) == 2
    assert chat.messages[1].content != first


def test_a_conversation_can_be_repeated(toy_run: Path):
    def answers() -> list[str]:
        chat = Chat(open_assistant(str(toy_run)), Sampling(temperature=1.0, max_new_tokens=6))
        session(chat, "Count from 1.", "Go on.")
        return [m.content for m in chat.messages]

    assert answers() == answers()


def test_reset_and_system_begin_anew(chat: Chat):
    _, aside = session(chat, "Count from 1.", "/reset")
    assert chat.messages == []
    assert aside[-1] == "A new conversation."
    session(chat, "/system You count.", "Count from 2.")
    assert chat.system == "You count."
    assert len(chat.messages) == 2


def test_leaving_asks_nothing_more(chat: Chat):
    session(chat, "/quit", "Count from 1.")
    assert chat.messages == []


def test_an_unknown_command_lists_those_there_are(chat: Chat):
    written, aside = session(chat, "/rest", "/again")
    assert written == ""
    assert aside[0] == "There is no command /rest."
    assert {line.split()[0] for line in aside[1:-1]} == {"/again", "/reset", "/system", "/help", "/quit"}
    assert aside[-1] == "Nothing was asked yet."


def test_a_question_too_long_leaves_the_conversation_as_it_was(chat: Chat):
    _, aside = session(chat, "Count from 1.", "long " * 200)
    assert len(chat.messages) == 2
    assert aside[-1].endswith("there is no room to answer. /reset starts over.")


def test_an_interrupted_answer_stands_as_far_as_it_came(chat: Chat):
    def interrupt(text: str) -> None:
        raise KeyboardInterrupt

    answer = chat.ask("Count from 1.", interrupt)
    assert not answer.finished
    assert chat.messages[-1].content == answer.text


def test_a_model_without_a_template_goes_on_with_each_line_anew(tmp_path: Path):
    assistant = open_assistant(str(toy_model(tmp_path / "bare", chat_template=None)))
    chat = Chat(assistant, Sampling(max_new_tokens=4))
    session(chat, "Once upon a time", "there was", "/again")
    assert [m.role for m in chat.messages] == ["user", "assistant"]
    assert chat.messages[0].content == "there was"
    assert session(chat, "/system You count.")[1] == ["This model has no chat template, so there is no place for a system prompt."]
    with pytest.raises(SettingsError, match="no place for a system prompt"):
        Chat(assistant, Sampling(), system="You count.")
