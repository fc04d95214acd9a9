"""Everything that a training loop works with, placed, typed and replicated before it starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nextword.settings import FinetuneSettings, PretrainSettings
from nextword.training.metrics_log import MetricsLog
from nextword.training.optimizers import Optimizers
from nextword.training.parallel import Group, Interrupt, LossModule, ReplicatedLoss, replicate
from nextword.training.schedule import Plan
from nextword.training.state import Loader, State, Validator
from nextword.training.threads import ThreadWatch


@dataclass(frozen=True)
class Session:
    """What surrounds a run: its processes, its signals and the machine's threads."""

    group: Group
    interrupt: Interrupt
    threads: ThreadWatch


@dataclass(frozen=True)
class LogValues:
    """What is logged of some steps beside their loss, and how it is shown to people."""

    values: dict[str, float]
    text: str


class Hooks(Protocol):
    """What pretraining and fine-tuning do in their own ways."""

    def log_values(self, state: State, loss: float, targets_per_second: float) -> LogValues:
        """Return what is logged beside the loss."""
        ...

    def describe(self, state: State) -> str:
        """Say for the model's card what it learned from, and how good it is."""
        ...

    def save_model(self, directory: Path, card: str) -> None:
        """Write the model as a Hugging Face directory."""
        ...

    def give_up(self, state: State) -> str:
        """Return after a validation why the run is to end, "" for going on."""
        ...


@dataclass(frozen=True)
class Subject:
    """What is trained: `loss` takes the model and a batch and returns the sum of its losses."""

    model: nn.Module
    loss: Callable[[Any, Any], Tensor]
    loader: Loader
    validator: Validator
    hooks: Hooks


@dataclass
class Trainer:
    """Everything that the loop works with. `loss_module` takes a batch and returns the sum of its
    losses; `average` holds the moving average of the weights, by name, where one is asked for."""

    run: Path
    model: nn.Module
    loss_module: ReplicatedLoss
    optimizers: Optimizers
    loader: Loader
    validator: Validator
    hooks: Hooks
    plan: Plan
    settings: PretrainSettings | FinetuneSettings
    group: Group
    interrupt: Interrupt
    threads: ThreadWatch
    log: MetricsLog
    average: dict[str, Tensor] = field(default_factory=dict)

    @property
    def average_decay(self) -> float:
        return self.settings.ema if isinstance(self.settings, PretrainSettings) else 0.0


def build_trainer(
    run: Path,
    subject: Subject,
    optimizers: Optimizers,
    plan: Plan,
    settings: PretrainSettings | FinetuneSettings,
    session: Session,
    log: MetricsLog,
) -> Trainer:
    """Replicate the model over the session's processes and put everything together."""
    trainer = Trainer(
        run,
        subject.model,
        replicate(LossModule(subject.model, subject.loss), session.group),
        optimizers,
        subject.loader,
        subject.validator,
        subject.hooks,
        plan,
        settings,
        session.group,
        session.interrupt,
        session.threads,
        log,
    )
    if trainer.average_decay:
        trainer.average = {n: p.detach().clone() for n, p in subject.model.named_parameters()}
    return trainer


@torch.no_grad()
def update_average(trainer: Trainer) -> None:
    """Move the averaged weights a little towards the present ones (Polyak averaging)."""
    for name, parameter in trainer.model.named_parameters():
        trainer.average[name].lerp_(parameter, 1 - trainer.average_decay)
