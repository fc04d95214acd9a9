"""A run with a budget ends when its time is up, whatever its schedule and however fast it is."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from nextword.training.loop import CONCLUDING, MEASURING, fit_to_budget
from nextword.training.schedule import Schedule
from nextword.training.state import State

TRAINER: Any = SimpleNamespace(plan=SimpleNamespace(decay_share=0.4))
SHAPES = ["wsd", "cosine", "linear", "constant"]


def clocked(
    shape: str, planned: int, seconds_a_step: Any, budget: float = 100.0
) -> tuple[State, list[float]]:
    """A run whose steps take the seconds said; its end and the scales of its learning rate."""
    schedule = Schedule(shape, planned, 10, round(0.4 * planned))  # type: ignore[arg-type]
    state = State(schedule, budget, seconds=5.0, began=5.0, validating=0.5, saving=0.5)
    scales = []
    while True:
        fit_to_budget(TRAINER, state)
        if state.step >= state.schedule.steps:
            return state, scales
        scales.append(state.schedule.lr_scale(state.step))
        state.step += 1
        state.seconds += 6.0 if state.step == 1 else seconds_a_step(state.seconds)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("actual", [0.02, 0.1, 0.4])
def test_a_plan_that_was_wrong_is_mended(shape: str, actual: float) -> None:
    """The plan expected 0.1 s a step, and nothing of the first step's six seconds."""
    state, scales = clocked(shape, 950, lambda now: actual)
    kept = 100 * MEASURING + CONCLUDING  # for what comes after the last step
    ended = state.seconds + 1.0 + kept
    assert ended == pytest.approx(100, abs=max(1.0, 2 * actual))
    settled = scales[20:]
    jumps = [abs(b - a) for a, b in itertools.pairwise(settled)]
    assert max(jumps) < 0.02, "the learning rate jumped"
    assert scales[-1] == (1.0 if shape == "constant" else pytest.approx(0, abs=0.05))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_machine_that_becomes_slower_late_is_still_on_time(shape: str) -> None:
    state, _ = clocked(shape, 950, lambda now: 0.1 if now < 75 else 0.2)
    assert 95 < state.seconds + 1.0 < 103


def test_once_the_decay_begins_the_last_step_stands() -> None:
    state, _ = clocked("wsd", 950, lambda now: 0.1)
    assert state.horizon_fixed
    before = state.schedule
    state.step -= 5
    state.seconds -= 0.5
    fit_to_budget(TRAINER, state)
    assert state.schedule == before


def test_a_budget_that_is_spent_before_the_first_step_still_ends() -> None:
    state, scales = clocked("wsd", 950, lambda now: 0.1, budget=3.0)
    assert state.step == len(scales) == 2


def test_without_a_budget_the_clock_changes_nothing() -> None:
    state = State(Schedule("wsd", 50, 1, 20), step=30, seconds=1e6)
    fit_to_budget(TRAINER, state)
    assert state.schedule == Schedule("wsd", 50, 1, 20)
