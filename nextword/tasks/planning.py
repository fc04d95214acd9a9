"""What a fine-tuning run decides before its first step, and what it tells people of that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nextword.models.lora import trainable
from nextword.settings import FinetuneSettings
from nextword.tasks.learnable import Learnable
from nextword.terminal import quantity, say
from nextword.training.precision import Precision
from nextword.training.schedule import Schedule

EPOCHS = 3.0
REFERENCE_WIDTH = 768  # of GPT-2's smallest, for which these rates are usual
LEARNING_RATES = {"adamw": 5e-5, "muon": 1e-4, "sgd": 1e-2}
LORA_RATE = 10.0  # times that: the updates begin at zero
MOST_TIMES = 40.0  # times the usual rate, for the smallest models
TOKENS_AT_ONCE = 8192
VALIDATIONS = 10
DECAY = 0.4  # share of a run that wsd decays in


@dataclass
class Plan:
    """What is decided before the first step; RUN/run.json keeps it."""

    batch_size: int
    micro_batch: int
    learning_rate: float
    schedule: Schedule
    eval_every: int
    save_every: int

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Plan:
        return cls(**{**saved, "schedule": Schedule(**saved["schedule"])})


def decide(made: Learnable, settings: FinetuneSettings) -> Plan:
    """What the settings leave open: rules of thumb, scaled to the model and the data."""
    count = len(made.sources)
    batch = settings.batch_size or max(4, min(32, count // 50))
    mean = max(1, sum(made.lengths) // count)
    micro = settings.micro_batch or max(1, min(batch, TOKENS_AT_ONCE // mean))
    an_epoch = count / batch
    steps = settings.steps or max(1, math.ceil((settings.epochs or EPOCHS) * an_epoch))
    width = made.body.config.width
    times = (LORA_RATE if settings.lora else 1.0) * (REFERENCE_WIDTH / width) ** 2
    usual = LEARNING_RATES[settings.optimizer]
    rate = settings.learning_rate or usual * min(times, MOST_TIMES)
    warmup = settings.warmup * steps if settings.warmup < 1 else settings.warmup
    return Plan(
        batch_size=batch,
        micro_batch=min(micro, batch),
        learning_rate=rate,
        schedule=Schedule(settings.schedule, steps, round(warmup), max(1, round(DECAY * steps))),
        eval_every=settings.eval_every or max(1, steps // VALIDATIONS),
        save_every=settings.save_every or max(1, steps // 4),
    )


def tell(
    made: Learnable, held_out: int, plan: Plan, measured: Precision, settings: FinetuneSettings
) -> None:
    """What is about to be done and why, with one example as the model sees it."""
    count = len(made.sources)
    learning, everything = trainable(made.model)
    epochs = plan.schedule.steps * plan.batch_size / count
    say(f"  {count:,} examples of {quantity(sum(made.lengths), 'tokens')}, {held_out:,} held out")
    for remark in made.remarks:
        say(f"  {remark}")
    if settings.random_weights:
        say(f"  weights drawn anew from seed {settings.seed}: nothing was learnt before this run")
    say(f"  an example: {' '.join(made.shown.split())[:400]}")
    say(
        f"  {plan.schedule.steps:,} steps of {plan.batch_size} examples, {epochs:.1f} passes; "
        f"{settings.optimizer} at learning rate {plan.learning_rate:.2g}; activations in "
        f"{measured.name}"
    )
    say(
        f"  {quantity(learning, 'parameters')} of {quantity(everything)} learn"
        f" ({learning / everything:.2%})"
    )
