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
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from nextword.resources import FreedMemory, give_back
from nextword.terminal import Progress
from nextword.tokens.loader import AnyBatch
from nextword.training import periodic
from nextword.training.background import Prefetcher
from nextword.training.optimizers import Optimizers
from nextword.training.out_of_memory import within_memory
from nextword.training.parallel import Group
from nextword.training.sharding import Root, accumulating, squared_norm
from nextword.training.state import State, StepResult
from nextword.training.trainer import Trainer, update_average

SETTLED = 0.4  # share of a run for which the last step stands, where wsd's decay does not say
LATE = 0.02  # share of a run by which it may end after its budget
FETCHED_AHEAD = 8  # steps, of a store that is elsewhere
MEASURING = 0.02  # share of a budget kept for measuring the finished model
CONCLUDING = 0.5  # seconds of it kept for the report and the end of the process


class NonFiniteError(Exception):
    """A step's loss or gradient is NaN or infinite; nothing was updated."""


@dataclass
class TakenStep:
    """A step that the device may still be at work on. `figures` [5] are nats a target, the
    gradient's norm, the number of targets, and what the ranks' `tidings` add up to; `skipped` [bool
    scalar] says that nothing was updated."""

    figures: Tensor
    skipped: Tensor
    number: int = 0
    lr_scale: float = 1.0
    began: float = 0.0
    arrival: torch.cuda.Event | None = None

    def send(self) -> None:
        """Begin to copy the figures from the device, behind what it has to do for them."""
        if self.figures.is_cuda:
            self.figures = self.figures.to("cpu", non_blocking=True)
            self.arrival = torch.cuda.Event()
            self.arrival.record()

    def read(self) -> StepResult:
        """Wait for the figures. Raises NonFiniteError for a step that is not finite."""
        if self.arrival is not None:
            self.arrival.synchronize()
        loss, norm, targets, seconds, stops = self.figures.tolist()
        if not targets:
            return StepResult(0.0, 0.0, 0, seconds, bool(stops))
        if not math.isfinite(loss + norm):
            raise NonFiniteError(f"loss {loss:g}, gradient norm {norm:g}")
        return StepResult(loss, norm, int(targets), seconds, bool(stops))


def train_step(
    loss_module: Root,
    optimizers: Optimizers,
    batches: Sequence[AnyBatch],
    lr_scale: float,
    clip: float,
    group: Group,
    tidings: tuple[float, float] = (0.0, 0.0),
) -> TakenStep:
    """Take one optimizer step over this rank's micro-batches, at `lr_scale` of the peak rate.

    The loss is the sum over all targets divided by their number, counted over every micro-batch of
    every rank, so that how a step is cut up never changes its gradient. Where loss or gradient is
    not finite, or there is no target, nothing is updated. Nobody waits for the device, and ranks
    exchange one vector beside their gradients, with the `tidings` of each: its clock, and 1 if it
    is asked to stop.
    """
    nats = torch.zeros((), dtype=group.exact, device=group.device)
    for number, batch in enumerate(batches, start=1):
        with accumulating(loss_module, last=number == len(batches)):
            loss = loss_module(batch)
            (loss * group.size).backward()  # ranks' gradients are averaged; this makes it a sum
        nats += loss.detach()
    count = sum(batch.target_count for batch in batches)
    squares = squared_norm(optimizers.parameters, group)
    nats, targets, squares, *heard = group.sums([nats, count, squares, *tidings]).unbind()
    mean, norm = nats / targets, squares.sqrt() / targets
    scale = 1 / targets
    if clip:
        scale = scale * (clip / (norm + 1e-6)).clamp(max=1.0)
    if gradients := optimizers.gradients():
        torch._foreach_mul_(gradients, scale.to(gradients[0].dtype))
    skipped = ~torch.isfinite(mean + norm)
    optimizers.step(lr_scale, skipped)
    return TakenStep(torch.stack([mean, norm, targets, *heard]), skipped)


