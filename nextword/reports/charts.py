"""Charts as inline SVG, without scripts or fonts: lines against steps, and dots in a square.

Colours come from the page's style sheet by class, so that a chart follows light and dark.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from markupsafe import Markup, escape

BUCKETS = 360  # points a line is drawn with, at most
LARGE, SMALL = (720, 360), (420, 230)  # pixels, width and height of a line chart
SIDE = 330  # pixels of a square
SMALLEST_DOT, LARGEST_DOT = 2.5, 9.0  # pixels, radius
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One curve: its points (x, y), and the class that gives it its colour.

    A `noisy` line is drawn as its running mean over the band between its extremes; `dots` marks
    each point, with its value shown under the pointer.
    """

    name: str
    points: Points
    style: str
    noisy: bool = False
    dots: bool = False

    def finite(self) -> list[tuple[float, float]]:
        """Return the points that can be drawn."""
        return [(x, y) for x, y in self.points if math.isfinite(x) and math.isfinite(y)]


@dataclass(frozen=True)
class Dot:
    """A dot of a square: `hint` is shown under the pointer, `share` is its part of the largest
    dot's area."""

    x: float
    y: float
    hint: str
    share: float = 0.0


@dataclass(frozen=True)
class Frame:
    """The plot's rectangle in pixels and the ranges of x and y that fill it."""

    left: float
    top: float
    right: float
    bottom: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> str:
        return f"{self.column(x):.1f},{self.row(y):.1f}"

    def column(self, x: float) -> float:
        """Return the pixels from the left at which `x` stands."""
        share = (x - self.x[0]) / (self.x[1] - self.x[0])
        return self.left + share * (self.right - self.left)

    def row(self, y: float) -> float:
        """Return the pixels from the top at which `y` stands."""
        share = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.bottom - share * (self.bottom - self.top)

    def circle(self, style: str, x: float, y: float, radius: str, hint: str) -> str:
        """Return a <circle> at a point, with a hint that is shown under the pointer."""
        return (
            f'<circle class="{style}" cx="{self.column(x):.1f}" cy="{self.row(y):.1f}" '
            f'r="{radius}"><title>{escape(hint)}</title></circle>'
        )


def chart(
    title: str,
    lines: Sequence[Line],
    *,
    unit: str,
    from_zero: bool = False,
    second_axis: tuple[float, str] | None = None,
    marks: Sequence[tuple[float, str]] = (),
    size: tuple[int, int] = LARGE,
) -> Markup:
    """Return an <svg> of `lines` against steps; empty where no line has two finite points.

    `second_axis` is (factor, unit): a scale on the right that reads y × factor. `marks` are steps
    drawn as upright dashes with a word beside them.
    """
    width, height = size
    lines = [line for line in lines if len(line.finite()) > 1 or (line.dots and line.finite())]
    xs = [x for line in lines for x, _ in line.finite()]
    if not lines or min(xs) == max(xs):
        return Markup("")
    low, high = _range_of(lines, from_zero)
    room = 56 if second_axis else 16
    frame = Frame(56, 26, width - room, height - 34, (min(0.0, *xs), max(xs)), (low, high))
    clip = "clip-" + re.sub(r"\W+", "-", title.lower())
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">',
        f'<clipPath id="{clip}"><rect x="{frame.left}" y="{frame.top - 6}" width='
        f'"{frame.right - frame.left + 6}" height="{frame.bottom - frame.top + 6}"/></clipPath>',
        *_grid(frame, unit, second_axis),
        *(_mark(frame, step, word) for step, word in marks),
        f'<g clip-path="url(#{clip})">',
        *(part for line in lines for part in _draw(frame, line)),
        "</g></svg>",
    ]
    return Markup("".join(parts))


