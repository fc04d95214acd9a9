"""What tasks are measured by.

Each metric is a function of the examples chosen, so that its 95% interval is a bootstrap over
examples (Efron 1979), however it combines them. Without draws a metric has no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nextword.evaluation.bootstrap import Resampler, bootstrap

REPLICATES = 1000
BINS = 15  # of confidence, for the calibration error (Guo et al. 2017)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Metric:
    """A figure, its 95% interval (None for fewer than two to draw), and how it was computed,
    where that has a signature."""

    value: float
    interval: tuple[float, float] | None = None
    signature: str = ""

    def to_json(self) -> dict[str, object]:
        found: dict[str, object] = {"value": self.value, "interval": self.interval}
        return found | ({"signature": self.signature} if self.signature else {})


def resampled(count: int, draws: Resampler | None, figure: Callable[[Ints], float]) -> Metric:
    """`figure(indices)` of all examples, and its interval over examples drawn anew."""
    value = figure(np.arange(count))
    if draws is None or draws.units(count) < 2:
        return Metric(value)
    return Metric(value, bootstrap(draws.of(count, REPLICATES), figure))


def mean(values: Sequence[float] | Floats, draws: Resampler | None) -> Metric:
    """The mean of a figure from 0 to 1 that each example has: accuracy, exact match, ROUGE."""
    array = np.asarray(values, np.float64)
    found = resampled(len(array), draws, lambda chosen: float(array[chosen].mean()))
    if draws is None or found.interval is None or array.min() < array.max():
        return found
    # All alike, as all right: draws cannot tell how rare others are (Clopper and Pearson 1934).
    rare = 1 - 0.025 ** (1 / draws.units(len(array)))
    low, high = found.value, found.value
    return replace(found, interval=(max(low - rare, 0.0), min(high + rare, 1.0)))


def ratio(
    above: Floats, below: NDArray[np.int64] | NDArray[np.float64], draws: Resampler | None
) -> Metric:
    """A sum over examples for a sum over them: nats a token."""
    return resampled(
        len(above), draws, lambda chosen: float(above[chosen].sum() / max(below[chosen].sum(), 1))
    )


def confusion(truth: Ints, guess: Ints, classes: int) -> Ints:
    """How often each class (rows) was taken for each (columns), [classes, classes]."""
    return np.bincount(truth * classes + guess, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class PerClass:
    """[classes] each: precision, recall, their harmonic mean F1, and how many there were."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: Ints


def per_class(counts: Ints) -> PerClass:
    """From a confusion matrix; a figure whose denominator is zero is 0, as in scikit-learn."""
    hits, support, guessed = np.diag(counts), counts.sum(1), counts.sum(0)
    return PerClass(
        _ratio(hits, guessed), _ratio(hits, support), _ratio(2 * hits, support + guessed), support
    )


@dataclass(frozen=True)
class ClassFigures:
    """Of one class; `taken_for` counts by name what its examples were said to be."""

    name: str
    precision: float
    recall: float
    f1: float
    examples: int
    taken_for: dict[str, int]


def class_figures(names: Sequence[str], truth: Ints, guess: Ints) -> list[ClassFigures]:
    counts = confusion(truth, guess, len(names))
    found = per_class(counts)
    return [
        ClassFigures(
            name,
            float(found.precision[n]),
            float(found.recall[n]),
            float(found.f1[n]),
            int(found.support[n]),
            dict(zip(names, counts[n].tolist(), strict=True)),
        )
        for n, name in enumerate(names)
    ]


def _ratio(above: Ints, below: Ints) -> Floats:
    return np.divide(above, below, out=np.zeros(len(above)), where=below > 0)


def macro_f1(counts: Ints) -> float:
    """The mean F1 of the classes that occur, in truth or as a guess."""
    occurs = counts.sum(0) + counts.sum(1) > 0
    return float(per_class(counts).f1[occurs].mean())


