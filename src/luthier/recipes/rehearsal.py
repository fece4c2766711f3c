"""A run's phases on shapes alone: the engine's own code, on a model without weights, with every byte it would hold counted."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from luthier.batches.examples import Lot
from luthier.batches.packing import Packing
from luthier.engine.gradient import accumulate
from luthier.engine.setup import POLICY, AdapterChoice
from luthier.engine.validation import measure
from luthier.losses.logprobs import HeadSpec
from luthier.methods import sft
from luthier.methods.base import CERTIFICATE, VALIDATION, Method, Order, Roles
from luthier.models.forward import Root
from luthier.models.memory import Held, Ledger
from luthier.models.probe import probe_copy
from luthier.models.shorten import ENDS
from luthier.models.skeleton import count, cuts, first_layer, skeleton, with_layers
from luthier.recipes.components import Parts, cast_roles, roles_on
from luthier.recipes.stand_in import Load, prompt
from luthier.recipes.understudies import COMPARING, WIDENING, SilentJudge, SilentPolicy, WatchedCertifier, WatchedMasters, draw
from luthier.spec.run import RunSpec

META = torch.device("meta")

MOMENTS = 2
"""fp32 numbers that AdamW keeps for each that learns."""

PARTS = {"validation": "evaluation", "scoring": "evaluation", "rollout": "keys and values"}
"""What is made in a phase, where it is not called as the phase is."""


@dataclass(frozen=True)
class Sizes:
    """Parameters of the whole model, and those that learn; the bytes of its weights, and of a reference of its own; and of each phase the
    most that is held."""

    parameters: int
    trainable: int
    weight_bytes: int
    reference_bytes: int
    phases: dict[str, Held]


def is_rehearsed(parts: Parts) -> bool:
    """Whether the method itself can be run on shapes. What a method of a user's own collects from the policy is not known before."""
    return parts.draws or not parts.method.on_policy


class Rehearsal:
    """A run's model, adapter and method, as its settings name them, without weights."""

    def __init__(self, spec: RunSpec, parts: Parts, config: Any, dtype: torch.dtype, budget: int, mapped: bool = False) -> None:
        """`mapped`: weights are the pages of the model's file until something is put in their place.

        Raises `UserError` where the adapter does not fit the model.
        """
        self.spec, self.parts, self.budget, self.dtype, self.mapped = spec, parts, budget, dtype, mapped
        self.model = skeleton(config, dtype)
        self.num_base = count(self.model.parameters())
        with torch.device("meta"):
            self.probe_bytes = 4 * count(probe_copy(self.model).parameters())
        adapter: AdapterChoice = parts.adapter
        adapter.module.attach(self.model, adapter.config, POLICY, torch.Generator(), self.model.get_output_embeddings())
        self.root = Root(self.model, Packing(1), HeadSpec())
        cast_roles(self.root, parts, spec, budget)
        self.order = Order(spec.train.batch_size, spec.train.seed)

    @property
    def has_reference(self) -> bool:
        """Whether a frozen copy of the base stands beside the policy."""
        return "reference" in self.parts.needs and bool(self.parts.adapter.module.WHOLE_MODEL)

    @property
    def weights(self) -> list[nn.Parameter]:
        """Each once: of the model, with its adapters, and of heads."""
        return list({id(p): p for p in self.root.parameters()}.values())

    def sizes(self, load: Load, room: bool) -> Sizes:
        """Rehearse every phase with a few layers, and go on along a line for each kind of layer. `room`: for the certificate's fp32."""
        versions = cuts(self.model, 2 if room else 2 * ENDS)
        few = self._phases(self._short(versions.few), load, room)
        more = [(self._phases(self._short(keep), load, room), times) for keep, times in versions.more]
        acts = {act: few[act].grown([(found[act], times) for found, times in more]) for act in few}
        phases = {phase: max((held for (p, _), held in acts.items() if p == phase), key=lambda h: h.total) for phase, _ in acts}
        weight_bytes = sum(p.numel() * p.element_size() for p in self.weights)
        reference = self.num_base * self.dtype.itemsize if self.has_reference else 0
        learning = count(iter(self.parts.adapter.trainable(self.root).values()))
        return Sizes(count(self.model.parameters()), learning, weight_bytes, reference, phases)

    def _short(self, keep: list[int]) -> Root:
        """A copy with these layers only."""
        with with_layers(self.model, keep):
            short = copy.deepcopy(self.root)
        if self.spec.train.gradient_checkpointing:
            short.enable_checkpointing()
        if self.mapped:
            self._map(short)
        return short

    def _map(self, root: Root) -> None:
        """Let all of the base's weights lie in one storage, as in the file: it is there until the last of them is replaced."""
        adapter = self.parts.adapter
        own = set() if adapter.module.WHOLE_MODEL else {id(p) for p in adapter.trainable(root).values()}
        own |= {id(p) for p in root.scalar_heads.parameters()}
        base = [p for p in root.parameters() if id(p) not in own and p.dtype == self.dtype]
        file = torch.empty(sum(p.numel() for p in base), dtype=self.dtype, device=META)
        for p, part in zip(base, file.split([p.numel() for p in base]), strict=True):
            p.data = part.view(p.shape)

    def _phases(self, root: Root, load: Load, room: bool) -> dict[tuple[str, str], Held]:
        """(phase, act) → what is held."""
        ledger = Ledger(root.model.config.get_text_config().vocab_size)
        with ledger.filling("weights"):
            for tensor in (*root.parameters(), *root.buffers()):
                ledger.add(tensor, beside=self.mapped)
        with ledger:
            return _Played(self, root, ledger, load).run(room)


