"""The certificate: on a few real rows, the fast gradient is the naive one.

Naive: one sequence a forward, transformers' own attention, the model's own logits, no packing, no sharing, no accumulation, no
checkpointing, and no code of `batches/streams.py`. Dropout is off, and the trainable weights are perturbed, because LoRA's B = 0 makes
the gradient of A exactly zero.
"""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from luthier.adapters.routing import Routing, routed
from luthier.batches.examples import Example, Lot
from luthier.batches.packing import Packing
from luthier.batches.rows import Rows
from luthier.batches.streams import Segment, Stream, lexical_order, num_computed
from luthier.data.seeded import generator
from luthier.engine.gradient import accumulate, totals_of
from luthier.engine.trainable import Masters
from luthier.losses.logprobs import Scores
from luthier.methods.base import Method
from luthier.models.device import available_bytes, is_out_of_memory, return_freed_memory
from luthier.models.forward import Root, attention_of
from luthier.models.shorten import shortened
from luthier.models.world import ALONE, World
from luthier.spec.base import Spec

PERTURBATION = 0.02
"""Standard deviation of the noise added to the trainable weights."""

WORK = 4e10
"""Parameters times tokens that the rows may have together: a second or two of fp32 on a small machine. At least 256 tokens."""

CANDIDATES = 512
"""Rows looked at to choose from."""


@dataclass(frozen=True)
class Finding:
    """Relative differences of gradients, fast against naive, in fp32 and in the run's type.

    `noise`: of the naive gradient in the run's type against fp32. Both are None where the run's type is fp32. `fp32_noise`: of the naive
    gradient in fp32 against fp64, measured only where `fp32` is beyond the tolerance: weights that are badly conditioned round worse,
    also in the naive computation. `layers`: computed on all of them, or on the first and last 2 where an fp32 copy of the whole does
    not fit.
    """

    step: int
    fp32: float
    fp32_noise: float | None
    run_dtype: float | None
    noise: float | None
    layers: str
    num_rows: int
    num_tokens: int
    passed: bool

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class NaiveRoot(Root):
    """The model as anybody would call it, with log-softmax over all of its logits."""

    def score(self, stream: Stream, adapter: str | None, temperature: float = 1.0, entropy: bool = False, correct: bool = False) -> Scores:
        parts = []
        with routed(Routing(adapter)), attention_of(self.model, self.native_attention):
            for segment in stream.segments:
                ids = stream.input_ids[:, segment.start : segment.start + segment.length]
                logits = self.model(input_ids=ids, use_cache=False).logits[0]
                wide = logits if logits.dtype == torch.float64 else logits.float()
                parts.append((wide / temperature).log_softmax(-1))
        logp = torch.cat(parts)[stream.read_at]
        logprobs = logp.gather(1, stream.targets[:, None])[:, 0]
        return Scores(logprobs, -(logp.exp() * logp).sum(-1), correct=logprobs == logp.amax(-1))


def naive_rows(example: Example, device: torch.device) -> Rows:
    """One row, its sequences one after the other, told to the method token by token."""
    ids: list[int] = []
    positions: list[int] = []
    read: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    token_sequence: list[int] = []
    last: list[int] = []
    segments: list[Segment] = []
    for number, sequence in enumerate(example.sequences):
        start = len(ids)
        segments.append(Segment(start, len(sequence)))
        for t in range(len(sequence)):
            ids.append(int(sequence.ids[t]))
            positions.append(t)
            if sequence.weights[t] != 0:
                read.append(start + t - 1)
                targets.append(int(sequence.ids[t]))
                weights.append(float(sequence.weights[t]))
                token_sequence.append(number)
        last.append(len(ids) - 1)
    stream = Stream(
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        segments=tuple(segments),
        read_at=torch.tensor(read),
        targets=torch.tensor(targets),
        weights=torch.tensor(weights),
        token_row=torch.zeros(len(read), dtype=torch.long),
        token_sequence=torch.tensor(token_sequence),
        sequence_row=torch.zeros(len(segments), dtype=torch.long),
        last_at=torch.tensor(last),
        num_rows=1,
        apart=True,
    )
    return Rows(stream.to(device))


Gradient = dict[str, Tensor]
MakeMethod = Callable[[Root], Method[Spec, Spec]]
"""The run's method, with roles played by another root."""


