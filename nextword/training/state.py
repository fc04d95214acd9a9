"""What a training loop works with, as protocols, and where it stands (State)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from nextword.errors import UserError
from nextword.tokens.loader import AnyBatch
from nextword.training.parallel import Group, Interrupt
from nextword.training.schedule import Schedule


class Loader(Protocol):
    """Batches in an order that is a pure function of their number."""

    def batch(self, first: int, count: int) -> AnyBatch:
        """`count` samples, numbered from `first` on through the epochs."""
        ...

    def expect(self, first: int, count: int) -> None:
        """Begin to bring here what these samples need, where it is elsewhere."""
        ...

    def documents(self, first: int, count: int) -> list[str]:
        """Where these samples came from."""
        ...


@dataclass(frozen=True)
class Validation:
    """What a validation measured. The model of the highest `score` is the best, of equal ones that
    of the lowest loss; `metrics` are for people, by name. Where every answer is right,
    `converged_loss` is the training loss below which nothing is left to learn."""

    loss: float
    score: float
    metrics: dict[str, float]
    converged_loss: float | None = None


class Validator(Protocol):
    """Measures a model on held-out data and shows what it writes."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held out to measure on."""
        ...

    @property
    def can_sample(self) -> bool:
        """Whether there is something that the model can write."""
        ...

    def measure(self, model: Any, group: Group, interrupt: Interrupt) -> Validation | None:
        """Measure a model; None when a stop was asked for meanwhile."""
        ...

    def sample(self, model: Any) -> tuple[str, str]:
        """Return a prompt and what the model writes after it."""
        ...


@dataclass(frozen=True)
class StepResult:
    loss: float  # nats a target, over all micro-batches and ranks
    gradient_norm: float  # before clipping
    targets: int
    seconds: float = 0.0  # since the run began, summed over the ranks
    stops: bool = False  # whether a rank is asked to stop


@dataclass
class State:
    """Where a run stands; a checkpoint holds all of it. `step` counts the steps taken."""

    schedule: Schedule
    budget: float | None = None  # seconds, for the whole run
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0  # spent so far, over all resumes
    began: float = 0.0  # of these, before the second step
    validating: float = 0.0  # seconds the last validation took, with its sample
    saving: float = 0.0  # seconds the last checkpoint took
    resting: float = 0.0  # seconds of the run until which the cost of saving forbids the next one
    best_loss: float | None = None
    best_score: float | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    best_step: int = 0
    worse: int = 0  # validations since the best one
    validated: int = 0  # the step last validated at, sampled at, saved at
    sampled: int = 0
    saved: int = -1
    skipped: int = 0  # steps left out because they were not finite
    threads: int = 0  # of the CPU, since it was chosen anew; 0 for those of the run's beginning
    interval_loss: float = 0.0  # summed over the steps since the last validation
    interval_steps: int = 0
    unlogged_loss: float = 0.0  # summed over the steps since the log's last line, as are
    unlogged_steps: int = 0
    unlogged_targets: int = 0
    unlogged_seconds: float = 0.0
    overfitting: bool = False  # it was named already
    horizon_fixed: bool = False  # the clock has set the last step of a budgeted run
    finished: str = ""  # why the run is over, once it is

    @classmethod
    def from_json(cls, saved: dict[str, Any], where: Path) -> State:
        """What a checkpoint's state.json holds; UserError unless it is all of a state."""
        unknown = saved.keys() ^ {field.name for field in fields(cls)}
        if unknown:
            raise UserError(
                f"is the state of another version of nextword: {', '.join(sorted(unknown))}",
                where=where,
            )
        try:
            return TypeAdapter(cls).validate_json(json.dumps(saved), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise UserError(
                f"is not a run's state: {name} is {first['input']!r}", where=where
            ) from None
