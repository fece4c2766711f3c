"""`Seats`: one base's waiting line and those that are drawn with it. For the drawing thread alone."""

import time
from collections.abc import Sequence

from luthier.errors import UserError
from luthier.models.requests import Event
from luthier.serve.base import Base
from luthier.serve.figures import Figures
from luthier.serve.line import Line, Pace
from luthier.serve.prompt_scores import Score, prompt_scores
from luthier.serve.refused import fault_of
from luthier.serve.said import Answer, Asked
from luthier.spec.serving import Fault, Piece, Token

SCORED = 2048
"""Tokens of prompts whose log-probabilities are told in one round, between two tokens of all other answers."""


class Seats:
    """`running`: by the sampler's number."""

    def __init__(self, base: Base, figures: Figures, pace: Pace) -> None:
        self.base, self.figures, self.pace = base, figures, pace
        self.line: Line[Answer] = Line()
        self.running: dict[int, Answer] = {}
        self._newest: list[Answer] = []
        """Let in in this round."""

    @property
    def busy(self) -> bool:
        return bool(len(self.line) or self.running)

    @property
    def adapters_in_use(self) -> set[str]:
        return {answer.adapter for answer in self.running.values() if answer.adapter is not None}

    @property
    def tokens_held(self) -> int:
        """A prompt that several read is held once."""
        prompts = {(a.adapter, a.asked.prepared.prompt.tobytes()): len(a.asked.prepared.prompt) for a in list(self.running.values())}
        return sum(prompts.values()) + sum(map(_kept_free, list(self.running.values())))

    def enter(self, asked: Asked) -> None:
        for answer in asked.answers:
            self.line.put(asked.ask.key, answer)

    def cancel(self, asked: Asked) -> None:
        """Nobody waits for it any more: its room is free at the next step."""
        asked.gone = True
        self.line.drop(lambda answer: answer.asked is asked)
        for number in [number for number, answer in self.running.items() if answer.asked is asked]:
            self.base.sampler.cancel(number)
            del self.running[number]

    def let_in(self) -> None:
        """Those whose turn it is, as long as there is room for them."""
        held = self.tokens_held if len(self.line) else 0
        seated = self._newest = list[Answer]()
        num_scored = 0
        while (answer := self.line.first) is not None and len(self.running) < self.base.max_sequences and num_scored < SCORED:
            asked = answer.asked
            needed = self._needed(answer)
            if self.running and held + needed > self.base.token_budget:
                break
            try:
                adapter = self._adapter_of(asked)
            except UserError as error:
                self._fail(asked, fault_of(error))
                continue
            if adapter is None and asked.ask.adapter is not None:
                break  # all adapters in memory are in use
            self._seat(self.line.take(), adapter)
            seated.append(answer)
            held += needed
            num_scored += len(asked.prepared.prompt) if asked.wants_scores and asked.prompt is None else 0
        self._echo([answer for answer in seated if answer.asked.ask.echo])
        for answer in seated:
            if answer.asked.prepared.limit == 0:
                self._end(answer, answer.finish("length"))

    def step(self) -> None:
        """A token for everybody."""
        if self.base.sampler.busy:
            for event in self.base.sampler.step():
                self._tell(event)
        held = self.tokens_held
        while held > self.base.token_budget and (longest := self._longest_unnamed()) is not None:
            number, answer = longest
            held -= _kept_free(answer)
            self.base.sampler.cancel(number)
            del self.running[number]
            self._end(answer, answer.finish("length"))

    def fail_all(self, message: str) -> None:
        """The model raised: what was under way is lost, what waits goes on waiting."""
        for asked in {id(a.asked): a.asked for a in (*self.running.values(), *self._newest) if a.asked.num_left}.values():
            self._fail(asked, Fault(kind="internal", message=message))

    def _adapter_of(self, asked: Asked) -> str | None:
        folder = asked.ask.adapter
        return None if folder is None else self.base.adapters.name_of(folder, self.adapters_in_use)

    def _needed(self, answer: Answer) -> int:
        """Tokens that it may come to hold; the prompt is held once for all answers to an ask."""
        shared = any(other.asked is answer.asked for other in self.running.values())
        return _kept_free(answer) + (0 if shared else len(answer.asked.prepared.prompt))

    def _seat(self, answer: Answer, adapter: str | None) -> None:
        """Hand it to the sampler, unless no token of it is wanted."""
        prepared = answer.asked.prepared
        answer.adapter = adapter
        if prepared.limit > 0:
            if answer.index == 0:
                answer.asked.num_cached = self.base.sampler.num_known(prepared.prompt, adapter)
            self.running[self.base.sampler.submit(answer.request(adapter))] = answer

    def _echo(self, answers: Sequence[Answer]) -> None:
        """Tell the prompts; what the model thinks of them is computed together where they are for one adapter."""
        new = {id(a.asked): a for a in answers if a.asked.prompt is None}
        for adapter in {a.adapter for a in new.values()}:
            asked = [a.asked for a in new.values() if a.adapter == adapter and a.asked.wants_scores]
            if asked:
                num_top = max(max(one.ask.top_logprobs or 0, 1) for one in asked)
                scores = prompt_scores(self.base.root, adapter, [one.prepared.prompt for one in asked], num_top)
                for one, found in zip(asked, scores, strict=True):
                    one.prompt = self._spelled(one, found)
        for answer in answers:
            asked_for = answer.asked
            if asked_for.prompt is None:
                asked_for.prompt = self._spelled(asked_for, None)
            tokens = asked_for.prompt if asked_for.wants_scores else ()
            text = "".join(token.text for token in asked_for.prompt)
            self._say(asked_for, Piece(index=answer.index, prompt_text=text, prompt_tokens=tokens))

    def _spelled(self, asked: Asked, scores: Sequence[Score] | None) -> tuple[Token, ...]:
        """The prompt's tokens with the text that each adds."""
        stream = asked.prepared.renderer.tokenizer.stream()
        ids = asked.prepared.prompt.tolist()
        texts = [stream.push(id) for id in ids]
        texts[-1] += stream.finish()
        told = [None] * len(ids) if scores is None else [None, *scores]
        spelling, wanted = self.base.spelling, asked.ask.top_logprobs or 0
        return tuple(
            spelling.token(id, None if score is None else score[0], () if score is None else score[1][:wanted], text)
            for id, text, score in zip(ids, texts, told, strict=True)
        )

    def _tell(self, event: Event) -> None:
        answer = self.running[event.request]
        piece = answer.take(event)
        if event.end is not None:
            del self.running[event.request]
            assert piece is not None
            self._end(answer, piece)
        elif piece is not None:
            self._say(answer.asked, piece)

    def _end(self, answer: Answer, piece: Piece) -> None:
        self.pace.ended(time.monotonic())
        self._say(answer.asked, piece)
        if piece.last:
            self.figures.done(answer.asked)

    def _say(self, asked: Asked, piece: Piece) -> None:
        if not asked.spoken:
            asked.spoken = True
            self.figures.first_told(time.monotonic() - asked.arrived)
        asked.tell(piece)

    def _fail(self, asked: Asked, fault: Fault) -> None:
        self.figures.failed += 1
        asked.fail(fault)
        self.cancel(asked)

    def _longest_unnamed(self) -> tuple[int, Answer] | None:
        """The longest answer that its client set no limit to, and that has more than was kept free for it; with its number."""
        grown = [(number, a) for number, a in self.running.items() if not a.asked.prepared.named and len(a.ids) > self.base.unnamed_tokens]
        return max(grown, key=lambda pair: len(pair[1].ids), default=None)


def _kept_free(answer: Answer) -> int:
    """Tokens that are kept free for an answer, beside its prompt."""
    prepared = answer.asked.prepared
    return prepared.limit if prepared.named else min(prepared.limit, max(answer.asked.base.unnamed_tokens, len(answer.ids)))
