"""Weights that are numbers: a model with NaN in it makes every loss NaN, and nobody would know from which file that comes."""

from pathlib import Path

import torch
from torch import nn

from luthier.errors import ModelError


def refuse_not_finite(model: nn.Module, folder: Path) -> None:
    """Look at every weight, once.

    Raises:
        ModelError: naming the first tensor that holds NaN or infinity.
    """
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter.detach().sum(dtype=torch.float32)):
            number = int((~torch.isfinite(parameter.detach())).sum())
            if number:
                raise ModelError(
                    f"{folder}: {number:,} numbers of {name} are NaN or infinite, so whatever is computed with them is. "
                    f"The file is damaged, or was saved from a run that failed: copy or download it again."
                )
