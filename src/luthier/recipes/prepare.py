"""From settings to everything the loop is given: model, rows, adapter, method. Whatever is wrong with them is said here."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import torch

from luthier.batches.randomness import torch_generator
from luthier.engine.folder import RunFolder
from luthier.engine.setup import POLICY, Setup
from luthier.errors import SettingsError
from luthier.methods.base import Method, Order
from luthier.models import device as devices
from luthier.models import load as models
from luthier.models.forward import Root
from luthier.models.probe import probe
from luthier.recipes.components import cast_roles, resolve
from luthier.recipes.describe import describe, record_start
from luthier.recipes.examples import read_examples
from luthier.spec.run import RunSpec
from luthier.text.renderer import Renderer

DEFAULT_CONTEXT = 2048
"""Longest row where a model's config does not say how many positions it has."""


def prepare(
    spec: RunSpec, folder: RunFolder, say: Callable[[str], None], started: datetime, dtype: devices.DtypeChoice | None = None
) -> Setup:
    """Load and check everything a run needs.

    Args:
        say: told what happens. started: the moment that templates with a date see. dtype: what the type of the computation was when
        the run began. Both are kept when it goes on: measured again, `auto` could choose another type.
    """
    parts = resolve(spec)
    if not spec.data.train:
        raise SettingsError("`data.train` is empty. Give a file: `--data FILE`, or `data.train=FILE`.")
    if spec.train.threads:
        torch.set_num_threads(spec.train.threads)
    devices.compute_deterministically()
    devices.bound_compiled_products()
    model_folder = models.model_folder(spec.model)
    renderer = Renderer.load(model_folder, spec.model.chat_template, now=started)
    config = models.load_config(model_folder)
    models.check_vocabulary(config, renderer.tokenizer.vocab_size, model_folder)
    examples = read_examples(spec, parts.method, renderer, _max_length(spec, config), say)
    device = devices.default_device()
    text = config.get_text_config()
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    dtype = dtype or devices.choose_dtype(spec.train.dtype, text.hidden_size, inner, device)
    say(f"Loading {spec.model.path} in {str(dtype.dtype).removeprefix('torch.')}")
    model = models.load_model(model_folder, dtype.dtype, device, spec.train.dropout)
    probed = probe(model)
    adapter = parts.adapter
    generator = torch_generator(spec.train.seed, "adapter")
    adapter.module.attach(model, adapter.config, POLICY, generator, model.get_output_embeddings())
    root = Root(model, probed.packing, probed.head)
    make_roles = cast_roles(root, parts, spec)
    root.stop_ids = renderer.stops
    if spec.train.gradient_checkpointing:
        root.enable_checkpointing()
    order = Order(spec.train.batch_size, spec.train.seed, tuple(s.weight for s in spec.data.train))

    def make_method(on: Root) -> Method[Any, Any]:
        return parts.method(parts.method_config, make_roles(on), order)

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
        describe(spec, root, adapter, dtype, examples),
        record_start(spec, model_folder, root, adapter, probed, dtype, renderer, examples),
    )


def context_length(config: Any) -> int | None:
    """How many positions a model has; None where its config does not say."""
    positions: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return positions


def _max_length(spec: RunSpec, config: Any) -> int:
    context = context_length(config)
    if spec.data.max_length is None:
        return context or DEFAULT_CONTEXT
    if context is not None and spec.data.max_length > context:
        raise SettingsError(f"`data.max_length` is {spec.data.max_length}, the model's context is {context}. Give at most that.")
    return spec.data.max_length
