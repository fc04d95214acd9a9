"""Tests of whether two models differ on the same examples, or the difference may be chance.

McNemar's test, exact, where each example is right or wrong (McNemar 1947); for every other metric
the paired bootstrap: both models' metrics on the same examples drawn anew (Koehn 2004).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.evaluation.bootstrap import Resampler, percentile_interval
from nextword.evaluation.metrics import Metric

REPLICATES = 2000
LEVEL = 0.05  # a difference that chance would make less often than this is called real


@dataclass(frozen=True)
class Difference:
    """Both values of one metric, the 95% interval of second - first, and `p`, how often two equal
    models would differ as much by chance. `discordant` counts the examples that only the first
    and only the second has right, where examples are right or wrong."""

    first: float
    second: float
    interval: tuple[float, float]
    p: float
    test: str
    discordant: tuple[int, int] | None = None

    @property
    def difference(self) -> float:
        return self.second - self.first

    @property
    def real(self) -> bool:
        return self.p < LEVEL

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "difference": self.difference, "real": self.real}


def compare_metrics(
    first: Mapping[str, Metric], second: Mapping[str, Metric], resampler: Resampler
) -> dict[str, Difference]:
    """Return the difference of each metric that two models' outputs on the same examples have.

    Each draw of examples is the same for both models and all metrics.
    """
    return {
        name: _difference(metric, second[name], resampler)
        for name, metric in first.items()
        if name in second
    }


def _difference(first: Metric, second: Metric, resampler: Resampler) -> Difference:
    draws = resampler.among(first.mask).draw(first.count, REPLICATES)
    differences = np.array(
        [
            second.transform(second.compute(drawn)) - first.transform(first.compute(drawn))
            for drawn in draws
        ]
    )
    values = first.value, second.value, percentile_interval(differences)
    if first.correct is None or second.correct is None:
        return Difference(*values, _two_sided(differences), "paired bootstrap")
    only_first = int((first.correct & ~second.correct).sum())
    only_second = int((second.correct & ~first.correct).sum())
    p = mcnemar(only_first, only_second)
    return Difference(*values, p, "McNemar, exact", (only_first, only_second))


def _two_sided(differences: NDArray[np.float64]) -> float:
    """Return twice the share of draws on the rarer side of zero, each side with one draw more than
    was seen, so that no number of draws gives certainty (Davison and Hinkley 1997, 4.2)."""
    sides = [int((differences <= 0).sum()), int((differences >= 0).sum())]
    return min(1.0, 2 * (min(sides) + 1) / (len(differences) + 1))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return how often chance splits the examples that one model alone has right so unevenly.

    Two-sided and exact: the tails of a fair coin.
    """
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
