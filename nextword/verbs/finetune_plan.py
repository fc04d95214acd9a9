"""What fine-tuning decides before its first step, and what it says of that."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.models.lora import add_lora, count_trainable
from nextword.registry import TASKS
from nextword.settings import FinetuneSettings
from nextword.tasks.dataset import Dataset, Encoded, groups_of
from nextword.tasks.opening import AnyTask, task_class
from nextword.terminal import count_of, quantity, say
from nextword.training import optimizers
from nextword.training.planning import MOMENTUM
from nextword.training.schedule import FinetunePlan, Schedule
from nextword.verbs.preview import preview, preview_encoded, show

EPOCHS = 3.0  # passes over a few thousand examples; of fewer more, of very many fewer
FEW, MANY, MOST_EPOCHS = 2_000, 100_000, 20.0
REFERENCE_WIDTH = 768  # of GPT-2's smallest, for which these rates are usual
LEARNING_RATES = {"adamw": 5e-5, "muon": 1e-4, "sgd": 1e-2}
LORA_RATE = 10.0  # times that: the updates begin at zero
MOST_TIMES = 40.0  # times the usual rate, for the smallest models
TOKENS_AT_ONCE = 8192
VALIDATIONS = 10
DECAY = 0.4  # share of a run that wsd decays in
UPDATES = ("lora_rank", "lora_alpha", "lora_dropout")

D = TypeVar("D", bound=Dataset[Any])


def plan(task: AnyTask, encoded: Encoded[Any], settings: FinetuneSettings) -> FinetunePlan:
    """Decide what the settings leave open: rules of thumb, scaled to the model and the data."""
    count = len(encoded.items)
    batch = settings.batch_size or max(4, min(32, count // 50))
    mean_length = max(1, sum(encoded.lengths) // count)
    micro = settings.micro_batch or max(1, min(batch, TOKENS_AT_ONCE // mean_length))
    an_epoch = count / batch
    epochs = settings.epochs or usual_epochs(count)
    steps = settings.steps or max(1, math.ceil(epochs * an_epoch))
    width = task.body.config.width
    times = (LORA_RATE if settings.lora else 1.0) * (REFERENCE_WIDTH / width) ** 2
    usual = task.rate_scale * LEARNING_RATES[settings.optimizer]
    warmup = settings.warmup * steps if settings.warmup < 1 else settings.warmup
    eval_every = settings.eval_every or max(1, steps // VALIDATIONS)
    return FinetunePlan(
        batch_size=batch,
        micro_batch=min(micro, batch),
        learning_rate=settings.learning_rate or usual * min(times, MOST_TIMES),
        weight_decay=settings.weight_decay,
        momentum=MOMENTUM[settings.optimizer],
        schedule=Schedule(settings.schedule, steps, round(warmup), max(1, round(DECAY * steps))),
        decay_share=DECAY,
        eval_every=eval_every,
        sample_every=eval_every,
        save_every=settings.save_every or max(1, steps // 4),
        log_every=max(1, steps // 200),
        epochs=steps / an_epoch if settings.steps else epochs,
    )


def hold_out(
    dataset: D, label_names: Sequence[Sequence[str]], settings: FinetuneSettings
) -> tuple[D, D]:
    """Return (examples to learn from, examples held out).

    A share is held out at random, examples with the same input (of questions, about the same text)
    always together, and some of each label, of `label_names` [examples], are left to learn from.
    Raises UserError where there are too few.
    """
    if not settings.val_fraction:
        return dataset, dataset.select([])
    groups = groups_of(dataset)
    sizes = np.bincount(groups)
    order = np.random.default_rng(settings.splits_by).permutation(len(sizes))
    room = max(settings.val_fraction * len(dataset), 1)
    held = np.zeros(len(sizes), np.bool_)
    for group in order:
        if sizes[group] <= room:
            held[group], room = True, room - sizes[group]
    if not held.any():  # every group is larger than the share
        held[order[np.argmin(sizes[order])]] = sizes.min() <= len(dataset) / 2
    _leave_labels(label_names, groups, held)
    is_held_out = held[groups]
    if not is_held_out.any() or is_held_out.all():
        raise UserError(
            f"{len(dataset):,} examples with {len(sizes):,} different inputs are too few to hold "
            "some out",
            mend="give more, or others to validate on with --val, or --val-fraction 0",
        )
    train, val = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
    return dataset.select(train), dataset.select(val)


def _leave_labels(
    labels: Sequence[Sequence[str]], groups: NDArray[np.int64], held: NDArray[np.bool_]
) -> None:
    """Put back groups whose labels would be held out only, and so never be learned."""
    left = Counter(n for own, g in zip(labels, groups, strict=True) if not held[g] for n in own)
    for own, group in zip(labels, groups, strict=True):
        if held[group] and any(not left[name] for name in own):
            held[group] = False
            for other, its in zip(labels, groups, strict=True):
                left.update(other if its == group else ())


def check(settings: FinetuneSettings) -> None:
    """Raise UserError for a setting that would do nothing, before any data is read."""
    for name in filter(settings.changes, UPDATES):
        if not settings.lora:
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} does nothing without --lora", mend="give --lora too")
    used = {task: task_class(task).settings_used for task in TASKS}
    for name in filter(settings.changes, sorted(frozenset().union(*used.values()))):
        flag = f"--{name.replace('_', '-')}"
        if name not in used[settings.task]:
            others = " or ".join(task for task in TASKS if name in used[task])
            raise UserError(
                f"{flag} does nothing for --task {settings.task}", mend=f"it is for {others}"
            )
        if settings.extract and name not in task_class("qa", extract=True).settings_used:
            raise UserError(f"{flag} does nothing with --extract: no answer is written")


def choose_parameters(task: AnyTask, settings: FinetuneSettings) -> None:
    """Add low-rank updates, or freeze layers, as the settings ask."""
    if settings.lora:
        add_lora(
            task.model,
            rank=settings.lora_rank,
            alpha=settings.lora_alpha,
            dropout=settings.lora_dropout,
            seed=settings.seed,
        )
    if settings.freeze:
        optimizers.freeze(task.model, settings.freeze)


def usual_epochs(examples: int) -> float:
    """Return passes over so many examples: they grow with the root of how few there are."""
    scarce = min(EPOCHS * max(1.0, FEW / examples) ** 0.5, MOST_EPOCHS)
    return max(1.0, round(scarce * min(1.0, MANY / examples) ** 0.5))


def tell(
    task: AnyTask,
    encoded: Encoded[Any],
    train: Dataset[Any],
    held_out: int,
    plan: FinetunePlan,
    settings: FinetuneSettings,
    precision: str,
) -> None:
    """Say what is about to be done and why, with a few examples as the model sees them."""
    learning, everything = count_trainable(task.model)
    say(
        f"  {count_of(len(encoded.items), 'example')} of "
        f"{quantity(sum(encoded.lengths), 'tokens')}, "
        f"{held_out:,} held out"
    )
    read = preview(type(task), train, settings)
    show(read | preview_encoded(task, encoded, train))
    if settings.from_scratch:
        say(f"  weights drawn anew from seed {settings.seed}: nothing was learned before this run")
    say(
        f"  {plan.schedule.steps:,} steps of {plan.batch_size} examples, {plan.epochs:.1f} passes; "
        f"{settings.optimizer} at learning rate {plan.learning_rate:.2g}; activations in "
        f"{precision}"
    )
    say(
        f"  {quantity(learning, 'parameters')} of {quantity(everything)} learn"
        f" ({learning / everything:.2%})"
    )
