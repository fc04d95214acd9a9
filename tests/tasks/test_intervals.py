from __future__ import annotations

import numpy as np
import pytest

from nextword.tasks.intervals import MOST_UNITS, ratio_interval, units


def test_the_interval_is_that_of_the_normal_approximation_where_it_holds() -> None:
    generator = np.random.default_rng(0)
    tokens = generator.integers(50, 200, 400)
    losses = generator.normal(3.0, 0.5, 400) * tokens
    interval = ratio_interval(losses, tokens, seed=1)
    assert interval is not None
    mean = losses.sum() / tokens.sum()
    residuals = losses - mean * tokens  # the delta method for a ratio
    error = residuals.std() * np.sqrt(len(tokens)) / tokens.sum()
    assert interval[0] == pytest.approx(mean - 1.96 * error, abs=0.2 * error)
    assert interval[1] == pytest.approx(mean + 1.96 * error, abs=0.2 * error)


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
