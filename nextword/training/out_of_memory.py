"""A step that does not fit the memory is taken again in smaller micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from nextword.resources import give_back, is_out_of_memory
from nextword.terminal import warn
from nextword.tokens.loader import AnyBatch
from nextword.training.trainer import Trainer

Taken = TypeVar("Taken")


def within_memory(
    trainer: Trainer,
    number: int,
    batches: Sequence[AnyBatch],
    make: Callable[[], Sequence[AnyBatch]],
    take: Callable[[Sequence[AnyBatch]], Taken],
) -> Taken:
    """Return what `take` makes of the micro-batches of step `number`, from 0; where they do not
    fit, it is given smaller ones, which `make` returns for the plan as it is then.

    The loss is a sum over targets, so the step's gradient is the same but for rounding. Raises what
    `take` raises where there is nothing left to halve, where an update has begun, or where other
    ranks wait for this one.
    """
    plan = trainer.plan
    while True:
        if trainer.group.size == 1 and len(batches) < -(-plan.batch_size // plan.micro_batch):
            batches = make()  # those were made before it was halved
        try:
            return take(batches)
        except (RuntimeError, MemoryError) as error:
            if not (is_out_of_memory(error) and _halve(trainer, number + 1)):
                raise
        # Here the error is gone, and with its traceback the tensors of the pass that failed.
        for parameter in trainer.optimizers.parameters:
            parameter.grad = None
        give_back()
        if trainer.group.device.type == "cuda":
            torch.cuda.empty_cache()


def _halve(trainer: Trainer, step: int) -> bool:
    """Halve the plan's micro-batches from a step on; return whether that may help."""
    plan, group = trainer.plan, trainer.group
    if group.size > 1 or trainer.optimizers.updating or plan.micro_batch == 1:
        return False
    plan.micro_batch = -(-plan.micro_batch // 2)
    message = (
        f"step {step:,} does not fit the memory: it is computed {plan.micro_batch} sequences "
        "at a time from here on, with the same result"
    )
    warn(message)
    trainer.log.event(step, "memory", message)
    return True
