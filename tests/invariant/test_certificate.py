"""Twelve known bugs put back one by one: each turns the certificate, or the second look at the text, red."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.families import ADAPTER, family, rows, with_full, with_lora

from luthier.adapters import full, lora
from luthier.adapters.routing import Routing
from luthier.batches import rows as rows_module
from luthier.batches.examples import Lot
from luthier.batches.plan import cut
from luthier.batches.streams import Segment, Stream
from luthier.engine import certificate
from luthier.engine.certificate import Certifier, Finding
from luthier.engine.trainable import Masters
from luthier.errors import TrainingFailed
from luthier.losses.logprobs import HeadSpec
from luthier.methods.base import Order, Roles
from luthier.methods.sft import SFT, Config
from luthier.models import attention, forward
from luthier.models.forward import Root
from luthier.models.probe import probe
from luthier.models.roles import PolicyModel
from luthier.recipes.run import Run
from luthier.recipes.train import train
from luthier.spec.run import RunSpec
from luthier.text import encoded
from luthier.text.sequence import Sequence

Patch = pytest.MonkeyPatch
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Bug:
    """One mutation. `model`: a family that it harms. `break_it`: puts it back into the code, or into the root."""

    name: str
    break_it: Callable[[Patch, Root], None]
    model: str = "Llama"
    tuning: str = "lora"
    checkpointing: bool = False
    changes: tuple[tuple[str, Any], ...] = ()


def certifier(bug: Bug) -> Certifier:
    """Of a tiny model with rows that share a beginning, some of which are alone, in several streams."""
    model = family(bug.model, **dict(bug.changes))
    probed = probe(model)
    assert probed.packing.tier == 1
    root = Root(model, probed.packing, probed.head)
    lot = Lot(tuple(rows()))
    if bug.tuning == "full":
        masters, role, trainable = Masters(with_full(model)), None, full.trainable
    else:
        with_lora(model, "another", seed=1)
        masters, role, trainable = Masters(with_lora(model)), ADAPTER, lora.trainable

    def make(on: Root) -> Any:
        return SFT(Config(), Roles(PolicyModel(on, role)), Order(batch_size=2 * len(lot), seed=0))

    return Certifier(root, masters, make, lambda on: trainable(on.model, ADAPTER), lot, 4096, TOLERANCE, seed=0)


def check(bug: Bug, patch: Patch, broken: bool) -> Finding:
    made = certifier(bug)
    if broken:
        bug.break_it(patch, made.root)
    if bug.checkpointing:
        made.root.enable_checkpointing()
    return made.check(0)


def stream_becomes(change: Callable[[Stream], Stream]) -> Callable[[Patch, Root], None]:
    """A bug in how streams are laid out."""

    def break_it(patch: Patch, root: Root) -> None:
        real = rows_module.build_stream
        patch.setattr(rows_module, "build_stream", lambda *args, **kwargs: change(real(*args, **kwargs)))

    return break_it


def leak(stream: Stream) -> Stream:
    """Each row also attends to the stretch before it."""
    leaking = [replace(s, reads=((b.start, b.length), *s.reads)) for b, s in zip(stream.segments, stream.segments[1:], strict=False)]
    return replace(stream, segments=(stream.segments[0], *leaking))


def restart(stream: Stream) -> Stream:
    """Positions of a branch begin at 0 instead of going on from the prompt."""
    positions = stream.position_ids.clone()
    for s in stream.segments:
        positions[:, s.start : s.start + s.length] = torch.arange(s.length)
    return replace(stream, position_ids=positions)


def drop_token(stream: Stream) -> Stream:
    """The last scored token of each stream is lost."""
    names = ("read_at", "targets", "weights", "token_row", "token_sequence")
    return replace(stream, **{name: getattr(stream, name)[:-1] for name in names})


def contaminate(stream: Stream) -> Stream:
    """One long row, as a packed batch without a mask."""
    tokens = stream.num_tokens
    return replace(stream, segments=(Segment(0, tokens),), position_ids=torch.arange(tokens)[None])


def divide_per_micro_batch(patch: Patch, root: Root) -> None:
    """An average of the micro-batches' averages."""
    real = certificate.accumulate

    def accumulate(method: Any, lot: Lot, budget: int, packing: Any, *rest: Any) -> None:
        micros = cut(lot.examples, budget, packing)
        assert len(micros) > 1
        method.coefficients = lambda: {"loss": 1 / len(micros)}
        for micro in micros:
            real(method, lot.take(micro.index), 10**9, packing, *rest)

    patch.setattr(certificate, "accumulate", accumulate)


