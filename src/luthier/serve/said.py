"""`Asked`, one ask under way, and `Answer`, one of its answers: the sampler's events as pieces for the client."""

import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from luthier.models.requests import Event, Request
from luthier.serve.base import Base
from luthier.serve.prepared import Prepared
from luthier.serve.trimmed import Trimmed
from luthier.spec.serving import Ask, Fault, Finish, Piece, Token, Usage
from luthier.text.dialects import Dialect
from luthier.text.tokenizer import Tokenizer

ALPHABET = string.ascii_letters + string.digits
LONGEST_ID = 9
"""Some templates want calls to be numbered by so many letters and digits."""


@dataclass(eq=False)
class Asked:
    """An ask whose base is in memory. `tell`: hands a piece on to its client. `arrived`: on the clock that never goes back."""

    ask: Ask
    base: Base
    prepared: Prepared
    tell: Callable[[Piece], None]
    arrived: float
    answers: list["Answer"] = field(init=False)
    num_left: int = field(init=False)
    num_drawn: int = 0
    num_cached: int = 0
    prompt: tuple[Token, ...] | None = None
    """Its prompt as it is echoed."""
    spoken: bool = False
    """Its first piece was told."""
    gone: bool = False
    """Nobody listens any more."""

    def __post_init__(self) -> None:
        self.answers = [Answer(self, index) for index in range(self.ask.n)]
        self.num_left = self.ask.n

    @property
    def usage(self) -> Usage:
        return Usage(prompt_tokens=len(self.prepared.prompt), completion_tokens=self.num_drawn, cached_tokens=self.num_cached)

    @property
    def wants_scores(self) -> bool:
        """The log-probabilities of its prompt."""
        return self.ask.echo and self.ask.top_logprobs is not None

    def fail(self, fault: Fault) -> None:
        """Say why there is no more."""
        if not self.gone:
            self.gone = True
            self.tell(Piece(error=fault))


class Answer:
    """One of several answers to one ask."""

    def __init__(self, asked: Asked, index: int) -> None:
        self.asked, self.index = asked, index
        self.ids: list[int] = []
        self.adapter: str | None = None
        prepared = asked.prepared
        self._trimmed = Trimmed() if prepared.strip else None
        dialect = prepared.renderer.dialect if prepared.tools else None
        self._calls = None if dialect is None else HeldCalls(dialect, prepared.renderer.tokenizer)
        spells = asked.ask.top_logprobs is not None
        self._spelled = prepared.renderer.tokenizer.stream(skip_special=False) if spells else None

    def request(self, adapter: str | None) -> Request:
        """What the sampler is asked. `adapter`: its name there."""
        prepared, ask = self.asked.prepared, self.asked.ask
        self.adapter = adapter
        return Request(
            prepared.prompt,
            prepared.limit,
            prepared.rules,
            adapter,
            (prepared.seed, self.index),
            prepared.renderer.stops,
            ask.stop,
            0 if ask.top_logprobs is None else max(ask.top_logprobs, 1),
            None if prepared.mask is None else prepared.mask(),
        )

    def take(self, event: Event) -> Piece | None:
        """What its client is told of an event; None where there is nothing to tell yet."""
        tokens: tuple[Token, ...] = ()
        if event.token is not None:
            self.ids.append(event.token)
            self.asked.num_drawn += 1
            tokens = self._told(event)
        text = event.text if self._calls is None else self._calls.push(event.token, event.text)
        text = text if self._trimmed is None else self._trimmed.push(text)
        if event.end is not None:
            return self.finish("stop" if event.end == "stop" else "length", text, tokens)
        return Piece(index=self.index, text=text, tokens=tokens) if text or tokens else None

    def finish(self, end: Finish, text: str = "", tokens: tuple[Token, ...] = ()) -> Piece:
        """Its last piece; the last one of the last answer says what all of them took."""
        calls: tuple[dict[str, Any], ...] = ()
        if self._calls is not None:
            held = self._calls.held
            if self._calls.holds:
                prepared = self.asked.prepared
                written = prepared.renderer.read_answer(np.array(self.ids, dtype=np.int64), prepared.tools)
                calls = tuple({**call, "id": _id()} for call in written.tool_calls)
                held = "" if prepared.forced else self._calls.before(written.content) if calls else held
            text += held if self._trimmed is None else self._trimmed.push(held)
        self.asked.num_left -= 1
        return Piece(
            index=self.index,
            text=text,
            tokens=tokens,
            tool_calls=calls,
            finish_reason="tool_calls" if calls else end,
            usage=None if self.asked.num_left else self.asked.usage,
        )

    def _told(self, event: Event) -> tuple[Token, ...]:
        """The token with its log-probabilities, where they are asked for.

        A token that ends a chat's answer is no part of it. That of a completion is told: whoever scores texts takes the one new token off.
        """
        assert event.token is not None
        ends = event.token in self.asked.prepared.renderer.stops
        if self._spelled is None or (ends and self.asked.prepared.strip):
            return ()
        text = "" if ends else self._spelled.push(event.token)
        top = event.top[: self.asked.ask.top_logprobs]
        return (self.asked.base.spelling.token(event.token, event.logprob, top, text),)


class HeldCalls:
    """Keeps back what may be a call of a tool until the answer has ended."""

    def __init__(self, dialect: Dialect, tokenizer: Tokenizer) -> None:
        self._mark = "{" if dialect.name == "bare" else dialect.begin.strip()
        self._first = dialect.name == "bare"
        """A call is all of the answer."""
        self._ids = {id for text, id in tokenizer.added.items() if text in dialect.begin}
        self._shown = ""
        self._waiting = ""
        self.held = ""
        self.holds = False

    def push(self, token: int | None, text: str) -> str:
        """What is no call for sure."""
        if self.holds:
            self.held += text
            return ""
        if token in self._ids:
            self.holds, self.held, self._waiting = True, self._waiting + text, ""
            return ""
        text = self._waiting + text
        at = self._begins(text)
        self.holds = at < len(text) and text[at:].startswith(self._mark)
        self._waiting = "" if self.holds else text[at:]
        self.held = text[at:] if self.holds else self._waiting
        self._shown += text[:at]
        return text[:at]

    def before(self, content: str) -> str:
        """Of the words beside calls those that were not shown yet."""
        shown = self._shown.strip()
        return content.removeprefix(shown) if content.startswith(shown) else ""

    def _begins(self, text: str) -> int:
        """Where a mark, or what may become one, begins; the text's length where there is none."""
        if self._first:
            start = len(text) - len(text.lstrip())
            return start if not self._shown.strip() and text[start:].startswith("{") else len(text)
        if (at := text.find(self._mark)) >= 0:
            return at
        longest = min(len(self._mark) - 1, len(text))
        return len(text) - next((n for n in range(longest, 0, -1) if text.endswith(self._mark[:n])), 0)


def _id() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(LONGEST_ID))
