"""The figures of each step: for metrics.jsonl, and one line for people."""

from __future__ import annotations

import math

from nextword.terminal import quantity
from nextword.training.state import Job, State, StepResult


class Meter:
    """Averages losses over `log_every` steps and measures tokens a second."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._losses: list[float] = []
        self._tokens = 0
        self._seconds = 0.0
        self._line = ""

    def log(self, state: State, result: StepResult, share: float, seconds: float) -> str:
        """Record a step that took `seconds`; returns the line that the progress bar shows."""
        self._losses.append(result.loss)
        self._seconds += seconds
        self._tokens += result.targets
        if state.step % self.job.log_every and state.step < state.schedule.steps:
            return self._line
        loss = sum(self._losses) / len(self._losses)
        speed = self._tokens / max(self._seconds, 1e-9)
        machine_share = speed * self.job.flops_per_token / (self.job.peak * self.job.group.size)
        bits_per_byte = loss / math.log(2) * self.job.validator.tokens_per_byte
        self.job.metrics.write(
            "train",
            state.step,
            loss=loss,
            bits_per_byte=bits_per_byte,
            learning_rate=self.job.learning_rate * share,
            grad_norm=result.gradient_norm,
            tokens=state.tokens,
            tokens_per_second=speed,
            matmul_share=machine_share,
            seconds=state.seconds,
        )
        self._losses, self._tokens, self._seconds = [], 0, 0.0
        self._line = (
            f"step {state.step:,}/{state.schedule.steps:,}  loss {loss:.3f}  "
            f"{bits_per_byte:.3f} bits/byte  {quantity(speed, 'tokens/s')}  "
            f"{machine_share:.0%} of matmul peak"
        )
        return self._line
