"""95% intervals: how far a figure would move on other text of the same kind, or with the seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """The pieces of a text that are drawn, and where each begins among the targets, [units + 1]."""

    kind: str  # "documents" or "blocks"
    starts: NDArray[np.int64]


def units(document_starts: ArrayLike) -> Units:
    """Divide text into what is drawn: documents if there are enough, else blocks of equal length.

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
    """Return the 95% interval of sum(numerators) / sum(denominators) under drawing units anew.

    Percentile bootstrap (Efron 1979); a function of the seed. None for fewer than two units.
    """
    above = np.asarray(numerators, np.float64)
    below = np.asarray(denominators, np.float64)
    if len(above) < 2 or below.sum() == 0:
        return None
    draws = Resampler(seed).draw(len(above), REPLICATES)
    return percentile_interval([above[d].sum() / max(below[d].sum(), 1e-300) for d in draws])


@dataclass(frozen=True)
class Resampler:
    """Draws examples anew: each by itself, or those of one group together, as questions about one
    text are (the cluster bootstrap, Davison and Hinkley 1997, 3.8).

    `groups` [examples] are numbers from 0 on. A function of the seed.
    """

    seed: int
    groups: NDArray[np.int64] | None = None

    def units(self, count: int) -> int:
        """Return how many are drawn each time, of `count` examples."""
        return count if self.groups is None else len(np.unique(self.groups))

    def among(self, mask: ArrayLike | None) -> Resampler:
        """Return the resampler of the examples that `mask` [examples] marks, None for all."""
        if self.groups is None or mask is None:
            return self
        _, groups = np.unique(self.groups[np.asarray(mask, np.bool_)], return_inverse=True)
        return replace(self, groups=groups)

    def draw(self, count: int, replicates: int) -> Iterator[NDArray[np.int64]]:
        """Yield the indices of each draw, with replacement."""
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


def percentile_interval(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95% interval of a figure's values over draws, by percentiles."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class SeedStats:
    """`deviation` is the runs' standard deviation (over n - 1), `interval` the 95% interval of the
    mean (Student's t): what other seeds would give on the same examples."""

    mean: float
    deviation: float
    interval: tuple[float, float]


def seed_stats(runs: Sequence[dict[str, float]]) -> dict[str, SeedStats]:
    """Return the statistics of each figure that all runs have; there are at least two runs."""
    from scipy.stats import t

    statistics = {}
    for name in (name for name in runs[0] if all(name in run for run in runs)):
        values = np.array([run[name] for run in runs], np.float64)
        mean, deviation = float(values.mean()), float(values.std(ddof=1))
        reach = float(t.ppf(0.975, len(values) - 1)) * deviation / len(values) ** 0.5
        statistics[name] = SeedStats(mean, deviation, (mean - reach, mean + reach))
    return statistics