def halve_last_window(patch: Patch, root: Root) -> None:
    """A window with fewer rows than a batch is divided by those of a whole one."""
    real = certificate.accumulate

    def accumulate(method: Any, lot: Lot, *rest: Any) -> None:
        method.coefficients = lambda: {"loss": len(lot) / method.order.batch_size}
        real(method, lot, *rest)

    patch.setattr(certificate, "accumulate", accumulate)


def recompute_under_another_adapter(patch: Patch, root: Root) -> None:
    """What state in the modules did: the adapter that was set last."""
    real = forward._again
    patch.setattr(forward, "_again", lambda model, function, routing: real(model, function, Routing("another")))


def attention_without(position: int) -> Callable[[Patch, Root], None]:
    """The attention function swallows one of its arguments."""

    def break_it(patch: Patch, root: Root) -> None:
        real = attention.SegmentAttention

        class Swallowing:
            @staticmethod
            def apply(*arguments: Any) -> torch.Tensor:
                assert arguments[position] is not None, "this model has it"
                return real.apply(*arguments[:position], None, *arguments[position + 1 :])

        patch.setattr(attention, "SegmentAttention", Swallowing)

    return break_it


def head_without_cap(patch: Patch, root: Root) -> None:
    assert root.head is not None and root.head.softcap is not None
    root.head = HeadSpec(root.head.scale)


def forget_tied_weight(patch: Patch, root: Root) -> None:
    """The head's part of the gradient of embeddings that are also the head."""
    real = forward.linear_logprobs

    def without_weight(hidden: torch.Tensor, weight: torch.Tensor, *rest: Any, **more: Any) -> Any:
        return real(hidden, weight.detach(), *rest, **more)

    patch.setattr(forward, "linear_logprobs", without_weight)


SINKS, SOFTCAP = 3, 7
"""Where `SegmentAttention.apply` takes them."""

