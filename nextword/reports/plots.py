"""What a report draws: the curves of a run, and predictions against targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from nextword.evaluation.classification import calibration_error, reliability
from nextword.evaluation.generated_text import lengths
from nextword.reports.charts import SMALL, Dot, Line, chart, square
from nextword.reports.summary import is_number
from nextword.reports.task import metric_names
from nextword.runs.record import Record, Run

MOST_DOTS = 1000
SPEEDS = ("tokens_per_second", "examples_per_second")
CALIBRATED = 0.02  # of confidence above or below accuracy that is not worth mentioning


class Plot(NamedTuple):
    """A drawing with its title, a note below it, and the lines that a key names."""

    title: str
    svg: Markup
    note: str = ""
    lines: Sequence[Line] = ()


def curves(run: Run) -> list[Plot]:
    """Return the curves that a run's metrics give: the loss first, then what explains it."""
    curves = [_loss_curve(run)]
    for name in metric_names(run) if run.task else ():
        points = _points(run.validations, name)
        line = Line(name.replace("_", " "), points, "held", dots=True)
        curves.append(_small(line, "held-out examples", from_zero=not any(y for _, y in points)))
    speed = next((name for name in SPEEDS if any(name in r for r in run.train)), SPEEDS[0])
    for title, name, unit in (
        ("Learning rate", "learning_rate", ""),
        ("Gradient norm", "grad_norm", "before clipping"),
        ("Speed", speed, f"{speed.partition('_')[0]} per second"),
        ("Machine utilisation", "matmul_share", "share of matmul peak"),
    ):
        line = Line(title, _points(run.train, name), "blue", noisy=name != "learning_rate")
        curves.append(_small(line, unit, from_zero=True))
    return [curve for curve in curves if curve.svg]


def plots(task: str, examples: Sequence[Record]) -> list[Plot]:
    """Return the plots that the held-out examples of a task give."""
    return [plot for draw in PLOTS.get(task, ()) if (plot := draw(examples))]


def _loss_curve(run: Run) -> Plot:
    marks = [(e["step"], "resumed") for e in run.events if e.get("event") == "resume"]
    if run.best and len(run.validations) > 1:
        marks.append((run.best["step"], "best"))
    held_out = "held-out examples" if run.task else "held-out text"
    lines = [
        Line("training", _points(run.train, "loss"), "train", noisy=True),
        Line(held_out, _points(run.validations, "loss"), "held", dots=True),
    ]
    lines = [line for line in lines if line.points]
    factor = _bits_per_nat(run)
    axis = (factor, "bits/byte") if factor else None
    unit = {"classify": "loss per example", "tag": "nats per word"}.get(run.task, "nats per token")
    svg = chart("Loss", lines, unit=unit, second_axis=axis, marks=marks)
    return Plot("Loss", svg, lines=lines)


def _small(line: Line, unit: str, from_zero: bool) -> Plot:
    return Plot(line.name, chart(line.name, [line], unit=unit, from_zero=from_zero, size=SMALL))


def _points(records: list[Record], name: str) -> list[tuple[float, float]]:
    return [(r["step"], r[name]) for r in records if is_number(r.get(name))]


def _bits_per_nat(run: Run) -> float | None:
    """What turns the loss on held-out text into bits per byte."""
    for record in run.validations:
        loss, bits = record["loss"], record.get("bits_per_byte")
        if is_number(loss) and is_number(bits) and loss and bits:
            return float(bits / loss)
    return None


def _calibration(examples: Sequence[Record]) -> Plot | None:
    """How often the model is right, by how sure it is (a reliability diagram, Guo et al. 2017)."""
    pairs = [
        (max(r["probabilities"].values()), r["prediction"] == r["label"])
        for r in examples
        if isinstance(r.get("probabilities"), dict) and isinstance(r.get("label"), str)
    ]
    if not pairs:
        return None
    confidence, right = np.array(pairs, np.float64).T
    bins = reliability(right, confidence)
    most = max(bin.examples for bin in bins)
    hint = "{:,} examples, {:.0%} confident: {:.0%} right"
    dots = [
        Dot(
            b.confidence,
            b.accuracy,
            hint.format(b.examples, b.confidence, b.accuracy),
            b.examples / most,
        )
        for b in bins
    ]
    gap = confidence.mean() - right.mean()
    if abs(gap) < CALIBRATED:
        overall = "Overall the model is as confident as it is accurate."
    else:
        lean = "overconfident" if gap > 0 else "underconfident"
        overall = f"Overall the model is {lean} by {abs(gap):.0%}."
    note = (
        f"Expected calibration error {calibration_error(right, confidence):.3f}: how far "
        "confidence and accuracy differ, on average over bins. On the line they are equal; a "
        f"dot's area is its number of examples. {overall}"
    )
    low = min(0.5 if len(examples[0]["probabilities"]) == 2 else 0.0, *(dot.y for dot in dots))
    svg = square("Calibration", dots, (low, 1.0), "confidence", "accuracy")
    return Plot("Calibration", svg, note)


def _numbers(examples: Sequence[Record]) -> Plot | None:
    dots = [
        _dot(r["label"], r["prediction"], str(r["text"]))
        for r in examples[:MOST_DOTS]
        if isinstance(r.get("label"), float) and isinstance(r["prediction"], int | float)
    ]
    return _against("Predicted numbers", "target", dots, "Each dot is a held-out example.")


def _lengths(examples: Sequence[Record]) -> Plot | None:
    answered = [r for r in examples if r.get("references")][:MOST_DOTS]
    texts = [str(r["prediction"]) for r in answered]
    written, expected = lengths(texts, [r["references"] for r in answered])
    ratio = written.sum() / max(expected.sum(), 1.0)
    note = (
        f"In words (Chinese and Japanese: characters). {ratio:.2f} are written for each one in the "
        "references. Below the line too little is written, above it too much."
    )
    places = [str(r.get("place", "")) for r in answered]
    dots = [_dot(*each) for each in zip(expected, written, places, strict=True)]
    return _against("Lengths", "reference", dots, note, from_zero=True)


def _dot(x: float, y: float, name: str) -> Dot:
    return Dot(x, y, f"{name[:80]}: {x:g}, {y:g}")


def _against(
    title: str, target: str, dots: Sequence[Dot], note: str, *, from_zero: bool = False
) -> Plot | None:
    """Predictions against targets; None where nothing can be drawn."""
    values = [value for dot in dots for value in (dot.x, dot.y)]
    if not values or not np.isfinite(values).all() or min(values) == max(values):
        return None
    low, high = 0.0 if from_zero else min(values), max(values)
    limits = low, high + 0.03 * (high - low)
    return Plot(title, square(title, dots, limits, target, "prediction"), note)


PLOTS: dict[str, tuple[Callable[[Sequence[Record]], Plot | None], ...]] = {
    "classify": (_calibration, _numbers),
    "summarize": (_lengths,),
    "translate": (_lengths,),
}