class Certifier:
    """Checks the gradient of one lot at any step of a run, and leaves the run as it was.

    Args:
        root: the run's. make: its method on a given root. trainable: the learning parameters of a root, by name. lot: a few real rows.
    """

    def __init__(
        self,
        root: Root,
        masters: Masters,
        make: MakeMethod,
        trainable: Callable[[Root], dict[str, nn.Parameter]],
        lot: Lot,
        token_budget: int,
        tolerance: float,
        seed: int,
        world: World = ALONE,
    ) -> None:
        self.root, self.masters, self.make, self.trainable, self.world = root, masters, make, trainable, world
        self.lot, self.tolerance, self.seed = lot, tolerance, seed
        total = sum(e.num_tokens for e in lot.examples)
        self.token_budget = max(8, min(token_budget, total // 2))  # two streams at least: accumulation is part of the proof

    def check(self, step: int) -> Finding:
        """Compare at the current weights, perturbed. `step` seeds the perturbation. Out of memory: on the first and last layers alone."""
        whole = self.world.once(self._has_room)
        try:
            return self._compared(step, whole)
        except RuntimeError as error:
            if not whole or not is_out_of_memory(error):
                raise
        return self._compared(step, whole=False)

    def _compared(self, step: int, whole: bool) -> Finding:
        with self._perturbed_for_a_while(step):
            root = self.root if whole else shortened(self.root)
            masters = self.masters if root is self.root else Masters(self.trainable(root), self.world)
            fast, naive = self._both(root, masters)
            return self.finding(step, root, masters, fast, naive)

    @contextmanager
    def _perturbed_for_a_while(self, step: int) -> Iterator[None]:
        """Without dropout, and with noise on what learns, which comes back bit for bit."""
        before = {name: value.clone() for name, value in self.masters.values().items()}
        return_freed_memory()
        with without_dropout(self.root.model):
            try:
                self.masters.load(self._perturbed(before, step))
                yield
            finally:
                self.masters.clear()
                self.masters.load(before)
                return_freed_memory()

    def finding(self, step: int, root: Root, masters: Masters, fast: Gradient, naive: Gradient) -> Finding:
        """How far two gradients in the run's type are apart, and the same two in fp32."""
        in_fp32 = next(iter(masters.parameters.values())).dtype == torch.float32
        exact_fast, exact = (fast, naive) if in_fp32 else self._in_type(root, masters, torch.float32)
        fp32 = relative_difference(exact_fast, exact)
        fp32_noise = self._fp32_noise(root, masters, exact) if fp32 > self.tolerance else None
        own = None if in_fp32 else relative_difference(fast, naive)
        noise = None if in_fp32 else relative_difference(naive, exact)
        passed = fp32 <= max(self.tolerance, 2 * (fp32_noise or 0)) and (own is None or noise is None or own <= 2 * noise)
        layers = "all" if root is self.root else "first and last 2"
        return Finding(step, fp32, fp32_noise, own, noise, layers, len(self.lot), sum(e.num_tokens for e in self.lot.examples), passed)

    def _fp32_noise(self, root: Root, masters: Masters, exact: Gradient) -> float | None:
        """What rounding does to the naive gradient; None where the family cannot compute in fp64."""
        try:
            return relative_difference(exact, self._in_type(root, masters, torch.float64)[1])
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            return None  # gpt-oss makes fp32 tensors itself and cannot multiply them with fp64: its difference stands as it is

    def _in_type(self, root: Root, masters: Masters, dtype: torch.dtype) -> tuple[Gradient, Gradient]:
        """Both gradients in a wider type."""
        return_freed_memory()
        with _widened(root, dtype):
            return self._both(root, masters)

    def _perturbed(self, values: Gradient, step: int) -> Gradient:
        draws = generator(self.seed, "certificate", step)
        shapes = {name: self.masters.parameters[name].shape for name in values}
        noise = self.masters.parts({name: torch.from_numpy(draws.standard_normal(shapes[name], dtype=np.float32)) for name in values})
        return {name: value + PERTURBATION * noise[name].to(value.device) for name, value in values.items()}

    def _has_room(self) -> bool:
        """Whether the whole model fits in fp32, with four gradients and half as much again for the computation."""
        wider = sum(p.numel() * (4 - p.element_size()) for p in self.root.model.parameters())
        gradients = 4 * 4 * sum(p.numel() for p in self.masters.masters.values())
        return self.root.device.type != "cpu" or available_bytes() > 1.5 * (wider + gradients) * self.world.size

    def _both(self, root: Root, masters: Masters) -> tuple[Gradient, Gradient]:
        return self._fast_gradient(root, masters), self.naive_gradient(root, masters)

    def _fast_gradient(self, root: Root, masters: Masters) -> Gradient:
        """As in a step of the run: of all processes."""
        masters.clear()
        accumulate(self.make(root), self.lot, self.token_budget, root.packing, root.device, (self.seed, 0), self.world)
        masters.sum_gradients()
        fast = {name: value.clone() for name, value in masters.gradients().items()}
        masters.clear()
        return fast

    def naive_gradient(self, root: Root, masters: Masters) -> Gradient:
        with _without_checkpointing(root.model):
            self._naive(root)
        naive = {name: value.clone() for name, value in masters.gradients().items()}
        masters.clear()
        return naive

    def _naive(self, root: Root) -> None:
        plain = NaiveRoot(root.model, Packing(3), None)
        plain.native_attention, plain.scalar_heads = root.native_attention, root.scalar_heads
        method = self.make(plain)
        totals, coefficients = totals_of(method, self.lot), method.coefficients()
        for i, example in enumerate(self.lot.examples):
            row = self.lot.take(np.array([i]))
            columns = {name: c.to(root.device) for name, c in (row.row_columns | row.token_columns).items()}
            terms = method.loss(Rows(naive_rows(example, root.device).stream, columns))
            counted = {name: coefficients.get(name, 1.0) for name in totals if coefficients.get(name, 1.0)}
            loss = torch.stack([coefficient * terms[name].sum() / totals[name] for name, coefficient in counted.items()]).sum()
            loss.backward()


def relative_difference(a: Gradient, b: Gradient) -> float:
    """‖a - b‖ / ‖b‖ over all weights together; 0 where both are zero, infinite where only b is or either is not finite."""
    difference = sum(float((a[name].double() - b[name].double()).square().sum()) for name in b)
    size = sum(float(value.double().square().sum()) for value in b.values())
    if difference == size == 0:
        return 0.0
    relative = (difference / size) ** 0.5 if size > 0 else float("inf")
    return relative if np.isfinite(relative) else float("inf")


def choose(examples: Seq[Example], number: int, num_parameters: int, seed: int) -> list[int]:
    """Indices of rows to check: two that share a beginning where there are such, one long, the rest by seed; few tokens in all."""
    draws = generator(seed, "certificate-rows")
    candidates = draws.permutation(len(examples))[:CANDIDATES]
    limit = max(256, WORK / num_parameters) / number
    short = [int(i) for i in candidates if examples[i].num_tokens <= limit]
    short = short if len(short) >= number else sorted((int(i) for i in candidates), key=lambda i: examples[i].num_tokens)[: 4 * number]
    chosen = list(_most_alike(examples, short))
    chosen.append(max(short, key=lambda i: examples[i].num_tokens))
    return list(dict.fromkeys([*chosen, *short]))[:number]


def middle_step(seed: int, total: int) -> int:
    """A step between the first and the last, by seed."""
    return 1 + int(generator(seed, "certificate-step").integers(max(1, total - 1)))


def _most_alike(examples: Seq[Example], candidates: list[int]) -> tuple[int, ...]:
    """The two neighbours in lexical order that share the most, if any do."""
    ids = [examples[i].sequences[0].ids for i in candidates]
    order = lexical_order(ids)
    pairs = [(len(ids[a]) + len(ids[b]) - num_computed([ids[a], ids[b]], share=True), a, b) for a, b in pairwise(order)]
    if not pairs or max(pairs)[0] == 0:
        return ()
    _, a, b = max(pairs)
    return candidates[a], candidates[b]


@contextmanager
def _widened(root: Root, dtype: torch.dtype) -> Iterator[None]:
    """Weights and buffers in a wider type for a while, in place: every bf16 number is an fp32 number, so they come back bit for bit."""
    narrow = [t for t in (*root.parameters(), *root.buffers()) if t.is_floating_point() and t.element_size() < dtype.itemsize]
    types = [t.dtype for t in narrow]
    try:
        for tensor in narrow:
            tensor.data = tensor.data.to(dtype)
        yield
    finally:
        for tensor, before in zip(narrow, types, strict=True):
            tensor.data = tensor.data.to(before)


@contextmanager
def _without_checkpointing(model: nn.Module) -> Iterator[None]:
    """What is computed again in the backward pass would be wrong in both gradients alike."""
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer) and module.training]
    for layer in layers:
        layer.training = False
    try:
        yield
    finally:
        for layer in layers:
            layer.training = True


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for all but the layers' own flag, which gradient checkpointing listens to."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
