"""What a fine-tuning run decides before its first step, and what it tells people of that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nextword.errors import UserError
from nextword.models.lora import trainable
from nextword.settings import FinetuneSettings
from nextword.tasks.learnable import Learnable
from nextword.terminal import quantity, say
from nextword.training.precision import Precision
from nextword.training.schedule import Schedule

EPOCHS = 3.0  # passes over a few thousand examples; of fewer more, of very many fewer
FEW, MANY, MOST_EPOCHS = 2_000, 100_000, 20.0
SHOWN = 400  # characters of an example
REFERENCE_WIDTH = 768  # of GPT-2's smallest, for which these rates are usual
LEARNING_RATES = {"adamw": 5e-5, "muon": 1e-4, "sgd": 1e-2}
LORA_RATE = 10.0  # times that: the updates begin at zero
MOST_TIMES = 40.0  # times the usual rate, for the smallest models
TOKENS_AT_ONCE = 8192
VALIDATIONS = 10
DECAY = 0.4  # share of a run that wsd decays in
WRITTEN = ("qa", "summarize", "translate")
FOR = {  # what a setting is for; elsewhere it would do nothing without a word
    **{"pair_column": ("classify",), "labels": ("classify",), "class_weights": ("classify",)},
    **{"label_column": ("classify", "tag"), "question_column": ("qa",)},
    **{"target_column": (*WRITTEN, "chat"), "prompt": WRITTEN, "beams": WRITTEN},
}
UPDATES = ("lora_rank", "lora_alpha", "lora_dropout")


@dataclass
class Plan:
    """What is decided before the first step; RUN/run.json keeps it."""

    batch_size: int
    micro_batch: int
    learning_rate: float
    schedule: Schedule
    epochs: float
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
    epochs = settings.epochs or usual_epochs(count)
    steps = settings.steps or max(1, math.ceil(epochs * an_epoch))
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
        epochs=steps / an_epoch if settings.steps else epochs,
        eval_every=settings.eval_every or max(1, steps // VALIDATIONS),
        save_every=settings.save_every or max(1, steps // 4),
    )


def check(settings: FinetuneSettings) -> None:
    """Raise UserError for a setting that would do nothing, before any data is read."""
    for name in filter(settings.changes, (*FOR, *UPDATES)):
        flag, task = f"--{name.replace('_', '-')}", settings.task
        if name in UPDATES:
            if not settings.lora:
                raise UserError(f"{flag} does nothing without --lora", mend="give --lora too")
        elif task not in FOR[name]:
            others = " or ".join(FOR[name])
            raise UserError(f"{flag} does nothing for --task {task}", mend=f"it is for {others}")
        elif settings.extract and name in ("prompt", "beams"):
            raise UserError(f"{flag} does nothing with --extract: no answer is written")


def usual_epochs(examples: int) -> float:
    """Passes over so many examples: their number grows with the root of how few they are."""
    scarce = min(EPOCHS * max(1.0, FEW / examples) ** 0.5, MOST_EPOCHS)
    return max(1.0, round(scarce * min(1.0, MANY / examples) ** 0.5))


def brief(shown: str, most: int = SHOWN) -> str:
    """An example in one line: its beginning, and where it is cut the place at which what is learnt
    begins."""
    text = " ".join(shown.split())
    begin = text.find("⟦")
    if len(text) <= most or begin < most // 2:
        return text[:most]
    before = most // 4
    return f"{text[:before]} … {text[begin - before : begin + most // 2]}"


def tell(
    made: Learnable, held_out: int, plan: Plan, measured: Precision, settings: FinetuneSettings
) -> None:
    """What is about to be done and why, with one example as the model sees it."""
    count = len(made.sources)
    learning, everything = trainable(made.model)
    say(f"  {count:,} examples of {quantity(sum(made.lengths), 'tokens')}, {held_out:,} held out")
    if made.kept.columns:
        read = ", ".join(
            f"{role.removesuffix('_column')} {name!r}" for role, name in made.kept.columns.items()
        )
        say(f"  columns: {read}")
    for remark in made.remarks:
        say(f"  {remark}")
    if settings.random_weights:
        say(f"  weights drawn anew from seed {settings.seed}: nothing was learnt before this run")
    say(f"  an example: {brief(made.shown)}")
    say(
        f"  {plan.schedule.steps:,} steps of {plan.batch_size} examples, {plan.epochs:.1f} passes; "
        f"{settings.optimizer} at learning rate {plan.learning_rate:.2g}; activations in "
        f"{measured.name}"
    )
    say(
        f"  {quantity(learning, 'parameters')} of {quantity(everything)} learn"
        f" ({learning / everything:.2%})"
    )