BUGS = [
    Bug("leak between rows", stream_becomes(leak)),
    Bug("positions not going on from the prompt", stream_becomes(restart)),
    Bug("a dropped token", stream_becomes(drop_token)),
    Bug("accumulation divided per micro-batch (transformers#34191)", divide_per_micro_batch),
    Bug("half of the last window (ms-swift#10084)", halve_last_window),
    Bug("packing contamination (trl#1230)", stream_becomes(contaminate)),
    Bug("wrong adapter in the recomputation", recompute_under_another_adapter, checkpointing=True),
    Bug("sinks ignored", attention_without(SINKS), model="gpt-oss"),
    Bug("soft-cap of attention ignored", attention_without(SOFTCAP), model="Gemma2"),
    Bug("soft-cap of logits ignored", head_without_cap, model="Gemma2"),
    Bug("tied-weight gradient lost", forget_tied_weight, tuning="full", changes=(("tie_word_embeddings", True),)),
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_certificate_is_red_with_the_bug_and_green_without(bug: Bug, monkeypatch: Patch):
    right = check(bug, monkeypatch, broken=False)
    assert right.passed
    assert right.fp32 is not None and right.fp32 < TOLERANCE
    wrong = check(bug, monkeypatch, broken=True)
    assert not wrong.passed
    assert wrong.fp32 is not None and wrong.fp32 > 100 * TOLERANCE


def test_in_bf16_it_is_red_too(monkeypatch: Patch):
    """The fp32 copy is compared as well, and the run's type against twice the noise measured in the same place."""
    for broken in (False, True):
        again = in_bf16()
        if broken:
            BUGS[0].break_it(monkeypatch, again.root)
        finding = again.check(0)
        assert finding.passed is not broken
        assert finding.fp32 is not None and finding.run_dtype is not None and finding.noise is not None
        assert (finding.run_dtype > 2 * finding.noise) is broken


def test_it_leaves_the_run_as_it_was():
    made = certifier(BUGS[6])
    made.root.train()
    before = {name: value.clone() for name, value in made.masters.values().items()}
    made.check(3)
    assert all(torch.equal(value, before[name]) for name, value in made.masters.values().items())
    assert all(float(gradient.abs().sum()) == 0 for gradient in made.masters.gradients().values())
    assert all(module.training for module in made.root.modules())


def in_bf16() -> Certifier:
    made = certifier(BUGS[0])
    root = made.root.to(torch.bfloat16)
    return Certifier(root, Masters(lora.trainable(root.model, ADAPTER)), made.make, made.trainable, made.lot, 4096, TOLERANCE, 0)


def test_weights_that_were_fp32_for_a_while_are_what_they_were():
    made = in_bf16()
    before = {name: value.clone() for name, value in made.root.state_dict().items()}
    assert made.check(0).passed
    after = made.root.state_dict()
    assert all(after[name].dtype == value.dtype and torch.equal(after[name], value) for name, value in before.items())


def test_without_room_for_fp32_it_looks_at_the_first_and_last_layers(monkeypatch: Patch):
    """Memory ends in the first wider gradient; the second try computes on a short copy."""
    made, tries = in_bf16(), []

    def tight(root: forward.Root, masters: Masters, dtype: torch.dtype) -> Any:
        tries.append(root is made.root)
        if root is made.root:
            raise torch.OutOfMemoryError("no room")
        return real(root, masters, dtype)

    real = made._in_type
    monkeypatch.setattr(made, "_in_type", tight)
    finding = made.check(0)
    assert tries == [True, False]
    assert finding.passed and finding.layers == "first and last 2"


def run(model: Path, data: Path, out: Path) -> Run:
    settings = {"train": {"max_steps": 2, "batch_size": 4, "dtype": "float32"}, "evaluation": {"prompts": ()}, "out": str(out)}
    return train(RunSpec.model_validate({"model": str(model), "data": {"train": str(data)}, **settings}))


def test_a_run_with_a_red_certificate_has_failed(toy_folder: Path, toy_rows: Path, tmp_path: Path, monkeypatch: Patch):
    stream_becomes(contaminate)(monkeypatch, None)  # type: ignore[arg-type]
    with pytest.raises(TrainingFailed, match="The certificate failed at step 0"):
        run(toy_folder, toy_rows, tmp_path / "run")
    record = Run(tmp_path / "run").record
    assert record["status"] == "failed"
    assert "The certificate failed" in record["reason"]
    assert [finding["passed"] for finding in record["certificate"]] == [False]
    assert not (tmp_path / "run/adapter").exists()


@pytest.mark.parametrize(
    "name, change",
    [
        ("mask off by one", lambda ids, weights: np.r_[weights[1:], 0]),
        ("pad = eos masking", lambda ids, weights: np.where(ids == 257, 0, weights)),
    ],
)
def test_a_run_that_would_learn_something_else_has_not_begun(
    name: str, change: Callable[..., Any], toy_folder: Path, toy_rows: Path, tmp_path: Path, monkeypatch: Patch
):
    """Ids and weights are the certificate's truth, so these two are seen where the text is held against them."""
    real = encoded._weighted

    def weighted(*arguments: Any, **more: Any) -> Sequence:
        sequence = real(*arguments, **more)
        return Sequence(sequence.ids, change(sequence.ids, sequence.weights).astype(np.float32))

    monkeypatch.setattr(encoded, "_weighted", weighted)
    with pytest.raises(TrainingFailed, match=r"counting\.jsonl:1: the (last token before|token that ends)"):
        run(toy_folder, toy_rows, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_badly_conditioned_weights_are_no_alarm() -> None:
    """Weights ten times as large round worse, the naive computation too: that is measured, and said."""
    made = certifier(Bug("none", lambda patch, root: None))
    with torch.no_grad():
        for parameter in made.root.model.parameters():
            parameter.mul_(10)
    made.tolerance = 1e-9
    finding = made.check(0)
    assert finding.passed and finding.fp32_noise is not None and 1e-9 < finding.fp32 <= 2 * finding.fp32_noise
