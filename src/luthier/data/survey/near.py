"""Near duplicates: rows that share most of their words, found by MinHash and locality-sensitive hashing.

Two rows are near where the Jaccard similarity of their sets of words, estimated from 64 hashes each, is at least 0.8, and their words
stand in about the same order: the similarity of their sets of neighbouring words, estimated from 32 hashes, is at least 0.4. (Exchanging
one word of twelve leaves 0.85 and 0.69; few words in ever other orders, as in sums, keep nothing of the second.) Rows are compared where
one of 10 bands of 6 hashes is the same in both, which happens to a pair of similarity s with probability 1 - (1 - s⁶)¹⁰: 95 % at 0.8,
99.7 % at 0.87, 15 % at 0.5. (A. Broder, On the resemblance and containment of documents, 1997; Leskovec, Rajaraman, Ullman: Mining of
Massive Datasets, chapter 3.)
"""

import numpy as np
from rensa import RMinHash

from luthier.data.survey.columns import runs
from luthier.data.survey.words import hashed, neighbours

HASHES, BANDS, BAND, ORDER_HASHES = 64, 10, 6, 32
SIMILAR, ORDERED = 0.8, 0.4
TEXTS, BYTES = 2048, 1 << 20
"""Texts, and about so many bytes, that are hashed at once."""
LONGEST = 1 << 18
"""Characters of a text that are compared: its beginning."""
SEED = 1
FEW_WORDS = 8
"""Texts of fewer words are left out: of so few, one word more or less is a different text."""


class Signatures:
    """384 bytes a text: hashes of its words, then of its neighbouring words."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._long: list[np.ndarray] = []
        self._waiting: list[bytes] = []
        self._bytes = 0

    def add(self, text: str) -> None:
        data = text[:LONGEST].encode()
        self._waiting.append(data)
        self._bytes += len(data)
        if len(self._waiting) == TEXTS or self._bytes > BYTES:
            self._hash()

    def _hash(self) -> None:
        words, offsets = hashed(self._waiting)
        of_words, of_order = (
            RMinHash.digest_matrix_from_flat_token_hashes(tokens, offsets.astype(np.uint64), num_perm=number, seed=SEED).to_rows()
            for tokens, number in ((words, HASHES), (neighbours(words, offsets), ORDER_HASHES))
        )
        self._parts.append(np.concatenate([np.array(rows, dtype=np.uint32) for rows in (of_words, of_order)], axis=1))
        self._long.append(np.diff(offsets) >= FEW_WORDS)
        self._waiting, self._bytes = [], 0

    def matrix(self) -> tuple[np.ndarray, np.ndarray]:
        """(n, 96) uint32, and (n,) bool: which texts are long enough to be compared. To be called once: the parts are given up."""
        if self._waiting:
            self._hash()
        found = np.empty((sum(map(len, self._parts)), HASHES + ORDER_HASHES), dtype=np.uint32)
        at = 0
        self._parts.reverse()
        while self._parts:
            part = self._parts.pop()
            found[at : at + len(part)] = part
            at += len(part)
        return found, np.concatenate([np.zeros(0, dtype=bool), *self._long])


def similar(signatures: np.ndarray, compared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texts that are near an earlier one, ascending, and the earliest found. Both (m,) int64. Only texts of `compared` are looked at."""
    nearest = np.arange(len(signatures))
    rows = np.flatnonzero(compared)
    for band in range(0, BANDS * BAND, BAND):
        keys = _folded(signatures[:, band : band + BAND])[rows]
        order = np.argsort(keys, kind="stable")
        starts, ends = runs(keys[order])
        first = np.repeat(starts, ends - starts)
        again = first != np.arange(len(order))
        later, earlier = rows[order[again]], rows[order[first[again]]]
        near = _agree(signatures, later, earlier)
        np.minimum.at(nearest, later[near], earlier[near])
    found = np.flatnonzero(nearest != np.arange(len(signatures)))
    return found, nearest[found]


def _folded(band: np.ndarray) -> np.ndarray:
    """(n,) uint64 from (n, k) uint32: FNV-1a over the hashes."""
    keys = np.full(len(band), 0xCBF29CE484222325, dtype=np.uint64)
    for column in band.T:
        keys ^= column
        keys *= np.uint64(0x100000001B3)
    return keys


def _agree(signatures: np.ndarray, a: np.ndarray, b: np.ndarray, chunk: int = 1 << 16) -> np.ndarray:
    """(m,) bool. The share of hashes that are the same is an unbiased estimate of the Jaccard similarity."""
    near = np.empty(len(a), dtype=bool)
    for start in range(0, len(a), chunk):
        part = slice(start, start + chunk)
        same = signatures[a[part]] == signatures[b[part]]
        near[part] = (same[:, :HASHES].mean(axis=1) >= SIMILAR) & (same[:, HASHES:].mean(axis=1) >= ORDERED)
    return near
