"""Ids that lie in several places, as one sequence."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]


class Ids(Protocol):
    """What a split's tokens are: an array in memory, one mapped from a file, or several joined."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, places: Any) -> Any: ...


class PartedIds(ABC):
    """Parts end to end: `bounds` [parts + 1] say where each begins.

    It is indexed by a slice without a step, or by places of any shape; rows that lie in one part
    each, as those of a batch do, cost no more than in a single array.
    """

    def __init__(self, bounds: Places, dtype: np.dtype[Any]) -> None:
        self.bounds, self.dtype = bounds, dtype

    @abstractmethod
    def part(self, number: int) -> Ids:
        """Return the ids of a part."""

    @abstractmethod
    def expect(self, starts: Places, stops: Places) -> None:
        """Have the ids of stretches, both [stretches], brought here where they are elsewhere: they
        are asked for soon."""

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def __getitem__(self, places: slice | Places) -> NDArray[Any]:
        if isinstance(places, slice):
            start, stop, step = places.indices(len(self))
            assert step == 1
            return self._stretch(start, stop)
        found = np.empty(places.shape, self.dtype)
        if not places.size:
            return found
        rows = places.reshape(-1, places.shape[-1])
        out = found.reshape(rows.shape)
        low, high = rows.min(1), rows.max(1)
        first, last = self._owners(low), self._owners(high)
        near = high - low < 2 * rows.shape[1]  # else a row that goes on from the beginning
        apart = rows[~near].ravel()
        self.expect(np.append(low[near], apart), np.append(high[near], apart) + 1)
        for number in np.unique(first[first == last]):
            own = np.flatnonzero((first == number) & (last == number))
            out[own] = self.part(int(number))[rows[own] - self.bounds[number]]
        for row in np.flatnonzero(first != last):
            owners = self._owners(rows[row])
            for number in np.unique(owners):
                mine = owners == number
                out[row, mine] = self.part(int(number))[rows[row, mine] - self.bounds[number]]
        return found

    def _owners(self, places: Places) -> Places:
        """Return which part each place is in."""
        return np.searchsorted(self.bounds, places, side="right") - 1

    def _stretch(self, start: int, stop: int) -> NDArray[Any]:
        if stop <= start:
            return np.empty(0, self.dtype)
        first, last = (int(n) for n in self._owners(np.array([start, stop - 1])))
        self.expect(np.array([start]), np.array([stop]))
        pieces = [
            np.asarray(self.part(number)[max(start - begin, 0) : stop - begin])
            for number in range(first, last + 1)
            for begin in (int(self.bounds[number]),)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


class JoinedIds(PartedIds):
    """Several sequences of ids as one."""

    def __init__(self, parts: Sequence[Ids]) -> None:
        sizes = np.array([len(part) for part in parts], np.int64)
        super().__init__(np.append(0, np.cumsum(sizes)), parts[0].dtype)
        self._parts = parts

    def part(self, number: int) -> Ids:
        return self._parts[number]

    def expect(self, starts: Places, stops: Places) -> None:
        for part, (begin, end) in zip(self._parts, itertools.pairwise(self.bounds), strict=True):
            if isinstance(part, PartedIds):
                low, high = np.maximum(starts, begin), np.minimum(stops, end)
                part.expect(low[low < high] - begin, high[low < high] - begin)
