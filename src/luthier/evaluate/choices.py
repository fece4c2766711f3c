"""What a model is asked to choose between: a prompt, and the token ids of each possible answer to it, as a tree of their beginnings."""

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from luthier.errors import DataError
from luthier.spec.rows import Labeled, Message
from luthier.text.classes import conversation_of
from luthier.text.renderer import Renderer


@dataclass(frozen=True, eq=False)
class Node:
    """A place where answers part, or where some end.

    `path` (n,): ids from the prompt's end to here, the last `new` of them since the parent. `children`: by
    first id since here. `answer`: which answer ends here; None where none does.
    """

    path: tuple[int, ...]
    new: int
    children: tuple["Node", ...]
    answer: int | None

    @property
    def first(self) -> int:
        """The first id since the parent."""
        return self.path[len(self.path) - self.new]


@dataclass(frozen=True, eq=False)
class Answers:
    """`ids`: of each possible answer, to its last scored token (usually the stop token)."""

    ids: tuple[tuple[int, ...], ...]

    @cached_property
    def root(self) -> Node:
        return _node(self.ids, list(range(len(self.ids))), (), 0)


def _node(ids: Seq[tuple[int, ...]], members: list[int], path: tuple[int, ...], before: int) -> Node:
    """The node that all of `members` pass; its path reaches as far as they are the same. `before`: length of the parent's path."""
    shortest = min(len(ids[i]) for i in members)
    length = len(path)
    while length < shortest and len({ids[i][length] for i in members}) == 1 and before < len(path):
        length += 1
    here = ids[members[0]][:length]
    groups: dict[int, list[int]] = {}
    for i in members:
        if len(ids[i]) > length:
            groups.setdefault(ids[i][length], []).append(i)
    children = tuple(_node(ids, group, (*here, first), length) for first, group in groups.items())
    ended = [i for i in members if len(ids[i]) == length]
    return Node(here, length - before, children, ended[0] if ended else None)


@dataclass(frozen=True, eq=False)
class Choice:
    """`prompt` (n,) ids before the answer."""

    prompt: np.ndarray
    answers: Answers

    @property
    def longest(self) -> int:
        return len(self.prompt) + max(len(ids) for ids in self.answers.ids)


def choices(rows: Seq[Labeled], labels: Seq[str], renderer: Renderer, context: int | None) -> list[Choice]:
    """Each row's text with every label as an answer, in ids just as training would render them.

    A label's ids are usually the same after every text, so they are rendered once; each row renders its own label in full as a check, and
    all of them where that differs (a vocabulary whose tokens reach over the boundary).

    Raises:
        DataError: a row that does not fit the context with its longest label, or two labels that the tokenizer writes alike.
    """
    usual = _rendered(Labeled(rows[0].text, labels[0], rows[0].origin), labels, renderer).answers
    _refuse_alike(usual, labels)
    place = {label: i for i, label in enumerate(labels)}
    found = []
    for row in rows:
        prompt = renderer.prompt_ids((Message("user", row.text),))
        own, scored = _sequence(row, labels[place.get(row.label, 0)], renderer)
        expected = usual.ids[place.get(row.label, 0)]
        if scored == len(prompt) and tuple(own[scored:]) == expected and np.array_equal(own[:scored], prompt):
            choice = Choice(prompt, usual)
        else:
            choice = _rendered(row, labels, renderer)
            _refuse_alike(choice.answers, labels)
        if context is not None and choice.longest > context:
            raise DataError(
                f"{row.origin}: this text has {choice.longest} tokens with its longest label; the model's context is {context}. "
                f"Shorten the text, or remove the row."
            )
        found.append(choice)
    return found


def _sequence(row: Labeled, label: str, renderer: Renderer) -> tuple[np.ndarray, int]:
    """The ids of a row answered with `label`, to the last learned one, and where the learned ones begin."""
    (sequence,) = renderer.sequences(conversation_of(Labeled(row.text, label, row.origin))).sequences
    learned = np.flatnonzero(sequence.weights)
    if not len(learned):
        raise DataError(
            f'{row.origin}: the tokenizer has no token for the label "{label}", so it cannot be answered. Give it another name.'
        )
    return sequence.ids[: learned[-1] + 1], int(learned[0])


def _rendered(row: Labeled, labels: Seq[str], renderer: Renderer) -> Choice:
    """The row with each label rendered in full; the prompt is what they all begin with, before anything is learned."""
    sequences = [_sequence(row, label, renderer) for label in labels]
    first = sequences[0][0]
    shared = min(scored for _, scored in sequences)
    while not all(np.array_equal(ids[:shared], first[:shared]) for ids, _ in sequences):
        shared -= 1
    return Choice(first[:shared], Answers(tuple(tuple(int(i) for i in ids[shared:]) for ids, _ in sequences)))


def _refuse_alike(answers: Answers, labels: Seq[str]) -> None:
    first: dict[tuple[int, ...], int] = {}
    for i, ids in enumerate(answers.ids):
        if first.setdefault(ids, i) != i:
            raise DataError(
                f'The labels "{labels[first[ids]]}" and "{labels[i]}" are the same to this model\'s tokenizer, which cannot write what '
                f"tells them apart. Rename one of them."
            )
