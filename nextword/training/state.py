"""What a training loop works on (Job) and where it stands (State)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nextword.models.transformer import Transformer
from nextword.tokens.loader import BlockLoader
from nextword.training.interrupt import Interrupt
from nextword.training.metrics import Metrics
from nextword.training.optimizers import Optimizers
from nextword.training.parallel import Group
from nextword.training.schedule import Schedule
from nextword.training.validation import Validator


@dataclass
class State:
    """Where a run stands; a checkpoint holds all of it. `step` counts the steps taken."""

    schedule: Schedule
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0  # spent so far, over all resumes
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
    def from_json(cls, saved: dict[str, Any]) -> State:
        return cls(**{**saved, "schedule": Schedule(**saved["schedule"])})


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
    budget: float | None  # seconds, for the whole run
    flops_per_token: float
    peak: float  # FLOP/s of matrix multiplication in the activations' type
    save_model: Callable[[Path], None]  # writes the model as a Hugging Face directory
    average: dict[str, Tensor] = field(default_factory=dict)  # moving average of the weights
    average_decay: float = 0.0
