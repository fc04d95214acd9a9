from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from numpy.typing import ArrayLike

from nextword.evaluation.bootstrap import MOST_UNITS, Resampler, ratio_interval, units
from nextword.evaluation.metrics import estimate, mean

Interval = tuple[float, float] | None


def interval_of_mean(values: ArrayLike, resampler: Resampler) -> Interval:
    metric = mean(np.asarray(values, np.float64))
    return estimate({"mean": metric}, resampler)["mean"].interval


def test_the_interval_is_that_of_the_normal_approximation_where_it_holds() -> None:
    generator = np.random.default_rng(0)
    tokens = generator.integers(50, 200, 400)
    losses = generator.normal(3.0, 0.5, 400) * tokens
    interval = ratio_interval(losses, tokens, seed=1)
    assert interval is not None
    loss = losses.sum() / tokens.sum()
    residuals = losses - loss * tokens  # the delta method for a ratio
    error = residuals.std() * np.sqrt(len(tokens)) / tokens.sum()
    assert interval[0] == pytest.approx(loss - 1.96 * error, abs=0.2 * error)
    assert interval[1] == pytest.approx(loss + 1.96 * error, abs=0.2 * error)


def test_intervals_hold_the_truth_about_nineteen_times_in_twenty() -> None:
    generator = np.random.default_rng(2)
    held = 0
    for seed in range(100):
        interval = ratio_interval(generator.normal(2.0, 1.0, 60), np.ones(60), seed)
        assert interval is not None
        held += interval[0] <= 2.0 <= interval[1]
    assert 87 <= held <= 99


def test_an_interval_is_a_function_of_the_seed() -> None:
    values = np.random.default_rng(0).random(50)
    assert ratio_interval(values, np.ones(50), 5) == ratio_interval(values, np.ones(50), 5)
    assert ratio_interval(values, np.ones(50), 5) != ratio_interval(values, np.ones(50), 6)


def test_where_all_are_right_the_interval_is_the_binomials() -> None:
    """Draws of twenty right answers are always right: that is not to be sure."""
    exact = scipy.stats.binomtest(20, 20).proportion_ci(0.95, "exact")
    assert interval_of_mean([1.0] * 20, Resampler(0)) == pytest.approx((exact.low, exact.high))
    exact = scipy.stats.binomtest(0, 20).proportion_ci(0.95, "exact")
    assert interval_of_mean([0.0] * 20, Resampler(0)) == pytest.approx((exact.low, exact.high))
    grouped = interval_of_mean([1.0] * 20, Resampler(0, np.repeat(np.arange(5), 4)))
    assert grouped == pytest.approx((0.025**0.2, 1.0))


def test_one_unit_has_no_interval() -> None:
    assert ratio_interval([1.0], [2.0], 0) is None


def test_documents_are_drawn_where_there_are_enough_else_blocks() -> None:
    many = units(np.arange(0, 50 * 101, 50))
    assert many.kind == "documents" and len(many.starts) == 101
    book = units([0, 100_000])
    assert book.kind == "blocks" and book.starts[0] == 0 and book.starts[-1] == 100_000
    assert len(set(np.diff(book.starts))) <= 2
    assert len(units([0, 10]).starts) == 2
    crowd = units(np.arange(0, 7 * 100_001, 7))
    assert len(crowd.starts) - 1 <= MOST_UNITS and crowd.starts[-1] == 700_000
    assert (np.diff(crowd.starts) > 0).all()


def test_questions_about_one_text_count_as_one_where_their_texts_decide() -> None:
    """Against the cluster-robust error of a mean (Liang and Zeger 1986)."""
    chance = np.random.default_rng(3)
    sizes = chance.integers(1, 9, 120)
    groups = chance.permutation(np.repeat(np.arange(120), sizes))
    values = chance.normal(0, 1, 120)[groups] + chance.normal(0, 0.3, len(groups))
    grouped = interval_of_mean(values, Resampler(1, groups))
    residuals = np.bincount(groups, values - values.mean())
    error = np.sqrt(120 / 119 * np.square(residuals).sum()) / len(values)
    assert grouped == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.2 * error
    )
    alone = interval_of_mean(values, Resampler(1))
    assert grouped and alone and grouped[1] - grouped[0] > 1.8 * (alone[1] - alone[0])


def test_groups_are_drawn_whole_and_single_examples_as_ever() -> None:
    groups = np.array([0, 1, 0, 2, 1, 0])
    for drawn in Resampler(5, groups).draw(6, 50):
        counts = np.bincount(drawn, minlength=6)
        assert counts[0] == counts[2] == counts[5] and counts[1] == counts[4]
        assert counts[[0, 1, 3]].sum() == 3
    one, other = (np.stack(list(Resampler(5, g).draw(6, 9))) for g in (None, np.arange(6)))
    assert np.array_equal(one, other)


def test_a_part_of_the_examples_is_drawn_by_the_groups_that_are_in_it() -> None:
    some = Resampler(5, np.array([0, 1, 0, 3, 3])).among([True, False, True, True, False])
    assert some.units(3) == 2 and all({*drawn} <= {0, 1, 2} for drawn in some.draw(3, 20))
    one_text = Resampler(1, np.zeros(2, np.int64))
    assert interval_of_mean([1.0, 0.0], one_text) is None
