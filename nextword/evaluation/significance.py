"""Whether two models given the same examples differ, or chance alone may have parted them.

McNemar's test, exact, where each example is right or wrong (McNemar 1947); for every other figure
the paired bootstrap: both models' figures on the same examples drawn anew (Koehn 2004).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.evaluation.bootstrap import Resampler
from nextword.evaluation.classification import Ints

REPLICATES = 2000
LEVEL = 0.05  # a difference that chance alone would make less often than this is called real

Figures = Callable[[Ints], Mapping[str, float]]  # of the examples chosen, by name


@dataclass(frozen=True)
class Difference:
    """Of one figure: both values, the 95% interval of second - first, and `p`, how often chance
    alone would part two equal models as far. `discordant` counts the examples that the first alone
    and the second alone has right, where examples are right or wrong."""

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


def paired_bootstrap(
    count: int, first: Figures, second: Figures, draws: Resampler
) -> dict[str, Difference]:
    """The figures that both give, on all of `count` examples, with intervals and p two-sided.

    Each draw of examples is the same for both models and all figures.
    """
    everything = np.arange(count)
    one, other = first(everything), second(everything)
    names = [name for name in one if name in other]
    drawn: dict[str, list[float]] = {name: [] for name in names}
    for chosen in draws.of(count, REPLICATES):
        a, b = first(chosen), second(chosen)
        for name in names:
            drawn[name].append(b[name] - a[name])
    return {
        name: Difference(
            float(one[name]),
            float(other[name]),
            _interval(np.array(drawn[name])),
            _two_sided(np.array(drawn[name])),
            "paired bootstrap",
        )
        for name in names
    }


def _interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(differences, [2.5, 97.5])
    return float(low), float(high)


def _two_sided(differences: NDArray[np.float64]) -> float:
    """Twice the share of draws on the rarer side of zero, each side with one draw more than was
    seen, so that no number of draws gives certainty (Davison and Hinkley 1997, 4.2)."""
    sides = [int((differences <= 0).sum()), int((differences >= 0).sum())]
    return min(1.0, 2 * (min(sides) + 1) / (len(differences) + 1))


def mcnemar(only_first: int, only_second: int) -> float:
    """Of examples that one model alone has right, does chance explain the split? Two-sided and
    exact: the tail of a fair coin."""
    thrown, fewer = only_first + only_second, min(only_first, only_second)
    ways, tail = 1, 0
    for heads in range(fewer + 1):
        tail += ways
        ways = ways * (thrown - heads) // (heads + 1)
    return min(1.0, 2 * tail / 2**thrown)
