"""A conversation with a model, turn by turn, in a terminal or from Python."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from luthier.errors import SettingsError, UserError
from luthier.recipes.assistant import Answer, Assistant, Sampling
from luthier.spec.rows import Message

COMMANDS = {
    "/again": "another answer to the last question",
    "/reset": "forget the conversation",
    "/system": "what the model is told about its part: /system TEXT",
    "/help": "these commands",
    "/quit": "leave (Ctrl-D does, too)",
}


@dataclass
class Chat:
    """Messages so far, and the assistant that answers. Each answer is drawn at an address of its own: /again draws another one."""

    assistant: Assistant
    sampling: Sampling
    system: str | None = None
    messages: list[Message] = field(default_factory=list)
    num_drawn: int = 0

    def __post_init__(self) -> None:
        if self.system and not self.assistant.converses:
            raise SettingsError("This model has no chat template, so there is no place for a system prompt. Leave it out.")

    def ask(self, text: str, on_text: Callable[[str], None] | None = None) -> Answer:
        """Add a question, draw its answer, and keep both; nothing is kept where that fails."""
        return self._draw([*self.messages, Message("user", text)], on_text)

    def again(self, on_text: Callable[[str], None] | None = None) -> Answer | None:
        """Another answer to the last question, instead of the one there is; None where nothing was asked yet."""
        questions = [i for i, message in enumerate(self.messages) if message.role == "user"]
        return self._draw(self.messages[: questions[-1] + 1], on_text) if questions else None

    def reset(self) -> None:
        self.messages = []

    def _draw(self, messages: list[Message], on_text: Callable[[str], None] | None) -> Answer:
        shown: list[str] = []

        def tell(text: str) -> None:
            shown.append(text)
            if on_text is not None:
                on_text(text)

        first = [Message("system", self.system)] if self.system else []
        self.num_drawn += 1
        try:
            answer = self.assistant.answer([*first, *messages], self.sampling, (self.num_drawn,), on_text=tell)
        except KeyboardInterrupt:  # what was said until then stands
            answer = Answer("".join(shown), len(shown), finished=False)
        self.messages = [*(messages if self.assistant.converses else messages[-1:]), Message("assistant", answer.text)]
        return answer


def converse(chat: Chat, read: Callable[[], str], write: Callable[[str], None], aside: Callable[[str], None]) -> None:
    """Read questions and write answers until the reader ends (`EOFError`) or somebody types /quit.

    Args:
        write: a stretch of an answer. aside: what is not an answer, a whole line.
    """
    while True:
        try:
            line = read().strip()
        except (EOFError, KeyboardInterrupt):
            return
        if line in ("/quit", "/exit", "/bye"):
            return
        try:
            if line.startswith("/"):
                _obey(chat, line, write, aside)
            elif line:
                _timed(chat, lambda line=line: chat.ask(line, write), write, aside)  # type: ignore[misc]
        except UserError as error:
            aside(f"{error} /reset starts over.")


def _obey(chat: Chat, line: str, write: Callable[[str], None], aside: Callable[[str], None]) -> None:
    word, _, rest = line.partition(" ")
    if word == "/again":
        if not chat.messages:
            aside("Nothing was asked yet.")
        else:
            _timed(chat, lambda: chat.again(write), write, aside)
    elif word == "/reset":
        chat.reset()
        aside("A new conversation.")
    elif word == "/system" and not chat.assistant.converses:
        aside("This model has no chat template, so there is no place for a system prompt.")
    elif word == "/system":
        chat.system = rest.strip() or None
        chat.reset()
        aside("A new conversation, under this system prompt." if chat.system else "A new conversation, without a system prompt.")
    else:
        if word != "/help":
            aside(f"There is no command {word}.")
        for name, meaning in COMMANDS.items():
            aside(f"{name:<9} {meaning}")


def _timed(chat: Chat, draw: Callable[[], Answer | None], write: Callable[[str], None], aside: Callable[[str], None]) -> None:
    began = time.perf_counter()
    answer = draw()
    assert answer is not None
    write("\n")
    ended = "" if answer.finished else f", stopped at {answer.num_tokens} tokens"
    aside(f"{answer.num_tokens / (time.perf_counter() - began):,.0f} tokens/s{ended}")
