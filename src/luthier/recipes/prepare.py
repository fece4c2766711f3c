"""From settings to everything the loop is given: model, rows, adapter, method. Whatever is wrong with them is said here."""

from collections.abc import Callable
from datetime import datetime
from itertools import chain
from typing import Any

import msgspec
import torch

from luthier.batches.randomness import torch_generator
from luthier.engine.folder import RunFolder
from luthier.engine.report import Progress, untold
from luthier.engine.setup import POLICY, Setup
from luthier.engine.sharding import Sharded
from luthier.methods.base import Method, Order
from luthier.models import device as devices
from luthier.models import load as models
from luthier.models.finite import refuse_not_finite
from luthier.models.forward import Root
from luthier.models.probe import probe
from luthier.models.world import ALONE, World
from luthier.recipes.components import cast_roles, held_to
from luthier.recipes.describe import describe, record_start
from luthier.recipes.preflight import lay_grounds
from luthier.recipes.several import refuse_several, refuse_uneven, tell_of
from luthier.spec.paths import shown
from luthier.spec.run import RunSpec


def prepare(
    spec: RunSpec,
    folder: RunFolder,
    say: Callable[[str], None],
    started: datetime,
    dtype: devices.DtypeChoice | None = None,
    progress: Progress = untold,
    world: World = ALONE,
) -> Setup:
    """Load and check everything a run needs.

    Args:
        say: told what happens. started: the moment that templates with a date see. dtype: what the type of the computation was when
        the run began. Both are kept when it goes on: measured again, `auto` could choose another type. progress: of encoding.
    """
    if spec.train.threads:
        torch.set_num_threads(spec.train.threads)
    device = devices.default_device()
    budget = devices.token_budget(spec.train.token_budget, device)
    devices.compute_deterministically()
    devices.bound_compiled_products()
    refuse_several(spec, world.size)
    grounds = world.first(lambda: lay_grounds(spec, started, say, progress))
    parts, adapter, renderer = grounds.parts, grounds.parts.adapter, grounds.renderer
    examples, judge, model_folder = grounds.examples, grounds.judge, grounds.model_folder
    text = grounds.config.get_text_config()
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    dtype = dtype or world.once(lambda: devices.choose_dtype(spec.train.dtype, text.hidden_size, inner, device))
    say(f"Loading {shown(spec.model.path)} in {str(dtype.dtype).removeprefix('torch.')}")
    held_before = devices.held_bytes(device)
    model = models.load_model(model_folder, dtype.dtype, device, spec.train.dropout, examples.record["notes"].append)
    refuse_not_finite(model, model_folder)
    probed = world.once(lambda: probe(model))
    generator = torch_generator(spec.train.seed, "adapter")
    adapter.module.attach(model, adapter.config, POLICY, generator, model.get_output_embeddings())
    if adapter.start is not None:
        adapter.module.begin(model, adapter.config, POLICY)
    root = Root(model, probed.packing, probed.head)
    if judge is not None:
        judge.on(root, model_folder, frozen_base=not adapter.module.WHOLE_MODEL)
    divided = adapter.module.WHOLE_MODEL and world.size > 1
    if divided:
        refuse_uneven(root, chain(examples.train, examples.validation))
    divide = (lambda on: Sharded(on, world)) if divided else (lambda _: None)
    masks = held_to(parts.method_config, renderer.tokenizer, int(root.output.weight.shape[0]))
    make_roles = cast_roles(root, parts, spec, budget, judge, world, divide, masks)
    root.stop_ids, root.special_ids = renderer.stops, renderer.tokenizer.special_ids
    if spec.train.gradient_checkpointing:
        root.enable_checkpointing()
    about = describe(spec, root, adapter, dtype, examples)
    record = record_start(spec, model_folder, root, adapter, probed, dtype, renderer, examples)
    sharded = Sharded(root, world) if divided else None
    if world.size > 1:
        tell_of(world, divided, about, record)
    order = Order(spec.train.batch_size, spec.train.seed, tuple(s.weight for s in spec.data.train))

    def make_method(on: Root) -> Method[Any, Any]:
        method = parts.method(parts.method_config, make_roles(on), order)
        method.look(examples.train)
        return method

    return Setup(
        spec,
        folder,
        model_folder,
        root,
        adapter,
        make_method,
        renderer,
        examples.train,
        examples.validation,
        examples.names,
        device,
        dtype,
        budget,
        about,
        {**record, "preflight": msgspec.to_builtins(grounds.findings), "memory_before_model_bytes": held_before},
        world,
        sharded,
    )
