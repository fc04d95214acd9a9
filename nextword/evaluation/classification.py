"""Metrics of labels: one of several classes, several at once, or a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.evaluation.metrics import Floats, Ints, Metric, accuracy, ratio

BINS = 15  # of confidence, for the calibration error (Guo et al. 2017)


def confusion(targets: Ints, predictions: Ints, classes: int) -> Ints:
    """Count how often each class (rows) was taken for each (columns), [classes, classes]."""
    pairs = np.bincount(targets * classes + predictions, minlength=classes**2)
    return pairs.reshape(classes, classes)


@dataclass(frozen=True)
class PerClass:
    """[classes] each: precision, recall, their harmonic mean F1, and how many there were."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: Ints


def per_class(counts: Ints) -> PerClass:
    """Return the figures of a confusion matrix; one whose denominator is zero is 0, as in
    scikit-learn."""
    hits, support, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    return PerClass(
        _divide(hits, predicted),
        _divide(hits, support),
        _divide(2 * hits, support + predicted),
        support,
    )


def _divide(above: Ints | Floats, below: Ints | Floats) -> Floats:
    return np.divide(above, below, out=np.zeros(len(above)), where=below > 0)


@dataclass(frozen=True)
class ClassReport:
    """The figures of one class; `taken_for` counts by name what was predicted for its examples."""

    name: str
    precision: float
    recall: float
    f1: float
    examples: int
    taken_for: dict[str, int]


def class_reports(names: Sequence[str], targets: Ints, predictions: Ints) -> list[ClassReport]:
    """Return a report of each class."""
    counts = confusion(targets, predictions, len(names))
    columns = [figures.tolist() for figures in vars(per_class(counts)).values()]
    return [
        ClassReport(name, precision, recall, f1, count, dict(zip(names, taken_for, strict=True)))
        for name, precision, recall, f1, count, taken_for in zip(
            names, *columns, counts.tolist(), strict=True
        )
    ]


def macro_f1(counts: Ints) -> float:
    """Return the mean F1 of the classes that occur, as target or as prediction."""
    occurs = counts.sum(0) + counts.sum(1) > 0
    return float(per_class(counts).f1[occurs].mean())


def weighted_f1(counts: Ints) -> float:
    """Return the mean F1, each class weighted by how often it is the target."""
    figures = per_class(counts)
    return float((figures.f1 * figures.support).sum() / figures.support.sum())


def single_label_metrics(targets: Ints, probabilities: Floats) -> dict[str, Metric]:
    """Return accuracy, F1 and calibration where each example has one label.

    `targets` [examples] are class numbers, `probabilities` [examples, classes].
    """
    count, classes = probabilities.shape
    predictions = probabilities.argmax(1)

    def f1(average: Callable[[Ints], float]) -> Metric:
        return Metric(
            count,
            lambda chosen: average(confusion(targets[chosen], predictions[chosen], classes)),
        )

    correct, confidence = targets == predictions, probabilities.max(1)
    as_numbers = correct.astype(np.float64)
    return {
        "accuracy": accuracy(correct),
        "macro F1": f1(macro_f1),
        "weighted F1": f1(weighted_f1),
        "calibration error": Metric(
            count, lambda chosen: calibration_error(as_numbers[chosen], confidence[chosen])
        ),
    }


def calibration_error(correct: Floats, confidence: Floats) -> float:
    """Return by how much confidence and accuracy differ, on average over bins of confidence."""
    sums = np.bincount(_bins(confidence), correct - confidence, BINS)
    return float(np.abs(sums).sum() / len(correct))


@dataclass(frozen=True)
class Bin:
    """The examples whose confidence is about the same: its mean, and how many of them are right."""

    confidence: float
    accuracy: float
    examples: int


def reliability(correct: Floats, confidence: Floats) -> list[Bin]:
    """Return the bins that the calibration error is the mean of, without the empty ones."""
    bins = _bins(confidence)
    counts = np.bincount(bins, minlength=BINS)
    sure, right = (np.bincount(bins, values, BINS) for values in (confidence, correct))
    return [
        Bin(float(sure[n] / counts[n]), float(right[n] / counts[n]), int(counts[n]))
        for n in np.flatnonzero(counts)
    ]


def _bins(confidence: Floats) -> Ints:
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def multi_label_metrics(targets: NDArray[np.bool_], probabilities: Floats) -> dict[str, Metric]:
    """Return exact match and F1 where several labels may hold, each predicted from 1/2 on.

    `targets` and `probabilities` are [examples, labels].
    """
    guesses = probabilities >= 0.5
    hits, predicted, held = (
        (targets & guesses).astype(float),
        guesses.astype(float),
        targets.astype(float),
    )

    def micro(chosen: Ints) -> float:
        below = predicted[chosen].sum() + held[chosen].sum()
        return float(2 * hits[chosen].sum() / below) if below else 0.0

    def macro(chosen: Ints) -> float:
        above, below = 2 * hits[chosen].sum(0), predicted[chosen].sum(0) + held[chosen].sum(0)
        return float(_divide(above, below).mean())

    return {
        "all labels right": accuracy((targets == guesses).all(1)),
        "micro F1": Metric(len(targets), micro),
        "macro F1": Metric(len(targets), macro),
    }


def regression_metrics(targets: Floats, predictions: Floats) -> dict[str, Metric]:
    """Return correlations and errors of predicted numbers, [examples] each."""
    from scipy.stats import rankdata

    def pearson(chosen: Ints) -> float:
        return correlation(targets[chosen], predictions[chosen])

    def spearman(chosen: Ints) -> float:
        return correlation(rankdata(targets[chosen]), rankdata(predictions[chosen]))

    def root_mean_square(chosen: Ints) -> float:
        return float(np.sqrt(np.square(targets[chosen] - predictions[chosen]).mean()))

    count = len(targets)
    return {
        "Pearson": Metric(count, pearson),
        "Spearman": Metric(count, spearman),
        "root mean squared error": Metric(count, root_mean_square),
        "mean absolute error": ratio(np.abs(targets - predictions), np.ones(count)),
    }


def correlation(one: Floats, other: Floats) -> float:
    """Return Pearson's correlation; 0 where one of them does not vary."""
    a, b = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm else 0.0
