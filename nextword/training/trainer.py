"""Everything that a training loop works with, placed, typed and replicated before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from nextword.settings import FinetuneSettings, PretrainSettings
from nextword.training.background import Saver
from nextword.training.machine import ThreadWatch
from nextword.training.metrics_log import MetricsLog
from nextword.training.optimizers import Optimizers
from nextword.training.owners import local
from nextword.training.parallel import Group, Interrupt
from nextword.training.schedule import Plan
from nextword.training.sharding import Root, is_spread
from nextword.training.state import Loader, State, Validator


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
    """What is trained: a model, and the root module that makes the sum of its losses of a batch."""

    model: nn.Module
    loss_module: Root
    loader: Loader
    validator: Validator
    hooks: Hooks


@dataclass
class Trainer:
    """Everything that the loop works with. `loss_module` takes a batch and returns the sum of its
    losses; `average` holds the moving average of the weights, by name, where one is asked for."""

    run: Path
    model: nn.Module
    loss_module: Root
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
    saver: Saver
    average: dict[str, Tensor] = field(default_factory=dict)

    @property
    def lag(self) -> int:
        """How many steps are under way before the first one's figures are read."""
        return 0 if self.group.device.type == "cpu" else 1

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
    """Put together what is placed, typed and spread over ranks already."""
    on_gpu = session.group.device.type != "cpu"  # the CPU has time to write then
    trainer = Trainer(
        run,
        subject.model,
        subject.loss_module,
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
        Saver(session.group, spread=is_spread(subject.model), aside=on_gpu),
    )
    if trainer.average_decay:
        trainer.average = {n: p.detach().clone() for n, p in subject.model.named_parameters()}
    return trainer


@torch.no_grad()
def update_average(trainer: Trainer, skip: Tensor) -> None:
    """Move the averaged weights a little towards the present ones (Polyak averaging), unless `skip`
    [bool scalar] says that the step was left out."""
    for name, parameter in trainer.model.named_parameters():
        average, weight = local(trainer.average[name]), local(parameter)
        weight = torch.where(skip, average, weight)
        average.lerp_(weight, 1 - trainer.average_decay)
