"""What was said against what is right, as inline SVG: calibration, lengths, amounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from nextword.evaluation.classification import calibration_error, reliability
from nextword.evaluation.generated_text import lengths
from nextword.reports.curves import Frame, segment, short, text, ticks
from nextword.runs.record import Record

SIDE = 330  # pixels
MOST_DOTS = 1000
LARGEST, SMALLEST = 9.0, 2.5  # pixels, radius of a dot


@dataclass(frozen=True)
class Plot:
    title: str
    note: str
    svg: Markup


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    said: str  # under the pointer
    share: float = 0.0  # of the largest dot's area


def plots(task: str, examples: Sequence[Record]) -> list[Plot]:
    """Those that the held-out examples of a task give."""
    if task == "classify":
        return [plot for plot in (_calibration(examples), _amounts(examples)) if plot]
    found = _lengths(examples) if task in ("summarize", "translate") else None
    return [found] if found else []


def _calibration(examples: Sequence[Record]) -> Plot | None:
    """How often the model is right, by how sure it is (a reliability diagram, Guo et al. 2017)."""
    sure = [
        (max(r["probabilities"].values()), r["prediction"] == r["label"])
        for r in examples
        if isinstance(r.get("probabilities"), dict) and isinstance(r.get("label"), str)
    ]
    if not sure:
        return None
    confidence, right = np.array(sure, np.float64).T
    bins = reliability(right, confidence)
    most = max(bin.examples for bin in bins)
    dots = [
        Dot(
            bin.confidence,
            bin.accuracy,
            f"{bin.examples:,} examples, sure by {bin.confidence:.0%}: {bin.accuracy:.0%} right",
            bin.examples / most,
        )
        for bin in bins
    ]
    gap, mean = right.mean() - confidence.mean(), calibration_error(right, confidence)
    lean = "less sure than it should be" if gap > 0 else "surer than it should be"
    note = (
        f"Expected calibration error {mean:.3f}: by so much sureness and share of right answers "
        f"differ, on average over bins. On the line they are equal; a dot's area is its examples. "
        + (
            "On the whole the model is as sure as it is right."
            if abs(gap) < 0.02
            else f"On the whole the model is {lean}, by {abs(gap):.0%}."
        )
    )
    low = min(0.5 if len(examples[0]["probabilities"]) == 2 else 0.0, *(dot.y for dot in dots))
    return Plot("Calibration", note, _square("Calibration", dots, low, 1.0, ("sure", "right")))


def _amounts(examples: Sequence[Record]) -> Plot | None:
    pairs = [
        (r["label"], r["prediction"], str(r["text"]))
        for r in examples[:MOST_DOTS]
        if isinstance(r.get("label"), float) and isinstance(r["prediction"], int | float)
    ]
    return _pairs("Amounts", "Each dot is a held-out example.", pairs, ("in the data", "said"))


def _lengths(examples: Sequence[Record]) -> Plot | None:
    some = [r for r in examples if r.get("references")][:MOST_DOTS]
    if not some:
        return None
    texts = [str(r["prediction"]) for r in some]
    written, wanted = lengths(texts, [r["references"] for r in some])
    ratio = written.sum() / max(wanted.sum(), 1.0)
    note = (
        f"In words, of Chinese and Japanese in characters: {ratio:.2f} are written for each one in "
        "the references. Below the line too little is written, above it too much."
    )
    pairs = list(zip(wanted, written, (str(r.get("place", "")) for r in some), strict=True))
    return _pairs("Lengths", note, pairs, ("of the reference", "written"), from_zero=True)


def _pairs(
    title: str,
    note: str,
    pairs: Sequence[tuple[float, float, str]],
    names: tuple[str, str],
    *,
    from_zero: bool = False,
) -> Plot | None:
    values = [value for x, y, _ in pairs for value in (x, y)]
    if not values or not np.isfinite(values).all() or min(values) == max(values):
        return None
    low, high = 0.0 if from_zero else min(values), max(values)
    dots = [Dot(x, y, f"{place[:80]}: {x:g}, {y:g}") for x, y, place in pairs]
    return Plot(title, note, _square(title, dots, low, high + 0.03 * (high - low), names))


def _square(
    title: str, dots: Sequence[Dot], low: float, high: float, names: tuple[str, str]
) -> Markup:
    """Dots in a square whose diagonal is where both are equal."""
    frame = Frame(44, 24, SIDE, SIDE - 20, (low, high), (low, high))
    parts = [
        f'<svg class="square" viewBox="0 0 {SIDE + 10} {SIDE + 20}" role="img" '
        f'aria-label="{escape(title)}">',
        text(4, 12, "start", names[1]),
        text(frame.right, frame.bottom + 34, "end", names[0]),
    ]
    for tick in ticks(low, high):
        row, column = frame.row(tick), frame.column(tick)
        parts += [
            segment("grid", frame.left, row, frame.right, row),
            text(frame.left - 8, row + 4, "end", short(tick)),
            text(column, frame.bottom + 18, "middle", short(tick)),
        ]
    parts += [
        segment("axis", frame.left, frame.bottom, frame.right, frame.bottom),
        segment("mark", frame.left, frame.bottom, frame.right, frame.top),
    ]
    parts += [
        f'<circle class="dot" cx="{frame.column(dot.x):.1f}" cy="{frame.row(dot.y):.1f}" '
        f'r="{SMALLEST + (LARGEST - SMALLEST) * dot.share**0.5:.1f}">'
        f"<title>{escape(dot.said)}</title></circle>"
        for dot in dots
    ]
    return Markup("".join([*parts, "</svg>"]))
