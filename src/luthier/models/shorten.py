"""A copy of a large model with its first and last layers only, to compute on where a whole copy does not fit."""

import copy

from torch import nn

from luthier.adapters import blocks
from luthier.models.forward import Root

ENDS = 2
"""Layers kept at each end."""


def shortened(root: Root) -> Root:
    """A deep copy of `root` with its first and last `ENDS` layers; the whole where it has no more than those. `root` is not changed."""
    text = root.model.config.get_text_config()
    total = text.num_hidden_layers
    if total <= 2 * ENDS:
        return copy.deepcopy(root)
    path = blocks.find(root.model, total)
    parent = root.model.get_submodule(path.rpartition(".")[0])
    name = path.rpartition(".")[2]
    whole = getattr(parent, name)
    keep = [*range(ENDS), *range(total - ENDS, total)]
    lists = {key: value for key, value in vars(text).items() if isinstance(value, list) and len(value) == total}
    try:  # for the moment of the copy the model itself is short, so that nothing else is copied
        setattr(parent, name, nn.ModuleList(whole[i] for i in keep))
        text.num_hidden_layers = len(keep)
        for key, value in lists.items():
            setattr(text, key, [value[i] for i in keep])
        return copy.deepcopy(root)
    finally:
        setattr(parent, name, whole)
        text.num_hidden_layers = total
        for key, value in lists.items():
            setattr(text, key, value)
