"""Randomness is addressed, not consumed: a generator is named by seed, purpose and place, and gives the same numbers whenever asked for."""

import hashlib

import numpy as np


def key(seed: int, purpose: str, *address: int) -> int:
    """A 63-bit seed for one purpose at one place. (Not numpy's own lists of seeds: `[0]` and `[0, 0]` give the same numbers.)"""
    text = ":".join([str(seed), purpose, *map(str, address)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, purpose: str, *address: int) -> np.random.Generator:
    """A generator for one purpose at one place, such as `generator(0, "order", epoch)`. Independent of every other purpose and place."""
    return np.random.default_rng(key(seed, purpose, *address))