def square(title: str, dots: Sequence[Dot], limits: tuple[float, float], x: str, y: str) -> Markup:
    """Return an <svg> of dots in a square, whose axes `x` and `y` have the same limits and whose
    diagonal is where both are equal."""
    frame = Frame(44, 24, SIDE, SIDE - 20, limits, limits)
    parts = [
        f'<svg class="square" viewBox="0 0 {SIDE + 10} {SIDE + 20}" role="img" '
        f'aria-label="{escape(title)}">',
        text(4, 12, "start", y),
        text(frame.right, frame.bottom + 34, "end", x),
    ]
    parts += [*_scales(frame), segment("mark", frame.left, frame.bottom, frame.right, frame.top)]
    for dot in dots:
        radius = SMALLEST_DOT + (LARGEST_DOT - SMALLEST_DOT) * dot.share**0.5
        parts.append(frame.circle("dot", dot.x, dot.y, f"{radius:.1f}", dot.hint))
    return Markup("".join([*parts, "</svg>"]))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers (1, 2 or 5 times a power of ten apart) within [low, high]."""
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def condense(points: Points, count: int = BUCKETS) -> list[tuple[float, float, float, float]]:
    """Return at most `count` of (mean x, mean y, least y, greatest y), each of as many points."""
    size = max(1, math.ceil(len(points) / count))
    starts = range(0, len(points), size)
    buckets = [zip(*points[start : start + size], strict=True) for start in starts]
    return [(fmean(xs), fmean(ys), min(ys), max(ys)) for xs, ys in buckets]


def smooth(values: Sequence[float], reach: int) -> list[float]:
    """Return the running mean over `reach` neighbours on each side, fewer towards the ends."""
    spans = [min(reach, i, len(values) - 1 - i) for i in range(len(values))]
    return [fmean(values[i - span : i + span + 1]) for i, span in enumerate(spans)]


def _range_of(lines: Sequence[Line], from_zero: bool) -> tuple[float, float]:
    """The range of y to show: the first fall of a noisy line may leave through the top."""
    ys = []
    for line in lines:
        points = line.finite()
        begin = len(points) // 40 if line.noisy and len(points) >= 80 else 0
        ys += [y for _, y in points[begin:]]
    low, high = (0.0 if from_zero else min(ys)), max(ys)
    margin = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return (0.0 if from_zero else low - margin), high + margin


def _scales(frame: Frame, columns: int = 5) -> list[str]:
    """The ticks of both axes, with about so many `columns`."""
    left, right, bottom = frame.left, frame.right, frame.bottom
    parts = []
    for y in ticks(*frame.y):
        row = frame.row(y)
        parts += [segment("grid", left, row, right, row), text(left - 8, row + 4, "end", short(y))]
    for x in ticks(*frame.x, columns):
        parts.append(text(frame.column(x), bottom + 20, "middle", short(x)))
    return [*parts, segment("axis", left, bottom, right, bottom)]


def _grid(frame: Frame, unit: str, second: tuple[float, str] | None) -> list[str]:
    right, step = frame.right, text(8, frame.bottom + 20, "start", "step")
    parts = [text(frame.left - 48, 14, "start", unit), *_scales(frame, columns=6), step]
    if second:
        factor, name = second
        parts += [text(right + 52, 14, "end", name)]
        for value in ticks(frame.y[0] * factor, frame.y[1] * factor):
            row = frame.row(value / factor)
            parts += [text(right + 8, row + 4, "start", short(value))]
    return parts


def _draw(frame: Frame, line: Line) -> list[str]:
    points = line.finite()
    condensed = condense(points)
    means = [y for _, y, _, _ in condensed]
    parts = []
    if line.noisy and len(condensed) > 2:
        upper = [frame.at(x, top) for x, _, _, top in condensed]
        lower = [frame.at(x, bottom) for x, _, bottom, _ in reversed(condensed)]
        if len(condensed) < len(points):
            parts.append(f'<path class="band {line.style}" d="M{"L".join(upper + lower)}Z"/>')
        else:
            parts.append(f'<path class="raw {line.style}" d="M{"L".join(upper)}"/>')
        means = smooth(means, len(means) // 40)
    path = "L".join(frame.at(x, y) for (x, *_), y in zip(condensed, means, strict=True))
    parts.append(f'<path class="line {line.style}" d="M{path}"/>')
    if line.dots and len(points) <= BUCKETS // 4:
        parts += [frame.circle(line.style, x, y, "3", f"step {x:,.0f}: {y:.4f}") for x, y in points]
    return parts


def _mark(frame: Frame, step: float, word: str) -> str:
    column = frame.column(step)
    anchor, shift = ("end", -5) if column > (frame.left + frame.right) / 2 else ("start", 5)
    return segment("mark", column, frame.top, column, frame.bottom) + text(
        column + shift, frame.top + 10, anchor, word
    )


def segment(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x: float, y: float, anchor: str, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def short(value: float) -> str:
    """Return a tick's label: `0.002`, `1.5`, `20k`, `3M`."""
    for least, factor, suffix in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / factor:g}{suffix}"
    if value and abs(value) < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:g}"
