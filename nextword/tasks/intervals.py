"""How far a figure would move on other text of the same kind: 95% bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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

    return bootstrap(len(above), seed, REPLICATES, ratio)


def bootstrap(
    count: int, seed: int, replicates: int, figure: Callable[[NDArray[np.int64]], float]
) -> tuple[float, float]:
    """The 95% interval of `figure(indices)` over drawing `count` units anew, with replacement."""
    generator = np.random.default_rng(seed)
    drawn = [figure(generator.integers(0, count, count)) for _ in range(replicates)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