class _Played:
    """One rehearsal of one (short) root, in the order of a run."""

    def __init__(self, of: Rehearsal, root: Root, ledger: Ledger, load: Load) -> None:
        self.of, self.root, self.ledger, self.load = of, root, ledger, load
        self.found: dict[tuple[str, str], Held] = {}
        self.phase = self.act = ""
        with ledger.filling("reference"):
            self.frozen = copy.deepcopy(root).requires_grad_(False) if of.has_reference else None
        with ledger.filling("optimizer"):
            self.masters = WatchedMasters(of.parts.adapter.trainable(root))
        self.masters.copied = self._keep
        self.method = self.make_method(root)
        self.state = self.method.first_state()

    def make_method(self, on: Root) -> Method[Any, Any]:
        parts, spec, budget = self.of.parts, self.of.spec, self.of.budget
        judge = SilentJudge(spec.check is not None) if "judge" in parts.needs else None
        roles = roles_on(on, parts, spec.train.seed, budget, self.frozen, judge)
        if not is_rehearsed(parts):
            return sft.SFT(sft.Config(), Roles(roles.policy), self.of.order)
        if parts.draws:
            roles = replace(roles, policy=SilentPolicy(on, parts.adapter.role, spec.train.seed, budget))
        return parts.method(parts.method_config, roles, self.of.order)

    def run(self, room: bool) -> dict[tuple[str, str], Held]:
        """Every phase. Of the certificate the first; at later ones the optimizer remembers something, and the file is gone."""
        masters, load, method = self.masters, self.load, self.method
        hooks = [_hook_gradients(self.ledger, p, masters.masters[n]) for n, p in masters.parameters.items()]
        self.root.train()
        self._watch("certificate", lambda: self._certificate(room))
        if load.validates:
            self._watch("validation", self._validation)
        lot = Lot(load.rows())
        if load.drawing is not None:
            self._watch("rollout", self._rollout)
        if method.on_policy or method.needs_of(method.config) & {"reference", "critic"}:
            lot = self._watch("scoring", lambda: method.refresh(method.collect(load.rows(), self.state, 0)))
        else:
            lot = method.refresh(method.collect(load.rows(), self.state, 0))
        with self.ledger.filling("optimizer"):
            moments = [[torch.empty_like(m, device=META) for _ in range(MOMENTS)] for m in masters.masters.values()]
        self._watch("training step", lambda: self._step(lot))
        remembered = float(sum(m.nbytes for pair in moments for m in pair))
        for phase, act in self.found:
            if phase == "certificate" and not (self.of.mapped and act == WIDENING):
                self.found[phase, act] = _with_more(self.found[phase, act], "optimizer", remembered)
        del moments, hooks
        return self.found

    def _watch(self, phase: str, act: Callable[[], Any]) -> Any:
        """Run `act` with its acts told apart: each forward, and what comes after its gradient has arrived at the first layer that learns.

        In the one, layers' activations are most of what is held, in the other layers' gradients, so each lies on a line of its own.
        """
        ledger, self.phase = self.ledger, phase
        ledger.acts = {}

        def arrived(_: Tensor) -> None:
            ledger.enter_act(f"{self.act}, after the first layer")

        def passed(_: nn.Module, __: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            if torch._C._current_graph_task_id() != -1:  # computed again, in a backward pass
                return
            ledger.enter_act(self.act)
            if torch.is_grad_enabled() and hidden.requires_grad:
                hidden.register_hook(arrived)

        handle = first_layer(self.root.model).register_forward_hook(passed)
        with ledger.filling(phase):
            ledger.enter_act(phase)
            if phase != "certificate":
                self._begin(phase)
            result = act()
        ledger.finish()
        handle.remove()
        self._own(self.root)
        self.found |= {(phase, name): held for name, held in ledger.acts.items()}
        return result

    def _begin(self, act: str) -> None:
        self.act = act
        if act == WIDENING:
            self.ledger.trim()
        self.ledger.part = "weights" if act == WIDENING else self.phase if act == COMPARING else PARTS.get(self.phase, "activations")
        self.ledger.enter_act(act)

    def _keep(self) -> None:
        """What is made next are copies that stay."""
        self.ledger.part = self.phase

    def _own(self, root: nn.Module) -> None:
        """What was put in the place of weights is weights."""
        for tensor in (*root.parameters(), *root.buffers()):
            self.ledger.assign(tensor, "weights")
        for name, master in self.masters.masters.items():
            if master is not self.masters.parameters[name]:
                self.ledger.assign(master, "optimizer")

    def _budget(self, lot: Lot) -> int:
        """One that makes one stream of rows that stand for one; what was drawn is cut as the run will."""
        return self.of.budget if self.load.drawing else 2 * sum(example.num_tokens for example in lot.examples)

    def _step(self, lot: Lot) -> None:
        """The largest stream, a second time where a step has several: gradients of the first are there then."""
        for _ in range(min(2, self.load.num_streams)):
            accumulate(self.method, lot, self._budget(lot), self.root.packing, META, (0, 0))
        torch.nn.utils.clip_grad_norm_(list(self.masters.masters.values()), 1.0)
        self.masters.publish()
        self.masters.clear()

    def _validation(self) -> None:
        method = self.method
        lot = method.refresh(method.collect(self.load.rows(), self.state, VALIDATION))
        measure(method, lot, self._budget(lot), self.root.packing, META, self.root)

    def _rollout(self) -> None:
        drawing = self.load.drawing
        assert drawing is not None
        number = max(1, min(drawing.prompts, math.ceil(drawing.at_once / drawing.answers)))
        prompts = [prompt(i, self.load.longest).prompt for i in range(number)]
        draw(self.root, self.of.parts.adapter.role, prompts, min(drawing.answers, drawing.at_once), drawing.length)

    def _certificate(self, room: bool) -> None:
        method, of = self.method, self.of
        lot = method.refresh(method.collect(self.load.certificate(), self.state, CERTIFICATE))
        certifier = WatchedCertifier(self.root, self.masters, self.make_method, of.parts.adapter.trainable, lot, of.budget, 1e-5, 0)
        certifier.room, certifier.own, certifier.copied = room, self._own, self._keep
        certifier.begin = self._begin
        self.ledger.trim()
        certifier.check(0)
        self.ledger.trim()


def _with_more(held: Held, part: str, size: float) -> Held:
    return Held({**held.parts, part: held.parts.get(part, 0.0) + size}, held.apart)


def _hook_gradients(ledger: Ledger, parameter: nn.Parameter, master: nn.Parameter) -> Any:
    def arrived(p: Tensor) -> None:
        ledger.assign(p.grad, "gradients")
        ledger.assign(master.grad, "gradients")

    return parameter.register_post_accumulate_grad_hook(arrived)
