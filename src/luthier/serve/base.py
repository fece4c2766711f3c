"""`Base`: a model in memory with whatever is needed to answer with it and with the adapters on it."""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from luthier.models import device as devices
from luthier.models import load as models
from luthier.models.constraint import Grammars
from luthier.models.forward import Root
from luthier.models.probe import Probed, probe
from luthier.models.sample import Sampler
from luthier.serve.adapters import Adapters
from luthier.serve.limits import Limits
from luthier.serve.opened import dtype_of, rooted
from luthier.serve.refused import Refused
from luthier.serve.spelling import Spelling
from luthier.text.folder import DEFAULT_CONTEXT, context_length
from luthier.text.renderer import Renderer

KEPT_TOKENS = 16_384
"""Of earlier prompts and answers, for later ones that begin alike; at most a quarter of the budget."""

MOST_TEMPLATES = 32
"""Templates, with their arguments, that are kept compiled."""

UNBOUNDED = 2**60


class Base:
    """`token_budget`: tokens whose keys and values are held at once. What the model computes is for the drawing thread alone."""

    def __init__(self, folder: Path, root: Root, renderer: Renderer, probed: Probed, limits: Limits) -> None:
        self.folder, self.root, self.renderer, self.probed = folder, root, renderer, probed
        self.context = context_length(folder) or DEFAULT_CONTEXT
        self.num_bytes = sum(p.nbytes for p in root.model.parameters())
        self.token_budget = max(self.context, limits.cache_bytes // bytes_per_token(root))
        self.max_sequences, self.unnamed_tokens = limits.max_sequences, limits.unnamed_tokens
        self.adapters = Adapters(root.model, limits.adapter_bytes)
        kept = min(KEPT_TOKENS, self.token_budget // 4)
        # Who is let in is decided before: the sampler's own line stays empty.
        self.sampler = Sampler(root, renderer.tokenizer.stream, limits.max_sequences, UNBOUNDED, kept)
        self._renderers: dict[str, Renderer] = {}

    @property
    def dtype(self) -> str:
        return str(self.root.model.dtype).removeprefix("torch.")

    @property
    def vocabulary(self) -> int:
        """The width of its logits."""
        return int(self.root.model.config.get_text_config().vocab_size)

    def renderer_of(self, chat_template: str | None, arguments: Mapping[str, Any]) -> Renderer:
        """With another template than the base's own, or with arguments for it. Raises `TemplateError`."""
        if chat_template is None and not arguments:
            return self.renderer
        key = json.dumps([chat_template, arguments], sort_keys=True, default=str)
        if key not in self._renderers:
            while len(self._renderers) >= MOST_TEMPLATES:
                del self._renderers[next(iter(self._renderers))]
            self._renderers[key] = Renderer.load(self.folder, chat_template, arguments=arguments)
        return self._renderers[key]

    @cached_property
    def grammars(self) -> Grammars:
        """Raises `SettingsError` where answers of this model cannot be held to a grammar."""
        return Grammars(self.renderer.tokenizer, int(self.root.output.weight.shape[0]))

    @cached_property
    def spelling(self) -> Spelling:
        return Spelling(self.renderer.tokenizer)


def size_up(folder: Path) -> tuple[torch.dtype, int]:
    """The type that the model in `folder` will compute in, and the bytes of its weights. Raises `ModelError` where it cannot be loaded."""
    config = models.load_config(folder)
    stored, dtype = models.stored_dtype(folder), dtype_of(folder, config, devices.default_device())
    return dtype, sum(path.stat().st_size for path in folder.glob("*.safetensors")) * dtype.itemsize // stored.itemsize


def load_base(folder: Path, dtype: torch.dtype, limits: Limits) -> Base:
    """The model in `folder`, once its probe was passed.

    Raises:
        ModelError, TemplateError: it cannot be loaded. Refused: drawn tokens would not be those of the model's own forward.
    """
    renderer = Renderer.load(folder)
    model = models.load_model(folder, dtype, devices.default_device()).requires_grad_(False)
    probed = probe(model)
    if not probed.packing.draws:
        raise Refused(
            "internal",
            f"{folder} is not served: answers drawn token by token would not be those that it was trained to give ({probed.reason}).",
        )
    return Base(folder, rooted(model, renderer, folder, probed), renderer, probed, limits)


def bytes_per_token(root: Root) -> int:
    """Of keys and values of one token, over all layers."""
    text = root.model.config.get_text_config()
    heads = getattr(text, "num_attention_heads", 1)
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    readers = getattr(text, "num_key_value_heads", None) or heads
    return int(2 * text.num_hidden_layers * readers * width * root.model.dtype.itemsize)
