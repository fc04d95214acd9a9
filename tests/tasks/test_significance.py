from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from nextword.evaluation.bootstrap import Resampler
from nextword.evaluation.significance import compare_metrics, mcnemar


def test_mcnemar_is_scipys_two_sided_binomial_test_of_a_fair_coin() -> None:
    counts = [0, 1, 2, 3, 7, 20, 61, 300, 1234]
    for one, other in itertools.product(counts, counts):
        wanted = stats.binomtest(one, one + other).pvalue if one + other else 1.0
        assert mcnemar(one, other) == pytest.approx(wanted, rel=1e-9, abs=1e-300), (one, other)


def test_mcnemar_of_many_examples_is_still_exact() -> None:
    assert mcnemar(30_000, 30_500) == pytest.approx(stats.binomtest(30_000, 60_500).pvalue)
    assert mcnemar(0, 5_000) == 0.0  # 2 / 2**5000 is less than any float


def means(values: np.ndarray):
    return lambda chosen: {"mean": float(values[chosen].mean())}


def test_interval_and_p_of_a_mean_are_those_of_the_paired_t_test() -> None:
    chance = np.random.default_rng(4)
    first = chance.normal(0, 3, 500)
    second = first + chance.normal(0.05, 0.5, 500)  # pairs vary much less than the examples do
    found = compare_metrics(500, means(first), means(second), draws=Resampler(1))["mean"]
    known = stats.ttest_rel(second, first)
    ends = known.confidence_interval()
    assert found.difference == pytest.approx((second - first).mean())
    assert found.interval == pytest.approx((ends.low, ends.high), abs=0.006)
    assert found.p == pytest.approx(known.pvalue, rel=0.3)


def test_the_bootstrap_is_that_of_a_plain_loop_over_resampled_examples() -> None:
    """Of a figure that is no mean: the ratio of the examples' sums."""
    chance = np.random.default_rng(9)
    above, other, below = chance.random((3, 80))

    def ratio(part: np.ndarray):
        return lambda chosen: {"ratio": float(part[chosen].sum() / below[chosen].sum())}

    found = compare_metrics(80, ratio(above), ratio(other), draws=Resampler(3))["ratio"]
    by_hand = []
    for _ in range(20_000):
        drawn = [int(80 * chance.random()) for _ in range(80)]
        whole = sum(below[i] for i in drawn)
        by_hand.append(sum(other[i] - above[i] for i in drawn) / whole)
    assert found.interval == pytest.approx(np.percentile(by_hand, [2.5, 97.5]), abs=0.015)
    rarer = min(np.mean(np.array(by_hand) <= 0), np.mean(np.array(by_hand) >= 0))
    assert found.p == pytest.approx(2 * rarer, abs=0.05)


def test_both_models_are_measured_on_the_same_draws() -> None:
    values = np.random.default_rng(2).normal(0, 100, 50)
    found = compare_metrics(50, means(values), means(values + 1), draws=Resampler(5))["mean"]
    assert found.interval == pytest.approx((1, 1)) and found.p < 0.002 and found.real


def test_equal_models_are_not_told_apart_and_no_draws_give_certainty() -> None:
    values = np.random.default_rng(2).normal(0, 1, 50)
    same = compare_metrics(50, means(values), means(values), draws=Resampler(5))["mean"]
    assert (same.p, same.real, same.interval) == (1.0, False, (0.0, 0.0))
    assert compare_metrics(50, means(values), means(values + 9), draws=Resampler(5))["mean"].p > 0


def test_a_comparison_is_a_function_of_its_seed() -> None:
    one, other = np.random.default_rng(2).normal(0, 1, (2, 40))
    again = [compare_metrics(40, means(one), means(other), Resampler(s))["mean"] for s in (1, 1, 2)]
    assert again[0] == again[1] != again[2]
