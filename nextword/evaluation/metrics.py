"""Metrics as functions of which examples are chosen, so that validation, evaluation, intervals and
comparisons share them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError, nearest
from nextword.evaluation.bootstrap import Resampler, percentile_interval

REPLICATES = 1000
DIGITS = 6  # significant ones in JSON; the order of sums changes those after

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Texts = Sequence[str]
References = Sequence[Sequence[str]]  # of each answer those that would be right
Direction = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Metric:
    """A number computed from the chosen ones of `count` examples.

    `compute(indices)` gives it, `transform` is applied to the result and to the ends of its
    interval. A mean of figures from 0 to 1 keeps them as `proportions` [count]. `correct` [count]
    marks right answers where that is all there is to it. A metric of a part of a data set says of
    which examples in `mask` [all examples]; its indices count that part alone.
    """

    count: int
    compute: Callable[[Ints], float]
    transform: Callable[[float], float] = float
    proportions: Floats | None = None
    correct: NDArray[np.bool_] | None = None
    mask: NDArray[np.bool_] | None = None
    signature: str = ""

    @property
    def value(self) -> float:
        """The metric of all examples."""
        return self.transform(self.compute(np.arange(self.count)))


@dataclass(frozen=True)
class Estimate:
    """A metric's value, its 95% interval (None for fewer than two examples to draw), and how it was
    computed, where that has a signature."""

    value: float
    interval: tuple[float, float] | None = None
    signature: str = ""

    def to_json(self) -> dict[str, Any]:
        values: dict[str, Any] = {"value": self.value, "interval": self.interval}
        return values | ({"signature": self.signature} if self.signature else {})


@dataclass(frozen=True)
class AnswerScoring:
    """How answers in a language are compared with their references: the `metrics` of all of them,
    a score of `each` by itself, by name, and whether higher or lower is better."""

    directions: Mapping[str, Direction]
    metrics: Callable[[Texts, References, str], dict[str, Metric]]
    each: Callable[[Texts, References, str], list[dict[str, float]]]


def mean(values: Sequence[float] | Floats, mask: NDArray[np.bool_] | None = None) -> Metric:
    """Return the mean of a figure from 0 to 1 that each example has: exact match, F1, ROUGE."""
    array = np.asarray(values, np.float64)
    return Metric(
        len(array), lambda chosen: float(array[chosen].mean()), proportions=array, mask=mask
    )


def accuracy(correct: NDArray[np.bool_]) -> Metric:
    """Return the share of examples that are right."""
    values = correct.astype(np.float64)
    return Metric(
        len(values),
        lambda chosen: float(values[chosen].mean()),
        proportions=values,
        correct=correct,
    )


def ratio(
    numerators: Floats, denominators: Ints | Floats, transform: Callable[[float], float] = float
) -> Metric:
    """Return a sum over examples divided by another one: nats a token."""

    def compute(chosen: Ints) -> float:
        return float(numerators[chosen].sum() / max(denominators[chosen].sum(), 1))

    return Metric(len(numerators), compute, transform)


def estimate(metrics: Mapping[str, Metric], resampler: Resampler) -> dict[str, Estimate]:
    """Return each metric's value with its interval over examples drawn anew (Efron 1979)."""
    return {name: _estimate(metric, resampler) for name, metric in metrics.items()}


def _estimate(metric: Metric, resampler: Resampler) -> Estimate:
    resampler = resampler.among(metric.mask)
    units = resampler.units(metric.count)
    if units < 2:
        return Estimate(metric.value, signature=metric.signature)
    if (values := metric.proportions) is not None and values.min() == values.max():
        # All alike, as all right: no draw tells how rare others are (Clopper and Pearson 1934).
        rare = 1 - 0.025 ** (1 / units)
        low, high = max(metric.value - rare, 0.0), min(metric.value + rare, 1.0)
    else:
        draws = resampler.draw(metric.count, REPLICATES)
        ends = percentile_interval([metric.compute(drawn) for drawn in draws])
        low, high = (metric.transform(end) for end in ends)
    return Estimate(metric.value, (low, high), metric.signature)


def perplexity(loss: float) -> float:
    """Return the perplexity of a loss in nats, however large that is."""
    return math.exp(min(loss, 700.0))


def perplexity_interval(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the perplexities at both ends of a loss's interval."""
    return None if interval is None else (perplexity(interval[0]), perplexity(interval[1]))


def round_for_json(values: dict[str, Any]) -> dict[str, Any]:
    """Return plain values, rounded to the digits that do not depend on the batch size."""
    return {name: _rounded(value) for name, value in values.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(part) for part in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def choose_metric(directions: Mapping[str, Direction], asked: str | None) -> str:
    """Return the metric that decides which model is the best: the one asked for, in any spelling,
    else the first. Raises UserError where there is none such."""
    names = [name for name, better in directions.items() if better != "neither"]
    if asked is None:
        return names[0]
    for name in names:
        if _plain(name) == _plain(asked):
            return name
    raise UserError(
        f"no metric {asked!r}",
        where="--metric",
        mend=f"{nearest(asked, names)}; known here are {', '.join(names)}",
    )


def _plain(name: str) -> str:
    return name.lower().replace("-", " ").replace("_", " ")
