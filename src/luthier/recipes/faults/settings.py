"""Faults in settings that each are allowed, but surely not meant together."""

from collections.abc import Iterable, Iterator

from transformers import PretrainedConfig

from luthier.adapters import full, lora
from luthier.models import device as devices
from luthier.recipes.components import Parts
from luthier.spec.faults import found_value
from luthier.spec.finding import Finding
from luthier.spec.run import RunSpec

FAR = 5.0
"""Times the usual rate beyond which it is the other kind's: LoRA's is ten times that of full tuning."""

SLOWER = 2.0
"""Times slower from which on nobody can have meant it."""

STILL = 1e-3
"""Share of the rate below which a layer does not learn in the time that the others take."""


def of_settings(spec: RunSpec, parts: Parts) -> Iterator[Finding]:
    """What can be said from the settings alone."""
    yield from _rate(spec, parts)


def of_kinds(spec: RunSpec, kinds: Iterable[str], parts: Parts) -> Iterator[Finding]:
    """Settings that do nothing for rows of these kinds: refused like any other without effect."""
    if parts.method.learns != "everything" or set(kinds) != {"Document"}:
        return
    given = {
        "model.chat_template": (spec.model.chat_template, "no template touches raw text"),
        "data.too_long": (
            spec.data.too_long if spec.data.too_long != "refuse" else None,
            "long documents are cut into pieces that all stay",
        ),
    }
    for key, (value, why) in given.items():
        if value is not None:
            text = f"`{key}` is {found_value(value)}, which has no effect: every row is a document, and {why}. Remove it."
            yield Finding("error", "settings", text, 1, (key,))


def of_length(spec: RunSpec, total_steps: int, num_layers: int) -> Iterator[Finding]:
    """What can be said once it is known how many optimizer steps there are, and how many layers."""
    yield from _never_validated(spec, total_steps)
    yield from _patience(spec, total_steps)
    yield from _still_layers(spec, num_layers)


def of_type(spec: RunSpec, config: PretrainedConfig) -> Iterator[Finding]:
    """bf16 that was asked for, measured against fp32 at the model's own shape: without the instructions for it, it is emulated."""
    if spec.train.dtype != "bfloat16":
        return
    text = config.get_text_config()
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    for _ in range(2):  # on a busy machine one measurement may be anything
        measured = devices.choose_dtype("auto", text.hidden_size, inner, devices.default_device())
        slow, fast = measured.bfloat16_gflops or 0.0, measured.float32_gflops or 0.0
        if slow * SLOWER >= fast:
            break
    else:
        message = (
            f"`train.dtype` is bfloat16, which computes {slow:g} GFLOP/s on this machine, float32 {fast:g}. "
            f"Leave it out: `auto` takes the faster. bfloat16 still halves the memory for weights."
        )
        yield Finding("warning", "slow-type", message, 1, ("train.dtype",))


def _rate(spec: RunSpec, parts: Parts) -> Iterator[Finding]:
    """The learning rate of full tuning used for an adapter, or the reverse. Raw text is often learned from scratch, at any rate."""
    rate, usual = spec.optimizer.learning_rate, parts.adapter.module.LEARNING_RATE
    if rate is None:
        return
    whole = parts.adapter.module.WHOLE_MODEL
    other = lora.LEARNING_RATE if whole else full.LEARNING_RATE
    if whole and parts.method.learns == "answers" and rate >= FAR * usual:
        what = f"{rate / usual:,.0f} times the usual {usual:g} of `{spec.adapter.name}`"
        why = f"LoRA takes such rates ({other:g}); full tuning forgets at them what the model knew, unless it is very small"
    elif not whole and rate <= usual / FAR:
        what = f"{usual / rate:,.0f} times less than the usual {usual:g} of `{spec.adapter.name}`"
        why = f"full tuning takes such rates ({other:g}); an adapter hardly learns at them"
    else:
        return
    text = f"`optimizer.learning_rate` is {rate:g}, {what}: {why}. Leave it out for {usual:g}, or go on if it is meant."
    yield Finding("warning", "learning-rate", text, 1, ("optimizer.learning_rate",))


def _never_validated(spec: RunSpec, total_steps: int) -> Iterator[Finding]:
    every = spec.evaluation.every
    if isinstance(every, int) and every > total_steps:
        text = f"`evaluation.every` is {every:,}, but there are {total_steps:,} steps: only their beginning and end are measured."
        yield Finding("advice", "never-validated", text, 1, ("evaluation.every",))


def _patience(spec: RunSpec, total_steps: int) -> Iterator[Finding]:
    patience, every = spec.evaluation.patience, spec.evaluation.every
    if patience is not None and isinstance(every, int) and patience * every >= total_steps:
        text = (
            f"`evaluation.patience` is {patience} and `evaluation.every` {every:,}: with {total_steps:,} steps the run can't stop early. "
            f"Validate more often, or leave `evaluation.patience` out."
        )
        yield Finding("warning", "patience-without-effect", text, 1, ("evaluation.patience",))


def _still_layers(spec: RunSpec, num_layers: int) -> Iterator[Finding]:
    decay = spec.optimizer.layer_decay
    if (lowest := decay ** (num_layers - 1)) < STILL:
        text = (
            f"`optimizer.layer_decay` is {decay:g}: over {num_layers} layers the first one's rate is {lowest:.0e} of the last one's, so it "
            f"does not learn. Take a value nearer to 1, or let only the last layers learn with `adapter: freeze`."
        )
        yield Finding("warning", "still-layers", text, 1, ("optimizer.layer_decay",))
