from __future__ import annotations

import pytest

from nextword.training.schedule import Schedule


def test_warm_up_rises_to_the_peak() -> None:
    shares = [Schedule("wsd", 100, 10, 40).share(step) for step in range(11)]
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(1 / 11) and shares[10] == 1.0


def test_wsd_is_flat_then_falls_to_nothing() -> None:
    schedule = Schedule("wsd", 100, 10, 40)
    assert {schedule.share(step) for step in range(10, 60)} == {1.0}
    falling = [schedule.share(step) for step in range(60, 100)]
    assert falling == sorted(falling, reverse=True)
    assert 0 < falling[-1] < 0.02


def test_cosine_and_linear_end_at_the_final_share() -> None:
    for shape in ("cosine", "linear"):
        schedule = Schedule(shape, 1000, 0, 1, final=0.1)  # type: ignore[arg-type]
        assert schedule.share(999) == pytest.approx(0.1, abs=1e-3)
        assert schedule.share(499) == pytest.approx(0.55, abs=2e-3)


def test_constant_stays() -> None:
    assert Schedule("constant", 10, 0, 1).share(9) == 1.0
