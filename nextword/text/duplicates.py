"""Exact duplicates by hash and near duplicates by MinHash (Broder, 1997) with banded LSH.

A document costs 272 bytes, however long it is. Its signature is made of a bounded number of its
windows: those with the smallest hashes, which similar documents choose alike (a bottom-k sketch,
Cohen and Kaplan, 2007).
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from nextword.text.shingles import is_dense, letters, window_hashes

PERMUTATIONS = 128  # the similarity is known to ±0.035 at 0.8
_SEED = 1
_BOTTOM = 2048  # windows of a document at most
_WIDTH, _DENSE_WIDTH = 12, 3  # letters in a window; Chinese and the like
_NEIGHBOURS = 8  # documents of one bucket that each is compared with
_PAIRS = 2**14  # compared at once


def digest(text: str) -> bytes:
    """16 bytes that only identical text shares."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def sketch(text: str) -> NDArray[np.uint16]:
    """MinHash signature, [128]: the share of equal numbers estimates the Jaccard similarity."""
    import rensa

    units = letters(text)
    if len(units) == 0:
        return np.zeros(PERMUTATIONS, np.uint16)  # nothing to compare: only exactly
    hashes = _bottom(window_hashes(units, _DENSE_WIDTH if is_dense(units) else _WIDTH))
    offsets = np.array([0, len(hashes)], np.uint64)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
        hashes.astype(np.uint64), offsets, PERMUTATIONS, _SEED
    )
    return np.array(matrix.to_rows()[0], np.uint32).astype(np.uint16)  # the low 16 bits do


def _bottom(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The smallest distinct hashes."""
    if len(hashes) > 4 * _BOTTOM:  # sort only what has a chance
        likely = hashes[hashes < np.uint32(min(2**32 - 1, 2 * _BOTTOM * 2**32 // len(hashes)))]
        smallest = np.unique(likely)
        if len(smallest) >= _BOTTOM:
            return smallest[:_BOTTOM]
    return np.unique(hashes)[:_BOTTOM]


class Duplicates:
    """Collects documents in order, then tells which repeat an earlier one.

    Signatures are cut into 32 bands of four numbers; documents that agree in one are compared.
    Of those 0.8 alike, all but one in 10 million agree somewhere; 0.4 alike, half.
    """

    def __init__(self, similarity: float = 0.8) -> None:
        self.similarity = similarity
        self._digests, self._signatures = bytearray(), bytearray()
        self._count = 0

    def add(self, digest: bytes, signature: NDArray[np.uint16] | None) -> int:
        """The index of the document; without a signature it is compared exactly only."""
        self._digests += digest
        self._signatures += (
            np.zeros(PERMUTATIONS, np.uint16) if signature is None else signature
        ).tobytes()
        self._count += 1
        return self._count - 1

    def exact(self) -> NDArray[np.int64]:
        """For each document the first with the same text: its own index if there is none before."""
        digests = np.frombuffer(self._digests, "V16")
        _, first, group = np.unique(digests, return_index=True, return_inverse=True)
        return first[group].astype(np.int64)

    def clusters(self) -> NDArray[np.int64]:
        """The same with near duplicates too, transitively: of each cluster its first document."""
        parent = self.exact()
        firsts = np.flatnonzero(parent == np.arange(self._count))
        signatures = np.frombuffer(self._signatures, np.uint16).reshape(-1, PERMUTATIONS)
        distinct = signatures[firsts]
        signed = distinct.any(axis=1)
        firsts, distinct = firsts[signed], distinct[signed]
        bands = distinct.view(np.uint64)  # [documents, bands]: the 16-bit rows of one as a number
        for keys in bands.T:
            order = np.argsort(keys, kind="stable")
            for step in range(1, _NEIGHBOURS + 1):
                meet = np.flatnonzero(keys[order[:-step]] == keys[order[step:]])
                left, right = order[meet], order[meet + step]
                apart = parent[firsts[left]] != parent[firsts[right]]
                left, right = left[apart], right[apart]
                alike = _similarity(distinct, left, right) >= self.similarity
                parent = _joined(parent, firsts[left[alike]], firsts[right[alike]])
        return parent


def _similarity(
    signatures: NDArray[np.uint16], left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Estimated Jaccard similarity of each pair."""
    shares = [
        (signatures[left[at : at + _PAIRS]] == signatures[right[at : at + _PAIRS]]).mean(axis=1)
        for at in range(0, len(left), _PAIRS)
    ]
    return np.concatenate(shares) if shares else np.empty(0)


def _joined(
    parent: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.int64]:
    """`parent` (each item's smallest cluster member) after joining the pairs' clusters."""
    while True:
        left, right = parent[left], parent[right]
        apart = left != right
        if not apart.any():
            return parent
        left, right = left[apart], right[apart]
        parent = parent.copy()
        np.minimum.at(parent, np.maximum(left, right), np.minimum(left, right))
        while not np.array_equal(parent, shorter := parent[parent]):
            parent = shorter
