"""Many texts at once → hashes of their words, in numpy: a word at a time would take three times as long."""

from collections.abc import Sequence

import numpy as np

SPACES = np.isin(np.arange(256), list(b" \t\n\v\f\r"))
WIDE = (np.arange(256) >= 0xE3) & (np.arange(256) <= 0xE9)
"""First bytes, in UTF-8, of Chinese and Japanese characters. There are no spaces between them: each is taken for a word."""

POSITIONS = 1024
"""Bytes of a word after which its hash repeats factors; no word is that long."""
FACTORS = np.random.default_rng(1).integers(0, 2**64, POSITIONS, dtype=np.uint64) | np.uint64(1)


def hashed(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of all words, (m,) uint64, and where those of each text begin and end, (n + 1,). `texts`: UTF-8."""
    data = np.frombuffer(b"\n".join(texts) + b"\n\n", dtype=np.uint8)
    space, wide = SPACES[data], WIDE[data]
    starts = ~space
    starts[1:] &= space[:-1] | wide[1:] | np.concatenate([[False, False], wide[:-3]])
    begins = np.flatnonzero(starts)
    places = np.arange(len(data), dtype=np.int32)
    within = places - np.maximum.accumulate(np.where(starts, places, 0))
    terms = (data + np.uint64(1)) * FACTORS[within & (POSITIONS - 1)]
    terms[space] = 0
    hashes = mixed(np.add.reduceat(terms, begins)) if len(begins) else np.zeros(0, dtype=np.uint64)
    ends = np.cumsum([len(text) + 1 for text in texts])
    return hashes, np.concatenate([[0], np.searchsorted(begins, ends)])


def neighbours(hashes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """A hash of each word with the next of its text, (m,) uint64; the last word of a text stands with its end."""
    following = np.append(hashes[1:], np.uint64(0))
    following[offsets[1:][offsets[1:] > offsets[:-1]] - 1] = 0
    return mixed(hashes * np.uint64(3) + following)


def mixed(hashes: np.ndarray) -> np.ndarray:
    """The same with every bit depending on every other. (The end of splitmix64: Steele, Lea, Flood, 2014.)"""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: np.ndarray = hashes ^ (hashes >> np.uint64(31))
    return found
