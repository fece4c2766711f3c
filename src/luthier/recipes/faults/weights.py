"""Faults in which weights learn, found on a model of shapes alone: nothing is read, nothing takes memory."""

import torch
from torch import nn
from transformers import PretrainedConfig

from luthier.engine.setup import POLICY, AdapterChoice
from luthier.errors import SettingsError
from luthier.models.skeleton import skeleton


def refuse_misfit(adapter: AdapterChoice, config: PretrainedConfig) -> None:
    """Attach the adapter to the model's shapes.

    Raises:
        SettingsError: it fits nothing of this model, or nothing would learn.
    """
    model = _shapes(config)
    if model is None:
        return
    adapter.module.attach(model, adapter.config, POLICY, torch.Generator(), model.get_output_embeddings())  # type: ignore[operator]
    if not adapter.module.trainable(model, POLICY):
        raise SettingsError(f"`adapter`: with these settings `{adapter.name}` lets no weight of this model learn.")


def _shapes(config: PretrainedConfig) -> nn.Module | None:
    """The model without weights; None for a family that computes something while it is made, which shapes can't: its adapter is checked
    when the model is loaded."""
    try:
        return skeleton(config, torch.float32)
    except (NotImplementedError, RuntimeError):
        return None
