"""The one sampler: sequences join and leave between tokens, each with an adapter, rules and a mask of its own.

Every draw inverts the cumulative distribution at one uniform number that is addressed by (seed, …, position), so the same address draws
the same answer whatever else is drawn.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor

from luthier.batches.answers import Answer
from luthier.data.seeded import generator
from luthier.errors import SettingsError
from luthier.models.answering import Answering
from luthier.models.crowd import Crowd, Member, filled
from luthier.models.draw import Token, draw
from luthier.models.forward import Root, evaluating
from luthier.models.kept_prompts import KeptPrompts
from luthier.models.laid_out import AFTER, STEPS, LaidOut
from luthier.models.own_cache import Loner, OwnCaches
from luthier.models.requests import End, Event, Request, StopStrings, TextStream

MAX_SEQUENCES = 64
"""Sequences drawn at once where nothing else is said."""

TOKEN_BUDGET = 65_536
"""Tokens whose keys and values are held at once where nothing else is said."""


class Sampler:
    """Draws answers to many requests at once.

    Args:
        text: makes a stream that decodes tokens to text, such as `tokenizer.stream`; needed for stop strings.
        max_sequences: drawn at once. token_budget: tokens of prompts and answers held at once, at their greatest length; what does not fit
        waits for its turn. kept_tokens: of prompts and answers that outlive their request, for later prompts that begin alike.
    """

    def __init__(
        self,
        root: Root,
        text: Callable[[], TextStream] | None = None,
        max_sequences: int = MAX_SEQUENCES,
        token_budget: int = TOKEN_BUDGET,
        kept_tokens: int = 0,
    ) -> None:
        self.root, self.text = root, text
        self.max_sequences, self.token_budget = max_sequences, token_budget
        self._kept = KeptPrompts(kept_tokens)
        self._crowds: dict[int, Crowd] = {}
        self._loners = OwnCaches(root)
        self._waiting: deque[Answering] = deque()
        self._running: list[Answering] = []
        self._submitted = 0
        self._longest = self._num_steps = 0
        self._laid_out: LaidOut | None = None

    @property
    def busy(self) -> bool:
        """Whether there is anything to draw."""
        return bool(self._waiting or self._running)

    def submit(self, request: Request) -> int:
        """Line a request up. Returns its number, by which events name it.

        Raises:
            SettingsError: a request that could never be answered.
        """
        if not len(request.prompt):
            raise SettingsError("The prompt has no tokens. Give at least one, such as the model's BOS token.")
        needed = len(request.prompt) + request.max_new_tokens
        if needed > self.token_budget:
            raise SettingsError(
                f"A prompt of {len(request.prompt):,} tokens and {request.max_new_tokens:,} new ones need more than the sampler's "
                f"budget of {self.token_budget:,}. Ask for fewer new tokens, or raise the budget."
            )
        if request.stop_strings and self.text is None:
            raise SettingsError("Stop strings need a sampler that knows how to decode: give it `text=tokenizer.stream`.")
        address = request.address
        uniform = generator(address[0], "sample", *address[1:]).random(request.max_new_tokens)
        stops = StopStrings(request.stop_strings) if request.stop_strings else None
        answering = Answering(self._submitted, request, uniform, None if self.text is None else self.text(), stops)
        self._submitted += 1
        self._longest = max(self._longest, request.max_new_tokens)
        self._waiting.append(answering)
        return answering.number

    @torch.inference_mode()  # a room that was made in it can only be written to in it
    def cancel(self, number: int) -> None:
        """Draw no more of a request; nothing is told of it any more. One that has ended is left alone."""
        self._waiting = deque(a for a in self._waiting if a.number != number)
        for answering in [a for a in self._running if a.number == number]:
            self._leave(answering)

    def num_known(self, prompt: np.ndarray, adapter: str | None) -> int:
        """Tokens of a prompt (n,) whose keys and values are there, so that a request need not compute them."""
        crowd = self._crowds.get(self.root.packing.side(len(prompt)))
        if crowd is not None and (adapter, prompt.tobytes()) in crowd.prompts:
            return len(prompt)
        return self._kept.known(adapter, prompt)

    def forget(self) -> None:
        """Drop what was kept of earlier requests: weights have changed."""
        self._kept.forget()
        self._laid_out = None

    @torch.inference_mode()  # which takes a quarter off what a small operation costs beside its arithmetic
    def step(self) -> list[Event]:
        """Let in what fits, and draw one token for every sequence.

        Whatever is raised meanwhile, such as Ctrl-C in the middle of a forward, loses the sequences under way; what waits goes on waiting.
        """
        if self._laid_out is None and self._longest >= STEPS and self._num_steps >= AFTER:
            self._laid_out = LaidOut(self.root.model)
        self._num_steps += 1
        with ExitStack() as stack:
            if self.root.model.training:
                stack.enter_context(evaluating(self.root))
            if self._laid_out is not None:
                stack.enter_context(self._laid_out.used())
            try:
                return self._step()
            except BaseException:
                self._running.clear()
                self._crowds.clear()
                raise

    def _step(self) -> list[Event]:
        events = self._end_empty()
        rows = [*self._go_on(), *self._let_in()]
        if not rows:
            return events
        answering = [a for members, _ in rows for a in members]
        logits = rows[0][1] if len(rows) == 1 else torch.cat([logits for _, logits in rows])
        tokens = draw(logits, [a.turn for a in answering])
        events += [self._tell(a, token) for a, token in zip(answering, tokens, strict=True)]
        for a, token in zip(answering, tokens, strict=True):
            if a.request.on_token is not None:
                a.request.on_token(token.id)
        return events

    def _end_empty(self) -> list[Event]:
        """Requests for no token at all."""
        ended = [a for a in self._waiting if a.request.max_new_tokens < 1]
        self._waiting = deque(a for a in self._waiting if a.request.max_new_tokens >= 1)
        return [Event(a.number, None, 0.0, end="length") for a in ended]

    def _together(self, request: Request) -> bool:
        """Whether it may be drawn in a crowd."""
        packing = self.root.packing
        longest = len(request.prompt) + request.max_new_tokens
        return packing.tier == 1 and packing.draws and (packing.apart_beyond is None or longest <= packing.apart_beyond)

    @property
    def _gathers(self) -> bool:
        """Wait until half of the places are free: where only equally long sequences share a forward, many are to begin together."""
        return self.root.packing.tier > 1 and 2 * len(self._running) > self.max_sequences

    def _num_held(self) -> int:
        """Tokens that running requests may come to hold, a shared prompt once."""
        prompts = {(a.request.adapter, a.request.prompt.tobytes()): len(a.request.prompt) for a in self._running}
        return sum(prompts.values()) + sum(a.request.max_new_tokens for a in self._running)

    def _let_in(self) -> list[tuple[list[Answering], Tensor]]:
        """Those that wait, in order, as long as they fit; their prompts are computed. Logits (n, V) by group."""
        new: list[Answering] = []
        if self._gathers:
            return []
        held = self._num_held() if self._waiting else 0
        prompts = {(a.request.adapter, a.request.prompt.tobytes()) for a in self._running}
        while self._waiting and len(self._running) + len(new) < self.max_sequences:
            request = self._waiting[0].request
            key = request.adapter, request.prompt.tobytes()
            held += request.max_new_tokens + (0 if key in prompts else len(request.prompt))
            if held > self.token_budget:
                break
            prompts.add(key)
            new.append(self._waiting.popleft())
        self._running += new
        return self._join(new)

    def _join(self, new: Sequence[Answering]) -> list[tuple[list[Answering], Tensor]]:
        """Compute what these sequences consist of so far."""
        rows = []
        packing = self.root.packing
        together = [a for a in new if self._together(a.request)]
        for side in sorted({packing.side(a.length) for a in together}):
            here = [a for a in together if packing.side(a.length) == side]
            crowd = self._crowds.setdefault(side, Crowd(self.root, self._kept))
            members, read = crowd.join([(a.so_far, a.request.adapter) for a in here])
            for answering, member in zip(here, members, strict=True):
                answering.place, answering.crowd = member, crowd
            rows.append((here, self._logits(read)))
        alone = [a for a in new if not self._together(a.request)]
        if alone:
            loners, logits = self._loners.join([(a.so_far, a.request.adapter) for a in alone])
            for answering, loner in zip(alone, loners, strict=True):
                answering.place = loner
            rows.append((alone, logits))
        return rows

    def _go_on(self) -> list[tuple[list[Answering], Tensor]]:
        """The next logits of everybody who runs already."""
        rows = []
        side = self.root.packing.side
        running = self._running if self.root.packing.thresholds else ()
        crossing = [a for a in running if a.crowd is not None and side(a.length) != side(a.length - 1)]
        for answering in crossing:  # positions are computed another way from here on, those of the earlier tokens too
            self._leave_crowd(answering, keep=False)
        of = {id(a.place): a for a in self._running}
        crowds = {id(a.crowd): a.crowd for a in self._running if a.crowd is not None}
        for crowd in crowds.values():
            members, read = crowd.step()
            rows.append(([of[id(m)] for m in members], self._logits(read)))
        alone = [a for a in self._running if isinstance(a.place, Loner)]
        if alone:
            rows.append((alone, self._loners.step([a.place for a in alone if isinstance(a.place, Loner)])))
        return [*rows, *self._join(crossing)]

    def _logits(self, read: Tensor) -> Tensor:
        """(n, V), from a number of rows that does not change how they are computed."""
        if self.root.head is None:
            return read.float()
        return self.root.logits(torch.nn.functional.pad(read, (0, 0, 0, filled(len(read)) - len(read))))[: len(read)]

    def _tell(self, answering: Answering, token: Token) -> Event:
        """Take a token down; the last one makes room for others."""
        request = answering.request
        answering.ids.append(token.id)
        if answering.place is not None:
            answering.place.newest = token.id
        if request.mask is not None:
            request.mask.advance(token.id)
        end: End | None = "stop" if token.id in request.stop_ids else None
        text, stopped = self._text(answering, token.id, end is not None or len(answering.ids) == request.max_new_tokens)
        end = "stop" if stopped else end or ("length" if len(answering.ids) == request.max_new_tokens else None)
        if end is not None:
            self._leave(answering)
        return Event(answering.number, token.id, token.logprob, token.top, text, end)

    def _text(self, answering: Answering, token: int, last: bool) -> tuple[str, bool]:
        """What can be shown now, and whether a stop string came."""
        if answering.text is None:
            return "", False
        text = answering.text.push(token) + (answering.text.finish() if last else "")
        if answering.stops is None:
            return text, False
        shown, stopped = answering.stops.push(text)
        return shown + (answering.stops.rest() if last and not stopped else ""), stopped

    def _leave(self, answering: Answering) -> None:
        self._running.remove(answering)
        if answering.crowd is not None:
            self._leave_crowd(answering, keep=True)

    def _leave_crowd(self, answering: Answering, keep: bool) -> None:
        assert answering.crowd is not None and isinstance(answering.place, Member)
        answering.crowd.leave(answering.place, keep)
        answering.crowd = answering.place = None


def sample_all(root: Root, requests: Sequence[Request], text: Callable[[], TextStream] | None = None, **limits: int) -> list[Answer]:
    """Answers to all requests, in their order.

    Args:
        limits: of the `Sampler`.
    """
    sampler = Sampler(root, text, **limits)
    order: Sequence[int] = range(len(requests))
    if root.packing.tier > 1:  # neighbours are then of one length, and may share forwards
        order = sorted(order, key=lambda i: len(requests[i].prompt))
    numbers = {i: sampler.submit(requests[i]) for i in order}
    found: dict[int, list[Event]] = {number: [] for number in numbers.values()}
    with evaluating(root):
        while sampler.busy:
            for event in sampler.step():
                found[event.request].append(event)
    return [_answer(found[numbers[i]]) for i in range(len(requests))]


def _answer(events: Sequence[Event]) -> Answer:
    drawn = [e for e in events if e.token is not None]
    ids = np.array([e.token for e in drawn], dtype=np.int64)
    return Answer(ids, np.array([e.logprob for e in drawn], dtype=np.float32), events[-1].end == "stop")
