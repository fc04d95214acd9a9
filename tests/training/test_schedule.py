from __future__ import annotations

import math

import pytest

from nextword.training.schedule import Schedule


def test_warm_up_rises_to_the_peak() -> None:
    scales = [Schedule("wsd", 100, 10, 40).lr_scale(step) for step in range(11)]
    assert scales == sorted(scales)
    assert scales[0] == pytest.approx(1 / 11) and scales[10] == 1.0


def test_wsd_is_flat_then_falls_to_nothing() -> None:
    schedule = Schedule("wsd", 100, 10, 40)
    assert {schedule.lr_scale(step) for step in range(10, 60)} == {1.0}
    falling = [schedule.lr_scale(step) for step in range(60, 100)]
    assert falling == sorted(falling, reverse=True)
    assert 0 < falling[-1] < 0.02


def test_cosine_and_linear_end_at_the_final_share() -> None:
    for shape in ("cosine", "linear"):
        schedule = Schedule(shape, 1000, 0, 1, final=0.1)  # type: ignore[arg-type]
        assert schedule.lr_scale(999) == pytest.approx(0.1, abs=1e-3)
        assert schedule.lr_scale(499) == pytest.approx(0.55, abs=2e-3)


def test_constant_stays() -> None:
    assert Schedule("constant", 10, 0, 1).lr_scale(9) == 1.0


@pytest.mark.parametrize("shape", ["wsd", "cosine", "linear", "constant"])
def test_every_step_follows_the_formula(shape: str) -> None:
    steps, warmup, decay, final = 50, 8, 20, 0.1
    schedule = Schedule(shape, steps, warmup, decay, final)  # type: ignore[arg-type]
    for step in range(steps):
        middle = step + 0.5
        over = (middle - warmup) / (steps - warmup)
        expected = {
            "wsd": min(1.0, final + (1 - final) * (steps - middle) / decay),
            "cosine": final + (1 - final) * (1 + math.cos(math.pi * over)) / 2,
            "linear": final + (1 - final) * (1 - over),
            "constant": 1.0,
        }[shape]
        if step < warmup:
            expected = (step + 1) / (warmup + 1)
        elif shape == "wsd" and step < steps - decay:
            expected = 1.0
        assert schedule.lr_scale(step) == pytest.approx(expected, rel=1e-12), step
