"""The training loop. A step reads like its description: batch → loss → backward → clip → update.

A run with a budget ends when its time is up. The plan's last step is a guess from a short
measurement; the speed of the steps taken is a better one. So the last step moves with every step,
until the part of the schedule begins that leads to it: wsd's decay, and the last `SETTLED` of the
others. Then it is fixed, and what follows does not depend on the clock. Only if the machine has
become slower since is it brought forward once more.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from nextword.memory import FreedMemory, give_back
from nextword.terminal import Progress
from nextword.tokens.loader import AnyBatch
from nextword.training import periodic
from nextword.training.optimizers import Optimizers
from nextword.training.out_of_memory import within_memory
from nextword.training.parallel import Group, ReplicatedLoss
from nextword.training.state import State, StepResult
from nextword.training.trainer import Trainer, update_average

SETTLED = 0.4  # share of a run for which the last step stands, where wsd's decay does not say
LATE = 0.02  # share of a run by which it may end after its budget
MEASURING = 0.02  # share of a budget kept for measuring the finished model


class NonFiniteError(Exception):
    """A step's loss or gradient is NaN or infinite; nothing was updated."""


def train_step(
    loss_module: ReplicatedLoss,
    optimizers: Optimizers,
    batches: Sequence[AnyBatch],
    lr_scale: float,
    clip: float,
    group: Group,
) -> StepResult:
    """Take one optimizer step over this rank's micro-batches, at `lr_scale` of the peak rate.

    The loss is the sum over all targets divided by their number, counted over every micro-batch of
    every rank, so that how a step is cut up never changes its gradient. Without any target nothing
    is done. Raises NonFiniteError before anything is updated.
    """
    targets = int(group.total(sum(batch.target_count for batch in batches)))
    if not targets:
        return StepResult(0.0, 0.0, 0)
    nats = 0.0
    for number, batch in enumerate(batches, start=1):
        # Ranks exchange their gradients in a step's last backward pass alone.
        with loss_module.no_sync() if number < len(batches) else nullcontext():
            loss = loss_module(batch)
            (loss * (group.size / targets)).backward()  # DDP averages over ranks; this is a sum
        nats += float(loss.detach())
    mean = group.total(nats) / targets
    parameters = optimizers.parameters
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not (math.isfinite(mean) and math.isfinite(norm)):
        optimizers.zero_grad()
        raise NonFiniteError(f"loss {mean:g}, gradient norm {float(norm):g}")
    if clip and norm > clip:
        nn.utils.clip_grads_with_norm_(parameters, clip, norm)
    optimizers.step(lr_scale)
    return StepResult(mean, float(norm), targets)


def train(trainer: Trainer, state: State) -> State:
    """Take steps until the schedule ends or a stop is due or asked for; save everything then."""
    started = time.monotonic() - state.seconds
    meter, freed = ThroughputMeter(trainer), FreedMemory()
    with (
        trainer.interrupt.deferred(),
        Progress("Training", state.schedule.steps, "steps") as progress,
    ):
        progress.advance(state.step)
        while True:
            # One clock for all ranks.
            state.seconds = trainer.group.mean(time.monotonic() - started)
            freed.watch()
            fit_to_budget(trainer, state)
            periodic.run_due(trainer, state)
            if trainer.group.total(trainer.interrupt.requested):  # of any rank: all of them stop
                trainer.interrupt.requested = trainer.interrupt.requested or signal.SIGTERM
                break
            if state.finished:
                break
            progress.total = state.schedule.steps
            since = time.perf_counter()
            number, lr_scale = state.step, state.schedule.lr_scale(state.step)
            state.step += 1
            try:
                result = within_memory(
                    trainer,
                    state.step,
                    make=partial(micro_batches, trainer, number),
                    take=partial(take_step, trainer, number, lr_scale),
                )
            except NonFiniteError as error:
                periodic.nonfinite(trainer, state, str(error))
                continue
            if not result.targets:  # rows of tokens that cannot be hidden, such as unknown ones
                continue
            state.tokens += result.targets
            state.interval_loss += result.loss
            state.interval_steps += 1
            if trainer.average:
                update_average(trainer)
            seconds = time.perf_counter() - since
            progress.advance(1, note=meter.log(state, result, lr_scale, seconds))
            periodic.follow_machine(trainer, state, result.targets, seconds)
        periodic.save(trainer, state)
    give_back()
    return state


def take_step(
    trainer: Trainer, number: int, lr_scale: float, batches: Sequence[AnyBatch]
) -> StepResult:
    """Take the step of a number, from 0, on its micro-batches."""
    torch.manual_seed(periodic.seed_of(trainer, number))
    return train_step(
        trainer.loss_module,
        trainer.optimizers,
        batches,
        lr_scale,
        trainer.settings.clip,
        trainer.group,
    )


def micro_batches(trainer: Trainer, step: int) -> list[AnyBatch]:
    """Return this rank's micro-batches of a step: a pure function of the step's number."""
    plan, group = trainer.plan, trainer.group
    rows, first = group.shard(plan.batch_size), step * plan.batch_size
    return [
        trainer.loader.batch(first + row, min(plan.micro_batch, rows.stop - row)).to(group.device)
        for row in range(rows.start, rows.stop, plan.micro_batch)
    ]


def fit_to_budget(trainer: Trainer, state: State) -> None:
    """Set `state.schedule` so that the run, with its last validation and save, fills its budget."""
    if state.budget is None or not state.step:
        return
    if state.step == 1:  # it also compiles and allocates: not a measure of the others
        state.began = state.seconds
        return
    planned = state.schedule
    rate = (state.step - 1) / max(state.seconds - state.began, 1e-9)  # steps a second
    left = state.budget * (1 - MEASURING) - state.seconds - state.validating - state.saving
    steps = state.step + max(0, int(left * rate))
    if not state.horizon_fixed:
        decay = max(1, round(trainer.plan.decay_share * steps))
        state.schedule = replace(planned, steps=steps, decay=decay)
        leading = {"wsd": decay, "constant": 0}.get(planned.shape, SETTLED * steps)
        state.horizon_fixed = state.step >= steps - leading
    elif planned.steps - steps > LATE * planned.steps:
        state.schedule = replace(planned, steps=steps)


class ThroughputMeter:
    """Averages losses over `log_every` steps and measures targets a second."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self._line = ""

    def log(self, state: State, result: StepResult, lr_scale: float, seconds: float) -> str:
        """Record a step that took `seconds`; returns the line that the progress bar shows."""
        state.unlogged_loss += result.loss
        state.unlogged_steps += 1
        state.unlogged_targets += result.targets
        state.unlogged_seconds += seconds
        if state.step % self.trainer.plan.log_every and state.step < state.schedule.steps:
            return self._line
        loss = state.unlogged_loss / state.unlogged_steps
        speed = state.unlogged_targets / max(state.unlogged_seconds, 1e-9)
        logged = self.trainer.hooks.log_values(state, loss, speed)
        self.trainer.log.write(
            "train",
            state.step,
            loss=loss,
            **logged.values,
            learning_rate=self.trainer.plan.learning_rate * lr_scale,
            grad_norm=result.gradient_norm,
            seconds=state.seconds,
        )
        state.unlogged_loss, state.unlogged_seconds = 0.0, 0.0
        state.unlogged_steps = state.unlogged_targets = 0
        self._line = f"step {state.step:,}/{state.schedule.steps:,}  loss {loss:.3f}  {logged.text}"
        return self._line
