"""The root module: body, heads and chunked log-probabilities. Nothing else calls the body, and sharding wraps this root."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.adapters.routing import Routing, current, routed
from luthier.batches.packing import Packing
from luthier.batches.streams import Segment, Stream
from luthier.losses.logprobs import HeadSpec, Scores, linear_logprobs
from luthier.models import attention, drawing_attention
from luthier.models.rotary import forget_longer_rows


@contextmanager
def attention_of(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Let `model` compute with the attention function `name` for a while.

    Set in the config, which is where models look it up: `set_attn_implementation` walks all modules, 2 % of a forward of 30 small layers.
    A model that does not look there is one the probe finds out.
    """
    before = model.config._attn_implementation
    model.config._attn_implementation = name
    try:
        yield
    finally:
        model.config._attn_implementation = before


def body_of(model: PreTrainedModel) -> Any:
    """The model without its head."""
    if model.base_model is not model:
        return model.base_model
    return next(child for child in model.children() if isinstance(child, PreTrainedModel))


def checkpoint_contexts(model: PreTrainedModel) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For the forward and for its recomputation: the second runs under the routing and the attention function of the first."""
    return nullcontext(), _again(model, model.config._attn_implementation, current())


@contextmanager
def _again(model: PreTrainedModel, attention_function: str, routing: Routing) -> Iterator[None]:
    with attention_of(model, attention_function), routed(routing):
        yield


def _routing(routing: Routing, segments: tuple[Segment, ...], device: torch.device) -> Routing:
    """`routing`, except where segments name adapters of their own: then which positions each adapter computes."""
    if all(s.adapter is None for s in segments):
        return routing
    positions: dict[str, list[Tensor]] = {}
    for s in segments:
        name = s.adapter or routing.whole
        if name is not None:
            positions.setdefault(name, []).append(torch.arange(s.start, s.start + s.length, device=device))
    total = sum(s.length for s in segments)
    return Routing(None, tuple((name, torch.cat(parts)) for name, parts in positions.items()), total)


@contextmanager
def evaluating(root: nn.Module) -> Iterator[None]:
    """Evaluation mode, no dropout, for a while."""
    training = root.training
    root.eval()
    try:
        yield
    finally:
        root.train(training)


class Root(nn.Module):
    """A causal language model as streams see it.

    Args:
        model: frozen or not, with or without adapters. packing: what the probe found. head: how logits come from hidden states; None
        for a head that the probe could not express, whose plain logits are then computed by the model itself.
    """

    def __init__(self, model: PreTrainedModel, packing: Packing, head: HeadSpec | None) -> None:
        super().__init__()
        attention.register()
        drawing_attention.register()
        forget_longer_rows(model)
        self.model = model
        self.packing = packing
        self.head = head
        self.native_attention: str = model.config._attn_implementation
        self.scalar_heads = nn.ModuleDict()
        self.stop_ids: frozenset[int] = frozenset()
        self.special_ids: frozenset[int] = frozenset()
        """Tokens that spell no text; validation leaves them out of bits per byte."""

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def output(self) -> Any:
        """The layer that makes logits: `weight` (V, d) and perhaps a `bias` (V,)."""
        return self.model.get_output_embeddings()

    def enable_checkpointing(self) -> None:
        """Keep only the inputs of layers, and compute each layer again in the backward pass."""
        contexts = partial(checkpoint_contexts, self.model)
        self.model.activation_checkpointing_enable({"use_reentrant": False, "context_fn": contexts})

    def add_scalar_head(self, name: str, generator: torch.Generator) -> nn.Linear:
        """A head (1, d) in fp32 for a critic or a reward model, drawn small."""
        layer = nn.Linear(self.output.weight.shape[1], 1, bias=True, device=self.device, dtype=torch.float32)
        nn.init.normal_(layer.weight, std=0.01, generator=generator)
        nn.init.zeros_(layer.bias)
        self.scalar_heads[name] = layer
        return layer

    def forward(
        self,
        stream: Stream,
        adapter: str | None,
        head: str | None = None,
        temperature: float = 1.0,
        entropy: bool = False,
        correct: bool = False,
    ) -> Scores | Tensor:
        """Scores of the stream's scored tokens; with `head`, that scalar head's values, (N + S, 1): where they are predicted, and at the
        ends."""
        with routed(Routing(adapter)):
            if self.head is None and head is None:
                return self._plain(stream, temperature)
            hidden = self._hidden(stream)
            if head is not None:
                layer: Any = self.scalar_heads[head]
                read = torch.cat([stream.read_at, stream.last_at])
                values: Tensor = layer(hidden.index_select(0, read).to(layer.weight.dtype))  # fp32; fp64 where noise is measured
                return values  # no view of it: what holds weights in parts puts them together again when its gradient comes
            assert self.head is not None
            bias = getattr(self.output, "bias", None)
            read_hidden = hidden.index_select(0, stream.read_at)  # index_select: its backward adds repeated positions in one order
            return linear_logprobs(read_hidden, self.output.weight, bias, stream.targets, self.head, temperature, entropy, correct=correct)

    def score(self, stream: Stream, adapter: str | None, temperature: float = 1.0, entropy: bool = False, correct: bool = False) -> Scores:
        scores = self(stream, adapter, None, temperature, entropy, correct)
        assert isinstance(scores, Scores)
        return scores

    def values(self, stream: Stream, adapter: str | None, head: str) -> tuple[Tensor, Tensor]:
        """(N,) where scored tokens are predicted, and (S,) at the ends of sequences."""
        values = self(stream, adapter, head)
        assert isinstance(values, Tensor)
        predicted, ends = values[:, 0].split([len(stream.read_at), len(stream.last_at)])
        return predicted, ends

    def hidden(self, stream: Stream, adapter: str | None) -> Tensor:
        """The body's last hidden states, (T, d)."""
        with routed(Routing(adapter)):
            return self._hidden(stream)

    def draw(
        self, input_ids: Tensor, position_ids: Tensor, routing: Routing, reading: drawing_attention.Reading, last: Tensor | None = None
    ) -> Tensor:
        """What makes logits, (T, d) or at the places `last` (n,) only: input ids and positions (1, T), attending as `reading` says."""
        mask = torch.ones_like(input_ids, dtype=torch.bool)
        inputs = {"input_ids": input_ids, "position_ids": position_ids, "attention_mask": mask, "use_cache": False, "reading": reading}
        with attention_of(self.model, drawing_attention.NAME), routed(routing):
            if self.head is None:
                read: Tensor = self.model(**inputs, logits_to_keep=0 if last is None else last).logits[0]
                return read
            hidden: Tensor = body_of(self.model)(**inputs).last_hidden_state[0]
            return hidden if last is None else hidden.index_select(0, last)

    def logits(self, read: Tensor) -> Tensor:
        """(n, V) in fp32, from what `draw` returns."""
        if self.head is None:
            return read.float()
        output = self.output
        plain = isinstance(output, nn.Linear)  # which may be laid out for drawing
        z = (output(read) if plain else nn.functional.linear(read, output.weight, getattr(output, "bias", None))).float()
        z = z if self.head.scale == 1 else z.mul_(self.head.scale)
        cap = self.head.softcap
        return z if cap is None else torch.tanh_(z.div_(cap)).mul_(cap)

    def _parts(self, stream: Stream) -> list[Segment | None]:
        """What goes through the model in one forward: the whole stream, or each segment apart."""
        return list(stream.segments) if stream.apart else [None]

    def _hidden(self, stream: Stream) -> Tensor:
        return torch.cat([self._call(body_of(self.model), stream, part).last_hidden_state[0] for part in self._parts(stream)])

    def _call(self, module: Any, stream: Stream, only: Segment | None, **more: Any) -> Any:
        """`module` (the body, or the model with its head) on the stream, or on one segment of it alone."""
        inside = slice(None) if only is None else slice(only.start, only.start + only.length)
        segments = stream.segments if only is None else (replace(only, start=0, reads=()),)
        inputs = {"input_ids": stream.input_ids[:, inside], "position_ids": stream.position_ids[:, inside], "use_cache": False, **more}
        if self.packing.tier != 1:
            with attention_of(self.model, self.native_attention), routed(_routing(current(), segments, self.device)):
                return module(**inputs)
        # A mask of ones keeps transformers from looking for packed rows itself: the segments say where they end.
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"], dtype=torch.bool)
        inputs["segments"] = segments
        with attention_of(self.model, attention.NAME), routed(_routing(current(), segments, self.device)):
            return module(**inputs)

    def logits_at(self, stream: Stream, adapter: str | None, rows: int = 512) -> Iterator[Tensor]:
        """Logits (n, V) in fp32 of the places that predict the stream's scored tokens, in their order, at most `rows` at a time."""
        with routed(Routing(adapter)):
            if self.head is None:
                plain = self._plain_logits(stream).split(rows)
            else:
                hidden = self._hidden(stream)
        if self.head is None:
            yield from plain
        else:
            for read in stream.read_at.split(rows):
                yield self.logits(hidden.index_select(0, read))

    def _plain(self, stream: Stream, temperature: float) -> Scores:
        """Log-probabilities from the model's own logits, all of them at once: more memory, and right for any head."""
        logp = (self._plain_logits(stream) / temperature).log_softmax(-1)
        chosen = logp.gather(1, stream.targets[:, None])[:, 0]
        return Scores(chosen, -(logp.exp() * logp).sum(-1), None, chosen == logp.amax(-1))

    def _plain_logits(self, stream: Stream) -> Tensor:
        """(N, V) in fp32, by the model's own head."""
        logits = []
        for part in self._parts(stream):
            read = stream.read_at
            if part is not None:
                read = read[(read >= part.start) & (read < part.start + part.length)] - part.start
            logits.append(self._call(self.model, stream, part, logits_to_keep=read).logits[0])
        return torch.cat(logits).float()
