"""The figures of each step: for metrics.jsonl, and one line for people."""

from __future__ import annotations

from nextword.training.state import Job, State, StepResult


class Meter:
    """Averages losses over `log_every` steps and measures targets a second."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._losses: list[float] = []
        self._targets = 0
        self._seconds = 0.0
        self._line = ""

    def log(self, state: State, result: StepResult, share: float, seconds: float) -> str:
        """Record a step that took `seconds`; returns the line that the progress bar shows."""
        self._losses.append(result.loss)
        self._targets += result.targets
        self._seconds += seconds
        if state.step % self.job.log_every and state.step < state.schedule.steps:
            return self._line
        loss = sum(self._losses) / len(self._losses)
        figures = self.job.figures(state, loss, self._targets / max(self._seconds, 1e-9))
        self.job.metrics.write(
            "train",
            state.step,
            loss=loss,
            **figures.values,
            learning_rate=self.job.learning_rate * share,
            grad_norm=result.gradient_norm,
            seconds=state.seconds,
        )
        self._losses, self._targets, self._seconds = [], 0, 0.0
        self._line = (
            f"step {state.step:,}/{state.schedule.steps:,}  loss {loss:.3f}  {figures.words}"
        )
        return self._line
