"""How far a figure would move on other text of the same kind: 95% bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

REPLICATES = 2000
FEWEST_DOCUMENTS = 30  # with fewer, blocks of text are drawn instead
MOST_UNITS = 2000  # more are drawn in groups of neighbours, which changes little and costs less
BLOCKS = 200
SHORTEST_BLOCK = 64  # tokens: what follows a word depends on those before it


@dataclass(frozen=True)
class Units:
    """The pieces that are drawn, and where each begins among the targets, [units + 1]."""

    kind: str  # "documents" or "blocks"
    starts: NDArray[np.int64]


def units(document_starts: ArrayLike) -> Units:
    """Documents where there are enough of them, else blocks of equal length.

    document_starts [documents + 1], the last being the number of targets.
    """
    starts = np.unique(np.asarray(document_starts, np.int64))  # without empty documents
    documents, targets = len(starts) - 1, int(starts[-1])
    if documents >= FEWEST_DOCUMENTS:
        group = -(-documents // MOST_UNITS)
        return Units("documents", np.append(starts[:-1:group], targets))
    blocks = max(1, min(BLOCKS, targets // SHORTEST_BLOCK))
    return Units("blocks", np.linspace(0, targets, blocks + 1).astype(np.int64))


def ratio_interval(
    numerators: ArrayLike, denominators: ArrayLike, seed: int
) -> tuple[float, float] | None:
    """The 95% interval of sum(numerators) / sum(denominators) under drawing units anew.

    Percentile bootstrap (Efron 1979); a function of the seed. None for fewer than two units.
    """
    above = np.asarray(numerators, np.float64)
    below = np.asarray(denominators, np.float64)
    if len(above) < 2 or below.sum() == 0:
        return None

    def ratio(drawn: NDArray[np.int64]) -> float:
        return float(above[drawn].sum() / max(below[drawn].sum(), 1e-300))

    return bootstrap(Resampler(seed).of(len(above), REPLICATES), ratio)


@dataclass(frozen=True)
class Resampler:
    """How examples are drawn anew: each by itself, or those of one group together, as questions
    about one text are (the cluster bootstrap, Davison and Hinkley 1997, 3.8).

    `groups` [examples] are numbers from 0 on. A function of the seed.
    """

    seed: int
    groups: NDArray[np.int64] | None = None

    def units(self, count: int) -> int:
        """How many are drawn each time, of `count` examples."""
        return count if self.groups is None else len(np.unique(self.groups))

    def among(self, chosen: ArrayLike) -> Resampler:
        """The same for a part of the examples, which `chosen` [examples] marks."""
        if self.groups is None:
            return self
        _, groups = np.unique(self.groups[np.asarray(chosen, np.bool_)], return_inverse=True)
        return replace(self, groups=groups)

    def of(self, count: int, replicates: int) -> Iterator[NDArray[np.int64]]:
        """The indices of each draw, with replacement."""
        generator = np.random.default_rng(self.seed)
        if self.groups is None:
            for _ in range(replicates):
                yield generator.integers(0, count, count)
            return
        order = np.argsort(self.groups, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(self.groups))[:-1])
        for _ in range(replicates):
            drawn = generator.integers(0, len(members), len(members))
            yield np.concatenate([members[group] for group in drawn])


def bootstrap(
    draws: Iterable[NDArray[np.int64]], figure: Callable[[NDArray[np.int64]], float]
) -> tuple[float, float]:
    """The 95% interval of `figure(indices)` over draws, by percentiles."""
    low, high = np.percentile([figure(drawn) for drawn in draws], [2.5, 97.5])
    return float(low), float(high)
