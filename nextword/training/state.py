"""What a training loop works on (Job) and where it stands (State)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from nextword.errors import UserError
from nextword.models.transformer import Transformer
from nextword.tokens.loader import BlockLoader
from nextword.training.interrupt import Interrupt
from nextword.training.metrics import Metrics
from nextword.training.optimizers import Optimizers
from nextword.training.parallel import Group
from nextword.training.schedule import Schedule
from nextword.training.validation import Validator


@dataclass(frozen=True)
class StepResult:
    loss: float  # nats a target, over all micro-batches and ranks
    gradient_norm: float  # before clipping
    targets: int


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
    best_loss: float | None = None
    best_step: int = 0
    worse: int = 0  # validations since the best one
    validated: int = 0  # the step last validated at, sampled at, saved at
    sampled: int = 0
    saved: int = -1
    skipped: int = 0  # steps left out because they were not finite
    interval_loss: float = 0.0  # summed over the steps since the last validation
    interval_steps: int = 0
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


@dataclass
class Job:
    """Everything is placed, typed, compiled and replicated before a loop sees it."""

    run: Path
    model: Transformer
    objective: nn.Module  # a batch in, the sum of its losses out
    optimizers: Optimizers
    loader: BlockLoader
    validator: Validator
    metrics: Metrics
    interrupt: Interrupt
    group: Group
    seed: int
    batch_size: int  # sequences a step, over all ranks
    micro_batch: int
    clip: float
    learning_rate: float
    skip_nonfinite: bool
    eval_every: int
    sample_every: int  # 0 for never
    save_every: int
    log_every: int
    keep_checkpoints: int
    patience: int | None
    decay: float  # share of the run that wsd decays in
    flops_per_token: float
    peak: float  # FLOP/s of matrix multiplication in the activations' type
    text: str  # what the model learns from, in words
    save_model: Callable[[Path, str], None]  # writes it as a Hugging Face directory with a card
    average: dict[str, Tensor] = field(default_factory=dict)  # moving average of the weights
    average_decay: float = 0.0
