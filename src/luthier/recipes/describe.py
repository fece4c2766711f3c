"""What is known about a run before its first step: for the console in words, for the record in figures."""

import hashlib
from pathlib import Path
from typing import Any

from luthier.engine.checkpoint import sha256
from luthier.engine.setup import AdapterChoice
from luthier.models import device as devices
from luthier.models.forward import Root
from luthier.models.probe import Probed
from luthier.recipes.examples import RunExamples
from luthier.recipes.versions import versions
from luthier.spec.paths import shown
from luthier.spec.run import RunSpec
from luthier.text.renderer import Renderer

TIERS = {1: "streams, shared beginnings computed once", 2: "streams without sharing", 3: "one row a forward"}


def _counts(root: Root, adapter: AdapterChoice) -> tuple[int, int]:
    """Parameters, and those that learn."""
    return sum(p.numel() for p in root.model.parameters()), sum(p.numel() for p in adapter.trainable(root).values())


def describe(spec: RunSpec, root: Root, adapter: AdapterChoice, dtype: devices.DtypeChoice, examples: RunExamples) -> dict[str, str]:
    """A few lines about the run, label → text."""
    everything, learning = _counts(root, adapter)
    counts = examples.record["train_counts"]
    measured = f" (bf16 {dtype.bfloat16_gflops:g}, fp32 {dtype.float32_gflops:g} GFLOP/s here)" if dtype.bfloat16_gflops else ""
    return {
        "model": f"{shown(spec.model.path)}, {everything:,} parameters, {learning:,} learn ({learning / everything:.1%})",
        "method": f"{shown(spec.method.name)} with {shown(spec.adapter.name)}",
        "data": f"{counts['examples']:,} examples, {counts['tokens']:,} tokens, {counts['trained_tokens']:,} learned",
        "validation": f"{len(examples.validation):,} examples" if examples.validation else "none",
        "rows": f"tier {root.packing.tier}: {TIERS[root.packing.tier]}",
        "type": str(dtype.dtype).removeprefix("torch.") + measured,
    }


def record_start(
    spec: RunSpec,
    model_folder: Path,
    root: Root,
    adapter: AdapterChoice,
    probed: Probed,
    dtype: devices.DtypeChoice,
    renderer: Renderer,
    examples: RunExamples,
) -> dict[str, Any]:
    """The part of `record.json` that is known at the start."""
    everything, learning = _counts(root, adapter)
    examples.record["notes"] += left_out(root, adapter)
    return {
        "model": {
            "path": spec.model.path,
            "revision": spec.model.revision,
            "fingerprint": fingerprint(model_folder),
            "num_parameters": everything,
            "num_trainable": learning,
            **({} if adapter.start is None else {"start": sha256(Path(adapter.start) / adapter.module.WEIGHTS)}),
        },
        "data": examples.record,
        "renderer": renderer.fingerprint,
        "packing": {
            "tier": probed.packing.tier,
            "reason": probed.reason,
            "thresholds": list(probed.packing.thresholds),
            "apart_beyond": probed.packing.apart_beyond,
            "max_tokens": probed.packing.max_tokens,
            "head": "plain logits" if probed.head is None else f"scale {probed.head.scale:g}, cap {probed.head.softcap}",
        },
        "dtype": {
            "chosen": str(dtype.dtype).removeprefix("torch."),
            "bfloat16_gflops": dtype.bfloat16_gflops,
            "float32_gflops": dtype.float32_gflops,
        },
        "machine": devices.machine(),
        "versions": versions(),
    }


def left_out(root: Root, adapter: AdapterChoice) -> list[str]:
    """What this run does not train although one might think so, as sentences."""
    learning = {id(p) for p in adapter.trainable(root).values()}
    experts = [p for p in root.model.parameters() if p.ndim == 3 and id(p) not in learning]
    sentences = []
    if experts and not adapter.module.WHOLE_MODEL:
        size = sum(p.numel() for p in experts)
        sentences.append(f"The experts' weights ({size:,} parameters) are no linear layers: `{adapter.name}` leaves them as they are.")
    if getattr(root.model.config.get_text_config(), "router_aux_loss_coef", None):
        sentences.append("The loss that balances the load of experts is not added: it is no sum over rows, so it cannot be exact.")
    return sentences


def fingerprint(model_folder: Path) -> str:
    """SHA-256 over the hashes of a model's config and weights."""
    files = [model_folder / "config.json", *sorted(model_folder.glob("*.safetensors"))]
    return hashlib.sha256("".join(sha256(path) for path in files).encode()).hexdigest()
