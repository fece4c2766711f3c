"""`Turns`: which part of a rendered conversation the assistant wrote, turn by turn.

It comes out of rendering, never out of looking for words: the conversation before a turn, as serving would feed it, against the
conversation with the turn; or the template's own `{% generation %}`. Where a turn ends is seen by rendering it once more with a reserved
character at its end: what follows that character is the template's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from luthier.errors import TemplateError
from luthier.text.marked import PARTS, SOME_TIME, Entry, MarkedTemplate, Part
from luthier.text.markers import PROBE
from luthier.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Turn:
    """One answer. All positions in `text`.

    `text`: the conversation up to and with this turn, marked. `prompt`: what serving feeds before it; `text` begins with it where
    `differs` is False. `start`: where begins what the model must write. `spans`: what it learns. `stop`: the end token, or None.
    """

    index: int
    text: str
    prompt: str
    start: int
    spans: tuple[tuple[int, int], ...]
    stop: tuple[int, int] | None

    @property
    def differs(self) -> bool:
        return not self.text.startswith(self.prompt)

    @property
    def reach(self) -> int:
        """A text that equals `text` up to here holds this turn as serving would see it."""
        return max([end for _, end in self.spans], default=self.start)

    @property
    def learns_stop(self) -> bool:
        return self.stop is not None and any(start <= self.stop[0] and self.stop[1] <= end for start, end in self.spans)


class Turns:
    """Finds the turns of one template and tokenizer."""

    def __init__(self, template: MarkedTemplate, tokenizer: Tokenizer) -> None:
        self._template, self._tokenizer = template, tokenizer
        self._markers = template.markers

    def find(self, entries: Sequence[Entry], tools: Sequence[Any], index: int, now: datetime) -> Turn:
        """The turn at `index`. Raises `TemplateError` where the template refuses the conversation up to there."""
        prompt = self._template.render(entries[:index], tools, True, now).marked
        rendered = self._template.render(entries[: index + 1], tools, False, now)
        text = rendered.marked
        start = len(prompt) if text.startswith(prompt) else self._common_start(entries, tools, index, now, prompt, text)
        stop = self._stop(entries, tools, index, now, text)
        if stop is None and (opener := self._opener_of_next(entries, tools, index, now, text)):
            text, stop = text + opener, (len(text), len(text) + len(opener))
        if self._template.template.marks_answers:
            spans = tuple((max(first, start), last) for first, last in rendered.spans if last > start)
        else:
            spans = ((start, stop[1] if stop else len(text)),)
        return Turn(index, text, prompt, start, spans, stop)

    @cached_property
    def end_token(self) -> str | None:
        """The marker that ends an answer; None where the template writes none."""
        return self._usual_ending[1] if self._usual_ending else None

    @cached_property
    def end_tokens(self) -> frozenset[str]:
        """The markers that end an answer or a tool call."""
        endings = (self._usual_ending, self._ending_of_call)
        return frozenset(ending[1] for ending in endings if ending)

    def _common_start(self, entries: Sequence[Entry], tools: Sequence[Any], index: int, now: datetime, prompt: str, text: str) -> int:
        """Where prompt and finished turn part, no later than the answer's first character, and at the end of a token."""
        limit = next((at for at, (left, right) in enumerate(zip(prompt, text, strict=False)) if left != right), len(text))
        for part in PARTS:
            found = self._probed(entries, tools, index, now, part, at_end=False).find(PROBE)
            limit = min(limit, found) if found >= 0 else limit
        ends = self._markers.encode(text).ends
        return int(ends[ends <= limit].max(initial=0))

    def _stop(self, entries: Sequence[Entry], tools: Sequence[Any], index: int, now: datetime, text: str) -> tuple[int, int] | None:
        """Where in `text` the end token stands. Usually at the end, with the same few characters after it in every turn."""
        calls = bool(entries[index].get("tool_calls"))
        usual = self._ending_of_call if calls else self._usual_ending
        if usual and text.endswith(usual[0]):
            start = len(text) - len(usual[0])
            return start, start + len(usual[1])
        after = -1
        for part in ("call", "content") if self._template.has_content(entries[index]) else ("call",) if calls else ("content",):
            after = max(after, self._end_of(entries, tools, index, now, part, text))
        if after < 0:  # the template leaves the calls out
            after = self._end_of(entries, tools, index, now, "content", text)
        return self._stop_after(text, after, calls) if after >= 0 else None

    def _end_of(self, entries: Sequence[Entry], tools: Sequence[Any], index: int, now: datetime, part: Part, text: str) -> int:
        """Where in `text` this part of the turn ends; -1 where it is left out."""
        longer = self._probed(entries, tools, index, now, part, at_end=True)
        return len(text) - (len(longer) - longer.rindex(PROBE) - 1) if PROBE in longer else -1

    def _probed(self, entries: Sequence[Entry], tools: Sequence[Any], index: int, now: datetime, part: Part, at_end: bool) -> str:
        """The text with `PROBE` in this part of the turn; empty where it has no such part."""
        probed = self._template.with_probe(entries[index], part, at_end)
        return self._template.render([*entries[:index], probed], tools, False, now).marked if probed else ""

    def _opener_of_next(self, entries: Sequence[Entry], tools: Sequence[Any], index: int, now: datetime, text: str) -> str | None:
        """The marker that opens the next turn, where it is one at which the model stops: GLM's answers end with `<|user|>`."""
        role = "tool" if entries[index].get("tool_calls") else "user"
        try:
            longer = self._template.render([*entries[: index + 1], {**self._entry("a"), "role": role}], tools, False, now).marked
        except TemplateError:
            return None
        opened = [span for span in self._markers.find(longer[len(text) :]) if span[0] == 0] if longer.startswith(text) else []
        opener = longer[len(text) : len(text) + opened[0][1]] if opened else None
        return opener if opener in self._known_ends else None

    def _stop_after(self, text: str, after: int, calls: bool) -> tuple[int, int] | None:
        """The marker in `text[after:]` that ends the turn.

        After an answer the first, and those that follow it at once (Cohere writes two), but nothing beyond an end token of the model's.
        After the name of a call its arguments and their brackets or tags follow: the first known end token, or the last marker.
        """
        found = [(after + start, after + end) for start, end in self._markers.find(text[after:], tags=not calls)]
        ends = [span for span in found if text[slice(*span)] in self._known_ends]
        if not found:
            return None
        if calls:
            usual = self._usual_ending[1] if self._usual_ending else None
            return next((span for span in found if text[slice(*span)] == usual or span in ends), found[-1])
        stop = found[0]
        for span in found[1:]:
            if stop in ends or span[0] != stop[1]:
                break
            stop = span
        return stop

    @cached_property
    def _known_ends(self) -> frozenset[str | None]:
        return frozenset(self._tokenizer.token_of(id) for id in self._tokenizer.eos_ids)

    @cached_property
    def _usual_ending(self) -> tuple[str, str] | None:
        """(from the end token to the end of the text, the end token) after an answer."""
        return self._ending(self.example, calls=False)

    @cached_property
    def example(self) -> str:
        """A short conversation whose answer is `PROBE`; empty where the template refuses it."""
        return self._example(self._entry(PROBE))

    @cached_property
    def _ending_of_call(self) -> tuple[str, str] | None:
        function = {"name": PROBE, "arguments": {"a": "b"}}
        calls = [{"id": "call00001", "type": "function", "function": function}]
        return self._ending(self._example({**self._entry(""), "tool_calls": calls}), calls=True)

    def _ending(self, text: str, calls: bool) -> tuple[str, str] | None:
        stop = self._stop_after(text, text.rindex(PROBE) + 1, calls) if PROBE in text else None
        return (text[stop[0] :], text[slice(*stop)]) if stop else None

    def _example(self, answer: Entry) -> str:
        question = {**self._entry("a"), "role": "user"}
        try:
            return self._template.render([question, answer], (), False, SOME_TIME).marked
        except TemplateError:
            return ""

    def _entry(self, content: str) -> Entry:
        return {"role": "assistant", "content": [{"type": "text", "text": content}] if self._template.in_parts else content}
