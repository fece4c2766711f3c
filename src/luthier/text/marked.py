"""`MarkedTemplate`: a chat template whose messages are kept apart from its own markers, and what it renders."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import accumulate
from typing import Any, Literal

from luthier.errors import TemplateError
from luthier.text.markers import PROBE, SPAN_END, SPAN_START, Markers, plain
from luthier.text.messages import Message, as_dict
from luthier.text.template import ChatTemplate
from luthier.text.tokenizer import Tokenizer

Entry = dict[str, Any]
"""A message as templates read it."""

Part = Literal["reasoning", "content", "call"]
PARTS: tuple[Part, ...] = ("reasoning", "content", "call")

SOME_TIME = datetime(2000, 1, 1)  # for texts that are only looked at


@dataclass(frozen=True)
class Rendered:
    """A conversation as the template writes it.

    `marked` has reserved characters around markers that stand in messages; `spans` are the (start, end) in `marked` of what the template
    itself calls the assistant's, empty where it has no `{% generation %}`.
    """

    marked: str
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def text(self) -> str:
        """What a reader sees."""
        return plain(self.marked)


class MarkedTemplate:
    """A template, and how messages must look for it: content as a string, or as a list of parts where it drops strings."""

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer) -> None:
        """Raises `TemplateError` where the template leaves out what messages say in both forms."""
        self.template = template
        self.markers = Markers(tokenizer, template.text)
        self.in_parts = self._wants_parts()

    def entries(self, messages: Sequence[Message]) -> list[Entry]:
        """Raises `TemplateError` on a message with one of the reserved characters."""
        by_assistant, by_others = partial(self.markers.mark, by_assistant=True), partial(self.markers.mark, by_assistant=False)
        return [as_dict(message, by_assistant if message.role == "assistant" else by_others, self.in_parts) for message in messages]

    def render(self, entries: Sequence[Entry], tools: Sequence[Any], add_generation_prompt: bool, now: datetime) -> Rendered:
        """Raises `TemplateError` where the template refuses."""
        tools = [self.markers.mark(tool, by_assistant=False) for tool in tools]
        return _without_span_marks(self.template.render(list(entries), tools, add_generation_prompt, now))

    def with_probe(self, entry: Entry, part: Part, at_end: bool) -> Entry | None:
        """An assistant's entry with `PROBE` at the start or end of its first or last `part`; None where that is empty."""

        def put(text: str) -> str:
            return text + PROBE if at_end else PROBE + text

        if part == "content":
            return self._with_content(entry, put(self._content(entry)))
        if part == "reasoning" and entry.get("reasoning_content"):
            reasoning = put(entry["reasoning_content"])
            return {**entry, "reasoning_content": reasoning, "thinking": reasoning}
        if part == "call" and entry.get("tool_calls"):
            calls = list(entry["tool_calls"])
            at = -1 if at_end else 0
            calls[at] = {**calls[at], "function": {**calls[at]["function"], "name": put(calls[at]["function"].get("name", ""))}}
            return {**entry, "tool_calls": calls}
        return None

    def has_content(self, entry: Entry) -> bool:
        return bool(self._content(entry))

    def _content(self, entry: Entry) -> str:
        return str(entry["content"][0]["text"] if self.in_parts else entry["content"])

    def _with_content(self, entry: Entry, text: str) -> Entry:
        return {**entry, "content": [{"type": "text", "text": text}] if self.in_parts else text}

    def _wants_parts(self) -> bool:
        refusal = None
        for content in (PROBE, [{"type": "text", "text": PROBE}]):
            try:
                if PROBE in self.render([{"role": "user", "content": content}], (), True, SOME_TIME).marked:
                    return not isinstance(content, str)
            except TemplateError as error:
                refusal = error
        if refusal is not None:  # it may want more than one message; each row will tell
            return False
        raise TemplateError("The chat template leaves out what messages say. Take the template that belongs to this model, or set `plain`.")


def _without_span_marks(text: str) -> Rendered:
    parts = text.replace(SPAN_END, SPAN_START).split(SPAN_START)  # outside, inside, outside, …
    ends = list(accumulate(map(len, parts)))
    return Rendered("".join(parts), tuple((ends[i - 1], ends[i]) for i in range(1, len(parts), 2)))