def weighted_f1(counts: Ints) -> float:
    """The mean F1, each class by how often it is the truth."""
    figures = per_class(counts)
    return float((figures.f1 * figures.support).sum() / figures.support.sum())


def of_classes(truth: Ints, probabilities: Floats, draws: Resampler | None) -> dict[str, Metric]:
    """Accuracy, F1 and calibration for one label an example; probabilities [examples, classes]."""
    classes, guess = probabilities.shape[1], probabilities.argmax(1)

    def f1(mean: Callable[[Ints], float]) -> Metric:
        def figure(chosen: Ints) -> float:
            return mean(confusion(truth[chosen], guess[chosen], classes))

        return resampled(len(truth), draws, figure)

    correct = (truth == guess).astype(np.float64)
    confidence = probabilities.max(1)
    return {
        "accuracy": mean(correct, draws),
        "macro F1": f1(macro_f1),
        "weighted F1": f1(weighted_f1),
        "calibration error": resampled(
            len(truth), draws, lambda chosen: calibration_error(correct[chosen], confidence[chosen])
        ),
    }


def calibration_error(correct: Floats, confidence: Floats) -> float:
    """By how much confidence and accuracy differ, on average over bins of confidence."""
    sums = np.bincount(_bins(confidence), correct - confidence, BINS)
    return float(np.abs(sums).sum() / len(correct))


@dataclass(frozen=True)
class Bin:
    """Of the examples whose confidence is about the same: its mean, and how many are right."""

    confidence: float
    accuracy: float
    examples: int


def reliability(correct: Floats, confidence: Floats) -> list[Bin]:
    """The bins that the calibration error is the mean of, without the empty ones."""
    bins = _bins(confidence)
    counts = np.bincount(bins, minlength=BINS)
    sure, right = (np.bincount(bins, values, BINS) for values in (confidence, correct))
    return [
        Bin(float(sure[n] / counts[n]), float(right[n] / counts[n]), int(counts[n]))
        for n in np.flatnonzero(counts)
    ]


def _bins(confidence: Floats) -> Ints:
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def of_several(
    truth: NDArray[np.bool_], probabilities: Floats, draws: Resampler | None
) -> dict[str, Metric]:
    """Where several labels may hold, [examples, labels]: one counts as said from 1/2 on."""
    guess = probabilities >= 0.5
    hits, said, held = (truth & guess).astype(float), guess.astype(float), truth.astype(float)

    def micro(chosen: Ints) -> float:
        below = said[chosen].sum() + held[chosen].sum()
        return float(2 * hits[chosen].sum() / below) if below else 0.0

    def macro(chosen: Ints) -> float:
        above, below = 2 * hits[chosen].sum(0), said[chosen].sum(0) + held[chosen].sum(0)
        return float(np.divide(above, below, out=np.zeros(len(above)), where=below > 0).mean())

    return {
        "all labels right": mean((truth == guess).all(1).astype(np.float64), draws),
        "micro F1": resampled(len(truth), draws, micro),
        "macro F1": resampled(len(truth), draws, macro),
    }


def of_amounts(truth: Floats, guess: Floats, draws: Resampler | None) -> dict[str, Metric]:
    """Correlations and errors of predicted amounts, [examples]."""
    from scipy.stats import rankdata

    def pearson(chosen: Ints) -> float:
        return correlation(truth[chosen], guess[chosen])

    def spearman(chosen: Ints) -> float:
        return correlation(rankdata(truth[chosen]), rankdata(guess[chosen]))

    def root(chosen: Ints) -> float:
        return float(np.sqrt(np.square(truth[chosen] - guess[chosen]).mean()))

    count = len(truth)
    return {
        "Pearson": resampled(count, draws, pearson),
        "Spearman": resampled(count, draws, spearman),
        "root mean squared error": resampled(count, draws, root),
        "mean absolute error": ratio(np.abs(truth - guess), np.ones(len(truth)), draws),
    }


def correlation(one: Floats, other: Floats) -> float:
    """Pearson's; 0 where one of them does not vary."""
    a, b = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm else 0.0
