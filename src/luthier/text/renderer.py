"""`Renderer`: conversations → token ids, and which of them the assistant wrote. Training, sampling and serving all go this way."""

import hashlib
import json
from collections import abc
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from luthier.errors import TemplateError
from luthier.spec import rows
from luthier.text.dialects import Dialect
from luthier.text.encoded import Encoded, encode_turns
from luthier.text.marked import MarkedTemplate, Rendered
from luthier.text.markers import Markers
from luthier.text.messages import Conversation, Message
from luthier.text.notes import Note, notes_on_template, text_between_turns
from luthier.text.sequence import Sequence
from luthier.text.template import ChatTemplate, find_template
from luthier.text.tokenizer import Tokenizer, Tokens
from luthier.text.tool_calls import PROBE_CALL, PROBE_TOOL, Written, dialect_of, read
from luthier.text.turns import Turns


class Renderer:
    """One tokenizer and one chat template. `template_source` None: raw text only; conversations raise `TemplateError`."""

    def __init__(self, tokenizer: Tokenizer, template_source: str | abc.Mapping[str, str] | None, now: datetime | None = None) -> None:
        """`now`: the moment that templates which write a date see; None: each call's own. A run that can be resumed gives one.

        Raises `TemplateError` on a template with a syntax error, or one that leaves out what messages say.
        """
        self.tokenizer = tokenizer
        self._now = now
        self._template: MarkedTemplate | None = None
        self._raw_markers = Markers(tokenizer, "")
        if template_source is not None:
            named = {f"{name}_token": text for name in ("bos", "eos", "pad", "unk") if (text := getattr(tokenizer, name)) is not None}
            self._template = MarkedTemplate(ChatTemplate(template_source, named), tokenizer)
            self._turns = Turns(self._template, tokenizer)

    def __reduce__(self) -> tuple[Any, ...]:
        """For processes that encode beside this one: they compile the template again."""
        return type(self), (self.tokenizer, self.template_sources or None, self._now)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        chat_template: str | None = None,
        now: datetime | None = None,
        arguments: abc.Mapping[str, Any] | None = None,
    ) -> Self:
        """Tokenizer and template of a model folder. `chat_template`: a Jinja file, or `plain`, instead of the model's own.

        `arguments`: what the template is given besides the conversation, such as `enable_thinking`; they become part
        of its text. A folder without a template still serves for raw text.

        Raises `ModelError` or `TemplateError` on a file that can't be used.
        """
        tokenizer = Tokenizer.load(folder)
        try:
            return cls(tokenizer, find_template(Path(folder), chat_template, tokenizer, arguments), now)
        except TemplateError as error:
            raise TemplateError(f"{folder}: {error}") from None

    @property
    def template_sources(self) -> dict[str, str]:
        """The template's text by name, usually only `default`, to be saved beside what is trained; empty where there is none."""
        return {} if self._template is None else dict(self._template.template.sources)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of template and tokenizer: two renderers with one fingerprint give the same ids (on the same day)."""
        return hashlib.sha256(json.dumps([self.template_sources, self.tokenizer.fingerprint], sort_keys=True).encode()).hexdigest()

    @property
    def written_moment(self) -> str:
        """What of the moment goes into the ids; with `fingerprint` it decides them."""
        return "" if self._template is None else self._template.template.written_moment(self._moment())

    @cached_property
    def stops(self) -> frozenset[int]:
        """The ids that end an answer: the model's own end tokens, and those that the template writes after answers and tool calls."""
        return self.tokenizer.eos_ids | self.template_ends

    @cached_property
    def template_ends(self) -> frozenset[int]:
        """The ids that the template writes after answers and tool calls; empty where it writes none, or there is none."""
        texts = self._turns.end_tokens if self._template else frozenset()
        return frozenset(self.tokenizer.added[text] for text in texts)

    @cached_property
    def marker_ids(self) -> frozenset[int]:
        """The ids that stand for markers and not for text: special tokens, and added tokens that the template writes."""
        return self.tokenizer.special_ids | {self.tokenizer.added[text] for text in self.marker_texts}

    @property
    def marker_texts(self) -> frozenset[str]:
        """What a message can spell out and must not write: special tokens, and the markers of the template."""
        return (self._template.markers if self._template else self._raw_markers).texts

    def render(
        self, messages: abc.Sequence[Message], tools: abc.Sequence[dict[str, Any]] = (), add_generation_prompt: bool = False
    ) -> Rendered:
        """Raises `TemplateError` where there is no template, or it refuses the conversation."""
        template = self._chat()
        return template.render(template.entries(messages), tools, add_generation_prompt, self._moment())

    def prompt_ids(self, messages: abc.Sequence[Message], tools: abc.Sequence[dict[str, Any]] = ()) -> np.ndarray:
        """(n,) int64: what serving feeds so that the assistant answers."""
        return self.encode(self.render(messages, tools, add_generation_prompt=True)).ids

    @cached_property
    def dialect(self) -> Dialect | None:
        """How the template writes tool calls; None where it writes none, or in a way that is not known."""
        asked = rows.Message("user", "What is it like there?")
        try:
            prompt = self.render([asked], [PROBE_TOOL], add_generation_prompt=True).text
            text = self.render([asked, rows.Message("assistant", tool_calls=(PROBE_CALL,))], [PROBE_TOOL]).text
        except TemplateError:
            return None
        shared = text[: next((at for at, (left, right) in enumerate(zip(prompt, text, strict=False)) if left != right), len(prompt))]
        start = len(prompt) if shared == prompt else max(shared.rfind(">"), shared.rfind("\n")) + 1  # not within a marker
        answer = text[start:].rstrip()
        ends = tuple(filter(None, map(self.tokenizer.token_of, self.stops)))
        while answer.endswith(ends):
            answer = next(answer.removesuffix(end) for end in ends if answer.endswith(end)).rstrip()
        return dialect_of(answer)

    def read_answer(self, ids: np.ndarray, tools: abc.Sequence[dict[str, Any]] = ()) -> Written:
        """What an answer says, and what it calls where there are tools. ids: (n,), with its end token or without."""
        said = Written(self.tokenizer.decode(ids, skip_special=True).strip())
        if not tools or self.dialect is None:
            return said
        inside = np.flatnonzero(~np.isin(ids, sorted(self.stops)))
        found = read(self.tokenizer.decode(ids[: inside[-1] + 1] if len(inside) else ()), self.dialect, tools)
        if not found.tool_calls:
            return said
        content = found.content
        for text, id in self.tokenizer.added.items():
            content = content.replace(text, "") if id in self.tokenizer.special_ids else content
        return Written(content.strip(), found.tool_calls)

    def encode(self, rendered: Rendered) -> Tokens:
        """Ids of a rendered conversation, with positions in `rendered.marked`."""
        return self._chat().markers.encode(rendered.marked)

    def document(self, text: str) -> Sequence:
        """Raw text, every token of which is learned: BOS where this model's texts begin with it, the text, EOS if there is one.

        Special tokens that the text spells out are ordinary text.
        """
        markers = self._raw_markers
        ids = markers.encode(markers.mark(text, by_assistant=False)).ids
        bos = [self.tokenizer.bos_id] if self.tokenizer.adds_bos else []
        eos = [self.tokenizer.eos_id] if self.tokenizer.eos_id is not None else []
        ids = np.concatenate([np.array(part, dtype=np.int64) for part in (bos, ids, eos)])
        weights = np.ones(len(ids), dtype=np.float32)
        weights[:1] = 0
        return Sequence(ids, weights)

    def sequences(self, conversation: Conversation) -> Encoded:
        """What is learned from a conversation: each assistant turn whose weight is not 0.

        Raises `TemplateError`, naming the row, where the template refuses it.
        """
        try:
            return self._sequences(conversation)
        except TemplateError as error:
            raise TemplateError(f"{conversation.origin}: {error}") from error

    def _sequences(self, conversation: Conversation) -> Encoded:
        template, now, messages = self._chat(), self._moment(), conversation.messages
        entries = template.entries(messages)
        learned = [index for index, message in enumerate(messages) if message.role == "assistant" and message.weight != 0]
        if not learned:
            ids = self.encode(template.render(entries, conversation.tools, False, now)).ids
            return Encoded((Sequence(ids, np.zeros(len(ids), dtype=np.float32)),), (), (), self.stops)
        turns = [self._turns.find(entries, conversation.tools, index, now) for index in learned]
        encoded = encode_turns(turns, conversation, template.markers, self.tokenizer, self.stops)
        return replace(encoded, notes=(*encoded.notes, *self._imitations(conversation)))

    def _imitations(self, conversation: Conversation) -> abc.Iterator[Note]:
        """Where turns are separated by ordinary text only: the messages that hold that text."""
        for index, message in enumerate(conversation.messages):
            if self._separator and message.role != "assistant" and self._separator in message.content:
                text = f"it holds {self._separator!r}, by which the template separates turns: the model can't tell them apart"
                yield Note("imitated_marker", f"{conversation.origin}: message {index + 1}: {text}.")

    @cached_property
    def _separator(self) -> str | None:
        return text_between_turns(self._chat())

    @cached_property
    def notes(self) -> tuple[Note, ...]:
        """What to tell a person about the template itself, whatever the rows."""
        return () if self._template is None else tuple(notes_on_template(self._template, self._turns, self.tokenizer))

    def _chat(self) -> MarkedTemplate:
        if self._template is None:
            raise TemplateError(
                "The model has no chat template, so it is not said how a conversation becomes text. "
                "Set `model.chat_template=plain` for a plain one that suits any model, or give a Jinja file there."
            )
        return self._template

    def _moment(self) -> datetime:
        return self._now or datetime.now()
