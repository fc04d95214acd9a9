"""The training loop. A step reads like its description: batch → loss → backward → clip → update."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nextword.memory import FreedMemory, give_back
from nextword.terminal import Progress
from nextword.training import milestones
from nextword.training.horizon import move_horizon
from nextword.training.meter import Meter
from nextword.training.optimizers import Optimizers
from nextword.training.parallel import Group, gradients_stay_local
from nextword.training.state import Batch, Job, State, StepResult


class NonFiniteError(Exception):
    """A step's loss or gradient is NaN or infinite; nothing was updated."""


def train_step(
    objective: nn.Module,
    optimizers: Optimizers,
    parameters: Sequence[Tensor],
    batches: Sequence[Batch],
    learning_rate_share: float,
    clip: float,
    group: Group,
) -> StepResult:
    """One optimizer step over this rank's micro-batches, at a share of the peak learning rate.

    The loss is the sum over all targets divided by their number, counted over every micro-batch of
    every rank, so that how a step is cut up never changes its gradient. Without any target nothing
    is done. Raises NonFiniteError before anything is updated.
    """
    targets = int(group.total(sum(batch.target_count for batch in batches)))
    if not targets:
        return StepResult(0.0, 0.0, 0)
    nats = 0.0
    for number, batch in enumerate(batches, start=1):
        with gradients_stay_local(objective, number < len(batches)):
            loss = objective(batch)
            (loss * (group.size / targets)).backward()  # DDP averages over ranks; this is a sum
        nats += float(loss.detach())
    mean = group.total(nats) / targets
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not (math.isfinite(mean) and math.isfinite(norm)):
        optimizers.zero_grad()
        raise NonFiniteError(f"loss {mean:g}, gradient norm {float(norm):g}")
    if clip and norm > clip:
        nn.utils.clip_grads_with_norm_(parameters, clip, norm)
    optimizers.step(learning_rate_share)
    return StepResult(mean, float(norm), targets)


def train(job: Job, state: State) -> State:
    """Take steps until the schedule ends, a stop is due or one is asked for; then all is saved."""
    started = time.monotonic() - state.seconds
    parameters = [p for p in job.model.parameters() if p.requires_grad]
    meter, freed = Meter(job), FreedMemory()
    with job.interrupt.deferred(), Progress("Training", state.schedule.steps, "steps") as progress:
        progress.advance(state.step)
        while True:
            state.seconds = job.group.mean(time.monotonic() - started)  # one clock for all ranks
            move_horizon(job, state)
            milestones.reach(job, state)
            if job.group.total(job.interrupt.requested):  # of any rank: all of them stop
                job.interrupt.requested = job.interrupt.requested or signal.SIGTERM
                break
            if state.finished:
                break
            progress.total = state.schedule.steps
            since = time.perf_counter()
            torch.manual_seed(milestones.seed_of(job, state.step))
            batches = micro_batches(job, state.step)
            share = state.schedule.share(state.step)
            state.step += 1
            try:
                result = train_step(
                    job.objective, job.optimizers, parameters, batches, share, job.clip, job.group
                )
            except NonFiniteError as trouble:
                milestones.nonfinite(job, state, str(trouble))
                continue
            if not result.targets:  # rows of tokens that cannot be hidden, such as unknown ones
                continue
            state.tokens += result.targets
            state.interval_loss += result.loss
            state.interval_steps += 1
            milestones.average(job)
            freed.watch()
            seconds = time.perf_counter() - since
            progress.advance(1, note=meter.log(state, result, share, seconds))
        milestones.save(job, state)
    give_back()
    return state


def micro_batches(job: Job, step: int) -> list[Batch]:
    """This rank's micro-batches of a step: a pure function of the step's number."""
    rows = job.group.share(job.batch_size)
    first = step * job.batch_size
    return [
        job.loader.batch(first + row, min(job.micro_batch, rows.stop - row)).to(job.group.device)
        for row in range(rows.start, rows.stop, job.micro_batch)
    ]
