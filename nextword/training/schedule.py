"""Learning-rate schedules: the share of the peak rate as a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Shape = Literal["wsd", "cosine", "linear", "constant"]


@dataclass(frozen=True)
class Schedule:
    """`steps` in all, the first `warmup` of them rising; wsd falls in its last `decay` steps.

    Warm-up–stable–decay is that of MiniCPM (Hu et al. 2024); `final` is the share left at the end.
    """

    shape: Shape
    steps: int
    warmup: int
    decay: int
    final: float = 0.0

    def lr_scale(self, step: int) -> float:
        """Return the share of the peak learning rate that step number `step` (from 0) has."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        if self.shape == "constant":
            return 1.0
        if self.shape == "wsd":
            begin = max(self.warmup, self.steps - self.decay)
            return 1.0 if step < begin else self._fall(1 - self._passed(step, begin))
        passed = self._passed(step, self.warmup)
        if self.shape == "linear":
            return self._fall(1 - passed)
        return self._fall(0.5 * (1 + math.cos(math.pi * passed)))

    def _passed(self, step: int, begin: int) -> float:
        """How far through [begin, steps] a step's middle lies, 0 to 1."""
        return min(1.0, (step - begin + 0.5) / max(1, self.steps - begin))

    def _fall(self, share: float) -> float:
        return self.final + (1 - self.final) * share


@dataclass
class Plan:
    """What is decided before the first step of a run; RUN/run.json keeps it.

    `batch_size` sequences are a step over all ranks, `micro_batch` of them are computed at once;
    `decay_share` is the part of the run in which wsd's rate falls. Intervals are in steps, 0 for
    never.
    """

    batch_size: int
    micro_batch: int
    learning_rate: float
    weight_decay: float
    momentum: float
    schedule: Schedule
    decay_share: float
    eval_every: int
    sample_every: int
    save_every: int
    log_every: int


@dataclass
class FinetunePlan(Plan):
    """`epochs` are passes over the examples."""

    epochs: float
