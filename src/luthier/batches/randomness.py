"""Addressed randomness for torch: a generator keyed by (seed, purpose, …), so nothing depends on what was drawn before."""

import torch

from luthier.data.seeded import generator


def key(seed: int, purpose: str, *address: int) -> int:
    """A 63-bit key for one draw."""
    return int(generator(seed, purpose, *address).integers(2**63))


def torch_generator(seed: int, purpose: str, *address: int) -> torch.Generator:
    return torch.Generator().manual_seed(key(seed, purpose, *address))
