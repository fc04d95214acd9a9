"""Where a sequence of ids stands in a long one: binary search over its sorted suffixes (Manber and
Myers 1990), which libdivsufsort sorts (Mori 2005)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[Any]
COUNTED_AT_ONCE = 1 << 20
FEW = 16  # ids compared one by one; more are faster as arrays


def sort_suffixes(tokens: Tokens) -> NDArray[Any]:
    """Return the places of a sequence in the order of what follows them, int32 [tokens], int64 from
    2³¹ bytes on. Takes about 20 bytes of memory a token of two bytes, 40 a token of four."""
    from pydivsufsort import divsufsort

    if len(tokens) == 0:
        return np.empty(0, np.int32)
    places: NDArray[Any] = divsufsort(np.ascontiguousarray(tokens))
    return places


@dataclass(frozen=True)
class SuffixArray:
    """A sequence and its sorted suffixes, both [tokens]. The suffixes that begin with id i are
    those from `firsts[i]` to `firsts[i + 1]`."""

    tokens: Tokens
    suffixes: NDArray[Any]
    firsts: NDArray[np.int64]  # [vocabulary + 1]

    def longest_match(self, query: list[int], start: int = 0) -> int:
        """Return how many ids of a query, from `start` on, stand somewhere in the sequence."""
        low, high = self._first(query[start])
        if low == high:
            return 0
        place = self._search(query, start, low, high, after=False)
        # The longest match stands beside where the query would be sorted in.
        beside = (at for at in (place - 1, place) if low <= at < high)
        return max(self._common(query, start, int(self.suffixes[at]), 1)[0] for at in beside)

    def occurrences(self, query: list[int]) -> NDArray[Any]:
        """Return all places where a query stands, as sorted by what follows there."""
        low, high = self._first(query[0])
        first = self._search(query, 0, low, high, after=False)
        return self.suffixes[first : self._search(query, 0, first, high, after=True)]

    def _first(self, id: int) -> tuple[int, int]:
        if not 0 <= id < len(self.firsts) - 1:
            return 0, 0
        return int(self.firsts[id]), int(self.firsts[id + 1])

    def _search(self, query: list[int], start: int, low: int, high: int, *, after: bool) -> int:
        """Return where a query is sorted in among suffixes that share its first id: before those
        that begin with it, or `after` them."""
        shared_low = shared_high = 1  # ids that all suffixes in between share with the query
        while low < high:
            middle = (low + high) // 2
            place = int(self.suffixes[middle])
            shared, order = self._common(query, start, place, min(shared_low, shared_high))
            if order < 0 or (order == 0 and after):
                low, shared_low = middle + 1, shared
            else:
                high, shared_high = middle, shared
        return low

    def _common(self, query: list[int], start: int, place: int, known: int) -> tuple[int, int]:
        """Return how many ids a suffix and the query share, and how the suffix is sorted: negative
        before the query, 0 where it begins with all of it. They share the `known` first ones."""
        tokens, most = self.tokens, min(len(query) - start, len(self.tokens) - place)
        few = min(known + FEW, most)
        for shared in range(known, few):
            if difference := int(tokens[place + shared]) - query[start + shared]:
                return shared, difference
        rest = np.asarray(query[start + few : start + most], np.int64)
        differences = tokens[place + few : place + most].astype(np.int64) - rest
        if len(unequal := np.flatnonzero(differences)):
            return few + int(unequal[0]), int(differences[unequal[0]])
        return most, 0 if most == len(query) - start else -1


def bounds_of_firsts(tokens: Tokens, vocab_size: int) -> NDArray[np.int64]:
    """Return the `firsts` of a SuffixArray of a sequence, int64 [vocabulary + 1]."""
    counts = np.zeros(vocab_size, np.int64)
    for start in range(0, len(tokens), COUNTED_AT_ONCE):
        counts += np.bincount(tokens[start : start + COUNTED_AT_ONCE], minlength=vocab_size)
    return np.append(0, np.cumsum(counts)).astype(np.int64)


def maximal_matches(arrays: list[SuffixArray], query: list[int]) -> list[tuple[int, int]]:
    """Return the stretches (from, to) of a query that stand somewhere in a sequence and cannot be
    extended: none lies within another."""
    found: list[tuple[int, int]] = []

    def end(start: int) -> int:
        return start + max(array.longest_match(query, start) for array in arrays)

    start, count = 0, len(query)
    while start < count and arrays:
        stop = end(start)
        if stop == start:
            start += 1
            continue
        found.append((start, stop))
        if stop == count:
            break
        # A match that ends further begins later; ends never go back, so halving finds the first.
        low, high = start + 1, stop
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if end(middle) > stop else (middle + 1, high)
        start = low
    return found