def train(trainer: Trainer, state: State) -> State:
    """Take steps until the schedule ends or a stop is due or asked for; save everything then."""
    started, group, interrupt = time.monotonic() - state.seconds, trainer.group, trainer.interrupt
    meter, freed = ThroughputMeter(trainer), FreedMemory()
    taken: deque[TakenStep] = deque()  # whose figures are not read yet
    stopping = False  # some rank of several is asked to stop
    deadline = None if state.budget is None else started + state.budget
    shown = Progress("Training", state.schedule.steps, "steps", done=state.step, deadline=deadline)
    with (
        interrupt.deferred(),
        trainer.saver,
        Prefetcher(partial(micro_batches, trainer)) as batches,
        shown as progress,
    ):
        while True:
            # On a GPU a step's figures are read when the next one is under way, unless they are
            # needed now. The first step is not like the others: when it ends is worth knowing.
            at_once = state.step <= 1 or periodic.is_due(trainer, state)
            while len(taken) > (0 if at_once else trainer.lag):
                stopping |= settle(trainer, state, taken.popleft(), meter, progress)
            if group.size == 1:  # else ranks agree on the time in each step
                state.seconds = time.monotonic() - started
            freed.watch()
            fit_to_budget(trainer, state)
            if taken and periodic.is_due(trainer, state):  # the schedule has become shorter
                continue
            periodic.run_due(trainer, state)
            if stopping or state.finished or (group.size == 1 and interrupt.requested):
                break
            progress.total = state.schedule.steps
            began, number = time.perf_counter(), state.step
            tidings = time.monotonic() - started, float(bool(interrupt.requested))
            step = within_memory(
                trainer,
                number,
                batches.take(number),
                make=partial(micro_batches, trainer, number),
                take=partial(take_step, trainer, state.schedule.lr_scale(number), number, tidings),
            )
            if trainer.average:
                update_average(trainer, step.skipped)
            state.step += 1
            step.number, step.began = state.step, began
            step.lr_scale = state.schedule.lr_scale(number)
            step.send()
            taken.append(step)
        while taken:
            settle(trainer, state, taken.popleft(), meter, progress)
        if stopping:
            interrupt.requested = interrupt.requested or signal.SIGTERM
        state.seconds = group.mean(time.monotonic() - started)
        periodic.save(trainer, state)
    give_back()
    return state


def take_step(
    trainer: Trainer,
    lr_scale: float,
    number: int,
    tidings: tuple[float, float],
    batches: Sequence[AnyBatch],
) -> TakenStep:
    """Take the step of a number, from 0, on its micro-batches."""
    torch.manual_seed(periodic.seed_of(trainer, number))
    return train_step(
        trainer.loss_module,
        trainer.optimizers,
        [batch.to(trainer.group.device) for batch in batches],
        lr_scale,
        trainer.settings.clip,
        trainer.group,
        tidings,
    )


def settle(
    trainer: Trainer, state: State, step: TakenStep, meter: ThroughputMeter, progress: Progress
) -> bool:
    """Read a step's figures and book them; return whether a rank is asked to stop."""
    try:
        result = step.read()
    except NonFiniteError as error:
        periodic.nonfinite(trainer, state, step.number, str(error))
        return False
    if trainer.group.size > 1:
        state.seconds = result.seconds / trainer.group.size
    if result.targets:  # not of rows of tokens that cannot be hidden, such as unknown ones
        state.tokens += result.targets
        state.interval_loss += result.loss
        state.interval_steps += 1
        progress.advance(1, note=meter.log(state, step, result))
        periodic.follow_machine(trainer, state, result.targets, meter.seconds)
    return result.stops


def micro_batches(trainer: Trainer, step: int) -> list[AnyBatch]:
    """Make this rank's micro-batches of a step: a pure function of the step's number."""
    plan, group = trainer.plan, trainer.group
    rows, first = group.shard(plan.batch_size), step * plan.batch_size
    coming = first + FETCHED_AHEAD * plan.batch_size + rows.start
    trainer.loader.expect(coming, rows.stop - rows.start)
    made = [
        trainer.loader.batch(first + row, min(plan.micro_batch, rows.stop - row))
        for row in range(rows.start, rows.stop, plan.micro_batch)
    ]
    return [batch.pinned() for batch in made] if group.device.type == "cuda" else made


def fit_to_budget(trainer: Trainer, state: State) -> None:
    """Set `state.schedule` so that the run, with its last validation and save, fills its budget."""
    if state.budget is None or not state.step:
        return
    if state.step == 1:  # it also compiles and allocates: not a measure of the others
        state.began = state.seconds
        return
    planned = state.schedule
    rate = (state.step - 1) / max(state.seconds - state.began, 1e-9)  # steps a second
    left = state.budget * (1 - MEASURING) - CONCLUDING
    left -= state.seconds + state.validating + state.saving
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
        self._line, self._ended = "", 0.0
        self.seconds = 0.0  # of the last step

    def log(self, state: State, step: TakenStep, result: StepResult) -> str:
        """Record a step that has just ended; returns the line that the progress bar shows."""
        now = time.perf_counter()
        self.seconds, self._ended = now - max(step.began, self._ended), now
        state.unlogged_seconds += self.seconds
        state.unlogged_loss += result.loss
        state.unlogged_steps += 1
        state.unlogged_targets += result.targets
        if step.number % self.trainer.plan.log_every and step.number < state.schedule.steps:
            return self._line
        loss = state.unlogged_loss / state.unlogged_steps
        speed = state.unlogged_targets / max(state.unlogged_seconds, 1e-9)
        logged = self.trainer.hooks.log_values(state, loss, speed)
        self.trainer.log.write(
            "train",
            step.number,
            loss=loss,
            **logged.values,
            learning_rate=self.trainer.plan.learning_rate * step.lr_scale,
            grad_norm=result.gradient_norm,
            seconds=state.seconds,
        )
        state.unlogged_loss, state.unlogged_seconds = 0.0, 0.0
        state.unlogged_steps = state.unlogged_targets = 0
        self._line = f"step {step.number:,}/{state.schedule.steps:,}  loss {loss:.3f}  "
        self._line += logged.text
        return self._line
