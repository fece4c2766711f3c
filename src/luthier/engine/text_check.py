"""A second look at what is learned: a few conversations, rendered as serving would, against the ids and weights they are trained with.

The certificate takes ids and weights as they are. Here they are held against the conversation itself, another way than they were made:
what serving feeds before the last answer comes first and is not learned, and the answer is learned, to its stop token.
"""

from collections.abc import Iterable
from itertools import islice

import numpy as np

from luthier.batches.examples import Example
from luthier.errors import TrainingFailed
from luthier.spec.rows import Conversation, Labeled, Row
from luthier.text.classes import conversation_of
from luthier.text.dropped import dropped_from_answer
from luthier.text.encoded import Encoded
from luthier.text.renderer import Renderer

NUMBER = 8
"""Conversations looked at in each data set."""

EXPLAINED = {"boundary", "prompt_differs"}
"""Kinds of note that say why serving's prompt is not how the row begins."""

WITHOUT_STOP = {"no_end", "end_not_trained"}
"""Kinds of note that say why no stop token is learned."""


def learned_conversation(row: Row) -> Conversation | None:
    """The conversation that a row teaches; None where its last answer is not learned, or it is raw text."""
    talk = conversation_of(row) if isinstance(row, Labeled) else row
    learned = isinstance(talk, Conversation) and talk.messages[-1].role == "assistant" and talk.messages[-1].weight
    return talk if learned else None  # type: ignore[return-value]


def check_text(rows: Iterable[Row], examples: Iterable[Example], renderer: Renderer, number: int = NUMBER) -> int:
    """Check the first `number` conversations whose last answer is learned and was not cut. Returns how many were checked.

    Raises:
        TrainingFailed: the first row that would teach something else than its answer.
    """
    last = {example.origin: example.sequences[0] for example in examples}  # of several sequences of a row the last holds its last answer
    checked = 0
    for row in islice(filter(None, map(learned_conversation, rows)), number):
        sequence = last.get(str(row.origin))
        if sequence is None:
            continue
        encoded = renderer.sequences(row)
        if len(encoded.sequences[-1]) != len(sequence):  # cut
            continue
        if fault := _fault(row, sequence.ids, sequence.weights, renderer, encoded):
            raise TrainingFailed(
                f"{row.origin}: {fault}. What is learned is not what the row says, so nothing is trained. "
                f"The fault is in the chat template or in this program: please report it with the template."
            )
        checked += 1
    return checked


def _fault(row: Conversation, ids: np.ndarray, weights: np.ndarray, renderer: Renderer, encoded: Encoded) -> str | None:
    """What is wrong with the last answer of a row, or None."""
    answer, kinds = row.messages[-1], {note.kind for note in encoded.notes}
    prompt = renderer.prompt_ids(row.messages[:-1], row.tools)
    exact = np.array_equal(ids[: len(prompt)], prompt)
    if not exact and not kinds & EXPLAINED:
        return "the row does not begin with what serving feeds before its last answer"
    begin = len(prompt) if exact else int(np.argmax(ids[: len(prompt)] != prompt[: len(ids)])) if len(ids) else 0
    if exact and weights[begin - 1] != 0:
        return "the last token before its answer is learned as if the model had to write it"
    learned = begin + np.flatnonzero(weights[begin:])
    if not len(learned) or not np.all(weights[learned] == np.float32(answer.weight)):
        return "its last answer is not learned with the weight it was given"
    stops = [t for t in learned if int(ids[t]) in renderer.stops]
    if not stops and not kinds & WITHOUT_STOP:
        return "the token that ends its last answer is not learned, so the model would not learn to stop"
    said = [answer.content, answer.reasoning or ""]
    if renderer.tokenizer.lost_in(said) or any(map(renderer.tokenizer.change_of, said)):  # the preflight names the characters
        return None
    index = len(row.messages) - 1
    reported = {part.part: part.characters for part in encoded.dropped if part.message == index}
    for part in dropped_from_answer(index, answer, renderer.tokenizer.decode(ids[learned])):
        if part.characters > reported.get(part.part, 0):
            return f"{part.characters} characters of its last answer ({part.part}) are not among the learned tokens"
    return None
