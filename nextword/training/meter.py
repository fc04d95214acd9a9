"""The figures of each step: for metrics.jsonl, and one line for people."""

from __future__ import annotations

import time

from nextword.training.state import Job, State, StepResult


class Meter:
    """Averages losses over `log_every` steps and measures tokens a second."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._losses: list[float] = []
        self._targets = 0
        self._since = time.perf_counter()
        self._line = ""

    def log(self, state: State, result: StepResult, share: float) -> str:
        """Record a step; returns the line that the progress bar shows."""
        self._losses.append(result.loss)
        self._targets += result.targets
        if state.step % self.job.log_every and state.step < state.schedule.steps:
            return self._line
        loss = sum(self._losses) / len(self._losses)
        elapsed = max(time.perf_counter() - self._since, 1e-9)
        speed = self._targets / elapsed
        figures = self.job.figures(state, loss, speed)
        self.job.metrics.write(
            "train",
            state.step,
            loss=loss,
            **figures.values,
            learning_rate=self.job.learning_rate * share,
            grad_norm=result.gradient_norm,
            seconds=state.seconds,
        )
        self._losses, self._targets, self._since = [], 0, time.perf_counter()
        self._line = (
            f"step {state.step:,}/{state.schedule.steps:,}  loss {loss:.3f}  {figures.words}"
        )
        return self._line
