"""A run with a budget ends when its time is up: its last step is set by the clock.

The plan's last step is a guess from a short measurement; the speed of the steps taken is a better
one. So the last step is moved with every step, until the part of the schedule begins that leads to
it: wsd's decay, and the last `SETTLED` of the others. Then it is fixed, and what follows does not
depend on the clock. Only if the machine became slower since is it brought forward once more.
"""

from __future__ import annotations

from dataclasses import replace

from nextword.training.state import State
from nextword.training.trainer import Trainer

SETTLED = 0.4  # share of a run for which the last step stands, where wsd's decay does not say
LATE = 0.02  # share of a run by which it may end after its budget
MEASURING = 0.02  # share of a budget kept for measuring the finished model


def fit_to_budget(trainer: Trainer, state: State) -> None:
    """Set `state.schedule` so that the run, with its last validation and save, fills its budget."""
    if state.budget is None or not state.step:
        return
    if state.step == 1:  # it also compiles and allocates: not a measure of the others
        state.began = state.seconds
        return
    planned = state.schedule
    rate = (state.step - 1) / max(state.seconds - state.began, 1e-9)  # steps a second
    left = state.budget * (1 - MEASURING) - state.seconds - state.validating - state.saving
    steps = state.step + max(0, int(left * rate))
    if not state.horizon_fixed:
        decay = max(1, round(trainer.plan.decay_share * steps))
        state.schedule = replace(planned, steps=steps, decay=decay)
        leading = {"wsd": decay, "constant": 0}.get(planned.shape, SETTLED * steps)
        state.horizon_fixed = state.step >= steps - leading
    elif planned.steps - steps > LATE * planned.steps:
        state.schedule = replace(planned, steps=steps)
