"""Chance without a state: any place of a shuffle, or of a row of numbers, is computed at once."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROUNDS = 6
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # of splitmix64
_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def key(*parts: object) -> int:
    """64 bits that depend on all the parts, the same on every machine."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def permute(index: ArrayLike, size: int, seed: int) -> NDArray[np.int64]:
    """Where `index` [any] of 0 ... size - 1 goes: a random permutation of them, fixed by `seed`.

    A Feistel network over the next even number of bits (Luby and Rackoff, 1988); what falls
    outside goes through it again until it falls inside (Black and Rogaway, 2002), fewer than
    four times on average.
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    keys = [np.uint64(key(seed, number)) for number in range(ROUNDS)]
    place = np.atleast_1d(np.asarray(index, np.uint64)).copy()
    if place.size and int(place.max()) >= size:
        raise IndexError(f"{int(place.max())} is not below {size}")
    outside = np.ones(place.shape, np.bool_)
    while outside.any():
        place[outside] = _network(place[outside], half, keys)
        outside = place >= size
    return place.astype(np.int64).reshape(np.shape(index))


def _network(value: NDArray[np.uint64], half: int, keys: list[np.uint64]) -> NDArray[np.uint64]:
    bits, mask = np.uint64(half), np.uint64(2**half - 1)
    left, right = value >> bits, value & mask
    for round_key in keys:
        left, right = right, left ^ (_scramble(right ^ round_key) & mask)
    return (left << bits) | right


def _scramble(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The end of splitmix64 (Steele et al., 2014); products wrap around."""
    value = (value ^ (value >> np.uint64(30))) * _MIX[0]
    value = (value ^ (value >> np.uint64(27))) * _MIX[1]
    return value ^ (value >> np.uint64(31))


def uniform(keys: ArrayLike, count: int) -> NDArray[np.float64]:
    """`count` numbers from 0 to 1 for each key, [keys, count]: splitmix64 begun at that key."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GAMMA
    drawn = _scramble(np.asarray(keys, np.uint64)[:, None] + steps)
    return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53
