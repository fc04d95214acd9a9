"""How far a result moves with the seed alone: mean, deviation and interval over runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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
