"""The figures of each step: for metrics.jsonl, and one line for people."""

from __future__ import annotations

from nextword.training.state import State, StepResult
from nextword.training.trainer import Trainer


class ThroughputMeter:
    """Averages losses over `log_every` steps and measures targets a second."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self._losses: list[float] = []
        self._targets = 0
        self._seconds = 0.0
        self._line = ""

    def log(self, state: State, result: StepResult, lr_scale: float, seconds: float) -> str:
        """Record a step that took `seconds`; returns the line that the progress bar shows."""
        self._losses.append(result.loss)
        self._targets += result.targets
        self._seconds += seconds
        if state.step % self.trainer.plan.log_every and state.step < state.schedule.steps:
            return self._line
        loss = sum(self._losses) / len(self._losses)
        logged = self.trainer.hooks.log_values(
            state, loss, self._targets / max(self._seconds, 1e-9)
        )
        self.trainer.log.write(
            "train",
            state.step,
            loss=loss,
            **logged.values,
            learning_rate=self.trainer.plan.learning_rate * lr_scale,
            grad_norm=result.gradient_norm,
            seconds=state.seconds,
        )
        self._losses, self._targets, self._seconds = [], 0, 0.0
        self._line = f"step {state.step:,}/{state.schedule.steps:,}  loss {loss:.3f}  {logged.text}"
        return self._line
