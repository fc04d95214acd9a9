from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from nextword.evaluation.bootstrap import Resampler
from nextword.evaluation.metrics import Metric, accuracy
from nextword.evaluation.significance import Difference, compare_metrics, mcnemar


def both_tails(rarer: int, tosses: int) -> float:
    """How often a fair coin shows one of its sides so rarely, in whole numbers."""
    total, ways = 0, 1
    for heads in range(rarer + 1):
        total += ways
        ways = ways * (tosses - heads) // (heads + 1)
    return float(min(Fraction(2 * total, 2**tosses), Fraction(1)))


def test_mcnemar_is_the_two_sided_binomial_test_of_a_fair_coin() -> None:
    counts = [0, 1, 2, 3, 7, 20, 61, 300, 1234]
    for one, other in itertools.product(counts, counts):
        p = both_tails(min(one, other), one + other)
        assert mcnemar(one, other) == pytest.approx(p, rel=1e-9, abs=1e-300), (one, other)


def test_mcnemar_of_many_examples_is_still_exact() -> None:
    assert mcnemar(30_000, 30_500) == pytest.approx(both_tails(30_000, 60_500))
    assert mcnemar(0, 5_000) == 0.0  # 2 / 2**5000 is less than any float


def mean(values: NDArray[np.float64]) -> Metric:
    return Metric(len(values), lambda chosen: float(values[chosen].mean()))


def difference(first: Metric, second: Metric, seed: int) -> Difference:
    return compare_metrics({"it": first}, {"it": second}, Resampler(seed))["it"]


def test_interval_and_p_of_a_mean_are_those_of_the_paired_t_test() -> None:
    chance = np.random.default_rng(4)
    first = chance.normal(0, 3, 500)
    second = first + chance.normal(0.05, 0.5, 500)  # pairs vary much less than the examples do
    means = difference(mean(first), mean(second), 1)
    known = stats.ttest_rel(second, first)
    ends = known.confidence_interval()
    assert means.difference == pytest.approx((second - first).mean())
    assert means.interval == pytest.approx((ends.low, ends.high), abs=0.006)
    assert means.p == pytest.approx(known.pvalue, rel=0.3)


def test_the_bootstrap_is_that_of_a_plain_loop_over_resampled_examples() -> None:
    """Of a figure that is no mean: the ratio of the examples' sums."""
    chance = np.random.default_rng(9)
    above, other, below = chance.random((3, 80))

    def ratio(part: NDArray[np.float64]) -> Metric:
        return Metric(80, lambda chosen: float(part[chosen].sum() / below[chosen].sum()))

    ratios = difference(ratio(above), ratio(other), 3)
    by_hand = []
    for _ in range(20_000):
        drawn = [int(80 * chance.random()) for _ in range(80)]
        whole = sum(below[i] for i in drawn)
        by_hand.append(sum(other[i] - above[i] for i in drawn) / whole)
    assert ratios.interval == pytest.approx(np.percentile(by_hand, [2.5, 97.5]), abs=0.015)
    rarer = min(np.mean(np.array(by_hand) <= 0), np.mean(np.array(by_hand) >= 0))
    assert ratios.p == pytest.approx(2 * rarer, abs=0.05)


def test_both_models_are_measured_on_the_same_draws() -> None:
    values = np.random.default_rng(2).normal(0, 100, 50)
    means = difference(mean(values), mean(values + 1), 5)
    assert means.interval == pytest.approx((1, 1)) and means.p < 0.002 and means.real


def test_equal_models_are_not_told_apart_and_no_draws_give_certainty() -> None:
    values = np.random.default_rng(2).normal(0, 1, 50)
    same = difference(mean(values), mean(values), 5)
    assert (same.p, same.real, same.interval) == (1.0, False, (0.0, 0.0))
    assert difference(mean(values), mean(values + 9), 5).p > 0


def test_a_comparison_is_a_function_of_its_seed() -> None:
    one, other = np.random.default_rng(2).normal(0, 1, (2, 40))
    again = [difference(mean(one), mean(other), seed) for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]


def test_right_and_wrong_answers_are_compared_by_mcnemars_test_beside_other_metrics() -> None:
    first, second = np.arange(30) < 9, np.arange(30) >= 5
    compared = compare_metrics(
        {"accuracy": accuracy(first), "mean": mean(first.astype(float)), "other": mean(first)},
        {"accuracy": accuracy(second), "mean": mean(second.astype(float))},
        Resampler(1),
    )
    assert list(compared) == ["accuracy", "mean"], "only what both models have"
    right = compared["accuracy"]
    assert right.discordant == (5, 21) and right.p == pytest.approx(both_tails(5, 26))
    assert (right.test, compared["mean"].test) == ("McNemar, exact", "paired bootstrap")
    assert compared["mean"].discordant is None
    assert right.interval == compared["mean"].interval, "of the same draws"
