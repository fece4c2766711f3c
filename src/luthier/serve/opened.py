"""A model folder made ready to answer: its type of computation, its root, and raw text as its tokens. For one person or for many."""

from pathlib import Path

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel

from luthier.models import device as devices
from luthier.models import load as models
from luthier.models.forward import Root
from luthier.models.probe import Probed
from luthier.text.renderer import Renderer


def dtype_of(folder: Path, config: PretrainedConfig, device: torch.device) -> torch.dtype:
    """Of a model that no run recorded: float32 where it is saved so, for the same answers each time; else the faster."""
    if models.stored_dtype(folder) == torch.float32:
        return torch.float32
    text = config.get_text_config()
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    return devices.choose_dtype("auto", text.hidden_size, inner, device).dtype


def rooted(model: PreTrainedModel, renderer: Renderer, folder: Path, probed: Probed) -> Root:
    """Ready to draw from. Raises `ModelError` where tokenizer and model do not belong together."""
    models.check_vocabulary(model.config, renderer.tokenizer.vocab_size, folder)
    root = Root(model.eval(), probed.packing, probed.head)
    root.stop_ids = renderer.stops
    return root


def raw_ids(renderer: Renderer, text: str) -> np.ndarray:
    """(n,): a text that is to be gone on with: BOS where this model's texts begin with it, and no end token."""
    ids = renderer.document(text).ids
    eos = renderer.tokenizer.eos_id
    return ids[:-1] if eos is not None and len(ids) > 1 and ids[-1] == eos else ids
