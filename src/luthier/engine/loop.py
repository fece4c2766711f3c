"""The loop: lots, epochs, optimizer steps; validation, checkpoints and certificate on the way. It knows no method and no model."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from luthier.adapters import blocks
from luthier.batches.examples import Lot
from luthier.engine import checkpoint, lots, optimizer, refusals
from luthier.engine.certificate import Certifier, Finding, choose, middle_step
from luthier.engine.checkpoint import Progress
from luthier.engine.energy import EnergyMeter
from luthier.engine.first_step import check_first_step
from luthier.engine.folder import keep_lines
from luthier.engine.gradient import StepSums, accumulate
from luthier.engine.report import Reporter
from luthier.engine.samples import write_samples
from luthier.engine.schedule import Schedule
from luthier.engine.setup import Setup
from luthier.engine.sharded_certificate import ShardedCertifier
from luthier.engine.sharding import masters_of
from luthier.engine.stop import StopSignal
from luthier.engine.validation import best_steps, by_dataset, drawn_anew, measure
from luthier.engine.within_memory import within_memory
from luthier.methods.base import CERTIFICATE, VALIDATION
from luthier.models.estimate import step_flops

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """How the loop ended, `succeeded` or `paused`, and where it stood."""

    status: str
    progress: Progress


class Loop:
    """One run from its first step, or from its last checkpoint, to its end."""

    def __init__(self, setup: Setup, reporter: Reporter, stop: StopSignal) -> None:
        self.setup, self.reporter, self.stop = setup, reporter, stop
        self.spec, self.folder, self.root, self.world = setup.spec, setup.folder, setup.root, setup.world
        self.method = setup.make_method(setup.root)
        self.masters = masters_of(setup.adapter.trainable(setup.root), setup.world)
        self.first_weights = self.masters.fingerprint()
        self.rate = self.spec.optimizer.learning_rate or setup.adapter.module.LEARNING_RATE
        number = self.root.model.config.get_text_config().num_hidden_layers
        path = blocks.find(self.root.model, number)
        depths = {name: blocks.depth(name, path, number) for name in self.masters.masters}
        self.optimizer = optimizer.build(self.masters.masters, depths, self.spec.optimizer, self.rate)
        self.energy = EnergyMeter()
        self.energy_before = 0.0
        self.progress = Progress(token_budget=setup.token_budget)
        self.state = self.method.first_state()
        self.lots = lots.plan(self.method, setup.train, self.spec.train)
        self.total = self.lots.total_steps
        self.schedule = Schedule.of(self.lots, self.spec)
        self.by_worth = self.method.on_policy and self.method.roles.checks
        """What the best weights are says a check that is never learned from, and not validation."""
        self.finished_step: int | None = None
        """The step whose validation and state are on the disk already."""
        self.validation_lot: Lot | None = None
        self.certifier = self._certifier()
        self.certified_steps = {0, middle_step(self.spec.train.seed, self.total), self.total}

    def _certifier(self) -> Certifier:
        setup, spec = self.setup, self.spec
        examples = setup.train
        size = sum(p.numel() for p in self.root.model.parameters())
        chosen = choose(examples, min(spec.certificate.rows, len(examples)), size, spec.train.seed)
        lot = self.method.refresh(self.method.collect([examples[i] for i in chosen], self.state, CERTIFICATE))
        given = (self.root, self.masters, setup.make_method, setup.adapter.trainable, lot, setup.token_budget)
        how = (spec.certificate.tolerance, spec.train.seed, self.world)
        return Certifier(*given, *how) if setup.sharded is None else ShardedCertifier(setup.sharded, *given, *how)

    # -- the run ------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Train to the end, or to the next stop signal.

        Raises:
            TrainingFailed: the run is wrong; the last good checkpoint stays.
        """
        self._restore()
        self.reporter.started(self.setup.description, self.total, self.progress.step)
        kept = list(self.schedule.epochs_kept)
        self.folder.event("plan", f"{self.total:,} steps", step=self.progress.step, total_steps=self.total, epochs_kept=kept)
        self.root.train()
        self.energy_before = self.progress.energy_wh
        try:
            with self.energy:
                if self.finished_step is None:
                    self._certify()
                    self._validate()
                    self._save()
                status = self._steps()
                if status == "succeeded":
                    self._finish()
        finally:
            self._count_energy()
        self.reporter.ended(status)
        return Outcome(status, self.progress)

    def _steps(self) -> str:
        if self.progress.alarm:  # it was killed after the alarm, before its record was written
            return "succeeded"
        for number in range(self.progress.lot, self.lots.number):
            lot = self._lot(number)
            for epoch in range(self.progress.epoch, self.lots.epochs):
                batches = self.method.batches(lot, epoch + number * self.lots.epochs)
                for index in batches[self.progress.step_in_epoch :]:
                    if self._ended() or self.progress.step >= self.total:
                        return "succeeded"
                    if self.world.any(self.stop.requested):
                        self._save()
                        return "paused"
                    self._step(lot.take(index))
                self.progress.epoch, self.progress.step_in_epoch = epoch + 1, 0
            progress = self.progress
            terms = {name: total / max(1, progress.lot_steps) for name, total in progress.lot_terms.items()}
            self.state = self.method.update(self.state, lot, terms)
            progress.lot, progress.epoch, progress.lot_terms, progress.lot_steps = number + 1, 0, {}, 0
            if alarm := self.method.alarm(self.state):
                self.progress.alarm, self.progress.stopped_early = alarm, True
                self._event("alarm", alarm)
                return "succeeded"
        return "succeeded"

    def _lot(self, number: int) -> Lot:
        """Lot `number`; a new one's metrics are written, and the weights that drew it kept where they are the best so far."""
        lot = self.lots.get(self.method, self.state, number, self.folder, self.world)
        begins = (self.progress.epoch, self.progress.step_in_epoch) == (0, 0)
        if begins and lot.metrics:
            self._line({"step": self.progress.step + 1, "kind": "lot", "lot": number, **lot.metrics})
            self.reporter.collected(self.progress.step + 1, lot.metrics)
            refusals.refuse_other_sampler(number, lot.metrics.get("sampler_gap", 0.0), self.setup.dtype.dtype)
        worth = self.method.worth(self.state, lot) if begins else None
        if worth is not None and (self.progress.best_loss is None or -worth < self.progress.best_loss):
            self.progress.best_loss, self.progress.best_step = -worth, self.progress.step
            self._save()
        return lot

    def _ended(self) -> bool:
        patience = self.spec.evaluation.patience
        self.progress.stopped_early = patience is not None and self.progress.evaluations_since_best >= patience
        return self.progress.stopped_early

    # -- one step -----------------------------------------------------------------------------------------------

    def _step(self, lot: Lot) -> None:
        started = time.perf_counter()
        lot = self.method.refresh(lot)
        if self.progress.step == 0:
            check_first_step(self.method, lot, self.progress.token_budget, self.root.packing, self.setup.device)
        sums = self._gradient(lot)
        norm = self._clip(sums)
        share = optimizer.share_of_rate(self.progress.step, self.total, self.spec.optimizer)
        optimizer.set_rate(self.optimizer, self.rate * share)
        self.optimizer.step()
        self.masters.publish()
        self.masters.clear()
        seconds = time.perf_counter() - started
        self.progress.step += 1
        self.progress.step_in_epoch += 1
        self.progress.lot_steps += 1
        for name, value in sums.terms.items():
            self.progress.lot_terms[name] = self.progress.lot_terms.get(name, 0.0) + value
        self.progress.num_tokens += sums.num_tokens
        self.progress.seconds += seconds
        self._log(sums, norm, self.rate * share, seconds)
        step = self.progress.step
        if step in self.certified_steps:
            self._certify()
        if step in self.schedule.glanced:
            self._glance()
        if step in self.schedule.validated and step != self.total:
            self._validate()
        if step in self.schedule.saved and step != self.total:
            self._save()

    def _gradient(self, lot: Lot) -> StepSums:
        """The step's gradient in the masters."""
        address = (self.spec.train.seed, self.progress.step)
        given = (self.root.packing, self.setup.device, address, self.world)
        sums = self._within_memory(lambda budget: accumulate(self.method, lot, budget, *given))
        self.masters.sum_gradients()
        return sums

    def _within_memory(self, compute: Callable[[int], T]) -> T:
        return within_memory(compute, self.progress, self._less_memory)

    def _less_memory(self) -> None:
        self.masters.clear()
        self._event("out_of_memory", f"out of memory: the token budget is now {self.progress.token_budget}")

    def _clip(self, sums: StepSums) -> float:
        """Clip to `max_grad_norm`; the norm before. Refuses what would train silently wrong."""
        limit = self.spec.optimizer.max_grad_norm
        norm = self.masters.clip(limit if limit is not None else math.inf)
        step = self.progress.step + 1
        refusals.refuse_infinite(step, sums.loss, norm, self.rate)
        if step == 1 and not self.method.on_policy:  # rewards may all be equal in a first lot
            refusals.refuse_no_gradient(norm)
        return norm

    def _log(self, sums: StepSums, norm: float, rate: float, seconds: float) -> None:
        flops = step_flops(self.root, self.masters.parameters, sums.num_computed, sums.num_trained)
        limit = self.setup.dtype.gflops
        metrics: dict[str, float] = {
            "step": self.progress.step,
            "epoch": self.lots.epoch_of(self.progress, self.spec.train.epochs),
            **sums.metrics(self.setup.dataset_names),
            "learning_rate": rate,
            "grad_norm": norm,
            "tokens_per_second": sums.num_tokens / seconds,
            "seconds": seconds,
            **({"share_of_limit": flops / (limit * self.world.size * 1e9) / seconds} if limit else {}),
        }
        self._line({**metrics, "kind": "train"})
        left = self.progress.seconds / self.progress.step * (self.total - self.progress.step)
        self.reporter.step(metrics, left)

    # -- on the way ---------------------------------------------------------------------------------------------

    def _line(self, values: dict[str, Any]) -> None:
        self.folder.add_line(self.folder.metrics_file, values)

    def _event(self, kind: str, message: str) -> None:
        self.folder.event(kind, message, step=self.progress.step)
        self.reporter.event(message)

    def _certify(self) -> Finding:
        finding = self.world.gather(self.certifier.check(self.progress.step))[0]
        self.progress.certificate.append(finding.as_dict())
        self.folder.event("certificate", "passed" if finding.passed else "FAILED", **finding.as_dict())
        refusals.refuse_inexact(finding, self.spec.certificate.tolerance)
        return finding

    def _glance(self) -> None:
        """A look at a few validation rows."""
        lot = self._validation_lot()
        some = drawn_anew(len(lot), self.spec.evaluation.glance_rows, self.spec.train.seed, self.progress.step)
        metrics = self._measure(self.method.refresh(lot.take(some)))
        self._line({"step": self.progress.step, "kind": "glance", **metrics})

    def _validate(self) -> None:
        setup = self.setup
        if setup.validation:
            lot = self.method.refresh(self._validation_lot())
            metrics = self._measure(lot)
            for name, index in by_dataset(lot.examples, setup.dataset_names).items():
                if index:
                    metrics |= {f"{key}/{name}": value for key, value in self._measure(lot.take(np.array(index))).items()}
            refusals.refuse_infinite_validation(self.progress.step, metrics["loss"], self.rate)
            best = not self.by_worth and (self.progress.best_loss is None or metrics["loss"] < self.progress.best_loss)
            self.progress.evaluations_since_best = 0 if best else self.progress.evaluations_since_best + 1
            if best:
                self.progress.best_loss, self.progress.best_step = metrics["loss"], self.progress.step
            self._line({"step": self.progress.step, "kind": "validation", **metrics})
            self.reporter.validated(self.progress.step, metrics, best)
        if self.spec.evaluation.prompts:
            with setup.alone() as first:
                self.world.once(lambda: write_samples(first, self.progress.step))
        if setup.validation and best and self.spec.evaluation.patience is not None:
            self._save()
        self.finished_step = self.progress.step

    def _validation_lot(self) -> Lot:
        """Collected once, where it does not depend on the policy."""
        if self.validation_lot is None or self.method.on_policy:
            self.validation_lot = self.method.collect(self.setup.validation, self.state, VALIDATION)
        return self.validation_lot

    def _measure(self, lot: Lot) -> dict[str, float]:
        given = (self.root.packing, self.setup.device, self.root, self.world)
        return self._within_memory(lambda budget: measure(self.method, lot, budget, *given))

    # -- state --------------------------------------------------------------------------------------------------

    def _count_energy(self) -> None:
        self.progress.energy_wh = self.energy_before + self.energy.watt_hours

    def _save(self) -> None:
        self._count_energy()
        self.progress.method_state = self.state.model_dump(mode="json")
        weights = self.masters.whole(self.masters.values())
        memory = self.masters.whole(optimizer.state_tensors(self.optimizer, self.masters.masters))
        self.world.once(lambda: self._write(weights, memory))

    def _write(self, weights: dict[str, Tensor], memory: dict[str, Tensor]) -> None:
        tensors = {f"weights/{name}": value for name, value in weights.items()} | {f"optimizer/{k}": v for k, v in memory.items()}
        checkpoint.save(self.folder, self.progress, tensors, lambda path: self.setup.write_weights(weights, path))
        keep = self.spec.checkpoints
        others = {*self.schedule.epochs_kept, *best_steps(self.folder, keep.keep_best)}
        checkpoint.prune(self.folder, keep.keep_states, keep.keep_weights, self.progress.best_step, others)

    def _restore(self) -> None:
        """Go on from the newest whole checkpoint; lines of steps that will be made again are dropped."""
        found = checkpoint.load_latest(self.folder, self.setup.device if self.setup.sharded is None else torch.device("cpu"))
        last_step = -1
        if found is not None:
            self.progress, tensors = found
            last_step = self.finished_step = self.progress.step
            self.masters.load(self.masters.parts({k[8:]: v for k, v in tensors.items() if k.startswith("weights/")}))
            memory = self.masters.parts({k[10:]: v for k, v in tensors.items() if k.startswith("optimizer/")})
            optimizer.load_state(self.optimizer, self.masters.masters, memory)
            self.state = type(self.state).model_validate(self.progress.method_state)
            self._event("resumed", f"going on after step {self.progress.step}")
        for path in (self.folder.metrics_file, self.folder.samples_file):
            self.world.once(partial(keep_lines, path, last_step))

    def _finish(self) -> None:
        """The last certificate and validation, and the best weights back where the run stopped early.

        Raises:
            TrainingFailed: the weights are what they were before the first step.
        """
        if self.progress.step not in self.certified_steps:
            self._certify()
        if self.finished_step != self.progress.step:
            self._validate()
        self._save()
        best = self.progress.best_step
        if self.progress.stopped_early and best is not None and best != self.progress.step:
            refusals.refuse_no_gain(best, self.rate, self.progress.alarm)
            why = "the best check" if self.by_worth else "the lowest validation loss"
            self._event("restored", f"the weights of step {best} had {why} and are taken")
            self.masters.load(self._weights_of(best))
        moved = self.world.any(self.masters.fingerprint() != self.first_weights)
        refusals.refuse_unmoved(self.progress.step, moved, self.rate)

    def _weights_of(self, step: int) -> dict[str, Tensor]:
        """The weights that are for use as checkpoint `step` has them, a critic's as they are."""
        return {**self.masters.values(), **self.masters.parts(self.setup.read_weights(checkpoint.path_of(self.folder, step)))}
