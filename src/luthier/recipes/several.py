"""What several processes can train, and what they cannot: refused in a sentence."""

from collections.abc import Iterable
from typing import Any

from luthier.batches.examples import Example
from luthier.errors import ModelError, SettingsError
from luthier.models.estimate import NUM_EXPERTS
from luthier.models.forward import Root
from luthier.models.world import World
from luthier.recipes.components import resolve
from luthier.spec.paths import shown
from luthier.spec.run import RunSpec

HELD = {
    True: "each holds a part of weights, gradients and optimizer state",
    False: "each holds the whole base; gradients of the adapter are added up",
}
"""Whether weights lie in parts → how, in words."""


def tell_of(world: World, divided: bool, about: dict[str, str], record: dict[str, Any]) -> None:
    """Into what console and record say of a run: how many processes there are, and whether weights lie in parts."""
    about["processes"] = f"{world.size} ({world.backend}), {HELD[divided]}"
    record["machine"]["processes"] = world.size
    record["processes"] = {"number": world.size, "backend": world.backend, "weights": HELD[divided]}


def of_several(spec: RunSpec, processes: int) -> str:
    """What so many processes change in a plan.

    Raises:
        SettingsError: they cannot train it.
    """
    refuse_several(spec, processes)
    if resolve(spec).adapter.module.WHOLE_MODEL:
        return (
            f"memory is that of one process alone. Of {processes}, each holds 1/{processes} of weights, gradients and optimizer state, and "
            f"whole layers one after the other; the first puts the whole model together for certificates, samples and the result"
        )
    return (
        f"memory is that of one process. Each of {processes} holds as much: the whole base, and the adapter, whose gradients are added up"
    )


def refuse_several(spec: RunSpec, processes: int) -> None:
    """Before anything is loaded.

    Raises:
        SettingsError: a method that draws answers while every weight learns.
    """
    parts = resolve(spec)
    if processes > 1 and parts.method.on_policy and parts.adapter.module.WHOLE_MODEL:
        raise SettingsError(
            f"`{shown(spec.method.name)}` draws answers from weights that several processes hold in parts with "
            f"`adapter: {spec.adapter.name}`, which is not supported. Use `adapter: lora`, or one process."
        )


def refuse_uneven(root: Root, examples: Iterable[Example]) -> None:
    """Where weights lie in parts, all processes must call the layers equally often.

    Raises:
        ModelError: this model does not, on these rows.
    """
    text, packing = root.model.config.get_text_config(), root.packing
    even = packing.tier < 3 and not packing.thresholds and packing.apart_beyond is None and packing.max_tokens is None
    apart_experts = any(getattr(text, name, None) for name in NUM_EXPERTS) and all(p.ndim < 3 for p in root.model.parameters())
    if apart_experts or not (even or not any(map(packing.apart, examples))):
        why = "each of its experts is a layer of its own" if apart_experts else "some of these rows each need a forward of their own"
        raise ModelError(
            f"Every weight of this model cannot learn in several processes: {why}, and the processes would wait for each other for ever. "
            f"Use `adapter: lora`, or one process."
        )
