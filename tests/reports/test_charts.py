from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from nextword.reports.charts import Line, chart, condense, smooth, ticks


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (2.9, 8.4), (-0.003, 0.0029), (0, 123_456), (3.14159, 3.14160)]
)
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    values = ticks(low, high)
    assert 2 <= len(values) <= 11
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in values)
    steps = np.diff(values)
    assert np.allclose(steps, steps[0], rtol=1e-3)
    mantissa = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-6)
    assert any(math.isclose(mantissa, m, rel_tol=1e-3) for m in (1, 2, 5))


def test_condensing_keeps_the_mean_and_the_extremes() -> None:
    chance = np.random.default_rng(3)
    points = [(float(x), float(y)) for x, y in enumerate(chance.normal(size=7200))]
    condensed = condense(points, 360)
    ys = np.array([y for _, y in points]).reshape(360, 20)
    assert np.allclose([mean for _, mean, _, _ in condensed], ys.mean(1))
    assert np.allclose([least for _, _, least, _ in condensed], ys.min(1))
    assert np.allclose([most for _, _, _, most in condensed], ys.max(1))


def test_smoothing_keeps_straight_lines_straight_up_to_their_ends() -> None:
    line = [0.5 * x + 3 for x in range(50)]
    assert np.allclose(smooth(line, 7), line)


def test_a_chart_is_well_formed_and_passes_through_its_points() -> None:
    line = Line("loss", [(0, 1.0), (50, 3.0), (100, 2.0)], "held", dots=True)
    svg = ElementTree.fromstring(str(chart("Loss", [line], unit="nats")))
    circles = [element for element in svg.iter() if element.tag.endswith("circle")]
    xs = [float(circle.attrib["cx"]) for circle in circles]
    ys = [float(circle.attrib["cy"]) for circle in circles]
    assert xs[1] == pytest.approx((xs[0] + xs[2]) / 2, abs=0.1)
    assert ys[2] == pytest.approx((ys[0] + ys[1]) / 2, abs=0.1), "the scale is linear"
    assert ys[1] < ys[2] < ys[0], "more is higher up"


def test_values_that_are_not_finite_are_left_out() -> None:
    points = [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)]
    svg = str(chart("Loss", [Line("loss", points, "train")], unit="nats"))
    assert svg and "nan" not in svg and "inf" not in svg


@pytest.mark.parametrize("points", [[], [(1, 2.0)], [(5, 1.0), (5, 2.0)], [(0, math.nan)] * 3])
def test_too_little_to_draw_draws_nothing(points: list[tuple[float, float]]) -> None:
    assert chart("Loss", [Line("loss", points, "train")], unit="nats") == ""


def test_a_level_line_is_drawn() -> None:
    assert chart("Rate", [Line("rate", [(0, 0.0), (9, 0.0)], "blue")], unit="", from_zero=True)


def test_words_in_a_chart_are_escaped() -> None:
    line = Line("loss", [(0, 1.0), (9, 2.0)], "train")
    svg = str(chart("<b>", [line], unit="<script>", marks=[(3, "<i>&")]))
    assert "<script>" not in svg and "<i>" not in svg and "<b>" not in svg
    ElementTree.fromstring(svg)
