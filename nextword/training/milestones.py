"""What happens between steps: validate, keep the best model, sample, save, stop, end on time."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import torch

from nextword.errors import UserError
from nextword.files import whole_directory
from nextword.terminal import say, warn
from nextword.tokens.loader import Batch
from nextword.training import checkpoint
from nextword.training.state import Job, State

CLOSING_SECONDS = 2.0  # of a budget, kept for the last validation and saves
OVERFITTING_GAP = 0.05  # nats by which validation has risen above its best
OVERFITTING_AFTER = 3  # validations in a row without a new best


def reach(job: Job, state: State) -> None:
    """Do what is due at this step. Each milestone is noted in the state, so that a run resumed
    from here neither repeats nor misses one."""
    ends = state.step >= state.schedule.steps

    def due(every: int, last: int) -> bool:
        return bool(every) and state.step > last and (ends or state.step % every == 0)

    if due(job.eval_every, state.validated):
        validate(job, state)
        if state.validated < state.step:  # interrupted
            return
    if due(job.sample_every, state.sampled):
        sample(job, state)
    if ends and not state.finished:
        state.finished = f"the schedule's last step, {state.step:,}"
    if due(job.save_every, state.saved):
        save(job, state)


def validate(job: Job, state: State) -> None:
    """Measure the held-out loss; keep the model when it is the best so far."""
    with averaged_weights(job):
        loss = job.validator.loss(job.model, job.group, job.interrupt)
        if loss is None:  # interrupted: it is done again after the resume
            return
        state.validated = state.step
        best = (
            state.best_loss is None or not math.isfinite(state.best_loss) or loss < state.best_loss
        )
        if best:
            state.best_loss, state.best_step, state.worse = loss, state.step, 0
            if job.group.leads:
                keep_model(job)
        else:
            state.worse += 1
    train_loss = state.interval_loss / max(1, state.interval_steps)
    state.interval_loss, state.interval_steps = 0.0, 0
    if job.group.leads:
        job.metrics.write(
            "validation",
            state.step,
            loss=loss,
            perplexity=math.exp(min(loss, 700)),
            bits_per_byte=loss / math.log(2) * job.validator.tokens_per_byte,
            train_loss=train_loss,
            best=best,
            seconds=state.seconds,
        )
        bits = loss / math.log(2) * job.validator.tokens_per_byte
        say(
            f"step {state.step:,}: validation loss {loss:.4f}, {bits:.4f} bits/byte"
            f"{' (best so far)' if best else f', best was step {state.best_step:,}'}"
        )
    _name_overfitting(job, state, loss, train_loss)
    if job.patience and state.worse >= job.patience:
        state.finished = (
            f"validation has not improved for {state.worse} validations; "
            f"the best was step {state.best_step:,}"
        )


def _name_overfitting(job: Job, state: State, loss: float, train_loss: float) -> None:
    assert state.best_loss is not None
    rising = state.worse >= OVERFITTING_AFTER and loss > state.best_loss + OVERFITTING_GAP
    if state.overfitting or not rising or train_loss > loss:
        return
    state.overfitting = True
    message = (
        f"overfitting: validation loss rose from {state.best_loss:.3f} (step "
        f"{state.best_step:,}) to {loss:.3f} while training loss fell to {train_loss:.3f}; "
        "the best model is kept; more text, fewer epochs or a smaller model would help"
    )
    if job.group.leads:
        warn(message)
        job.metrics.event(state.step, "overfitting", message)


def keep_model(job: Job) -> None:
    """Replace RUN/model by the weights as they are now."""
    with whole_directory(job.run / "model") as aside:
        job.save_model(aside)


def sample(job: Job, state: State) -> None:
    state.sampled = state.step
    if job.group.leads:
        with averaged_weights(job):
            prompt, text = job.validator.sample(job.model)
        job.metrics.write("sample", state.step, prompt=prompt, text=text)
        say(f"  “{' '.join((prompt + text).split())[:200]}”", style="dim")


def save(job: Job, state: State) -> None:
    """Write a checkpoint, unless this very step is saved already and the run goes on."""
    if state.saved == state.step and not state.finished:
        return
    state.saved = state.step
    if job.group.leads:
        tensors = {"model": job.model.state_dict(), "optimizer": job.optimizers.tensors()}
        if job.average:
            tensors["average"] = job.average
        if state.best_loss is None and job.validator.is_empty:
            keep_model(job)
        saved = {**asdict(state), "metrics_bytes": job.metrics.position()}
        checkpoint.save(
            job.run / "checkpoints",
            checkpoint.Checkpoint(state.step, tensors, saved),
            job.keep_checkpoints,
        )
    job.group.wait()


def restore(job: Job, saved: checkpoint.Checkpoint) -> State:
    """Load a checkpoint's tensors into the job; returns the state it was saved with."""
    job.model.load_state_dict(saved.tensors["model"])
    job.optimizers.load_tensors(saved.tensors["optimizer"])
    for name, tensor in saved.tensors.get("average", {}).items():
        job.average[name].copy_(tensor)
    return State.from_json({k: v for k, v in saved.state.items() if k != "metrics_bytes"})


def fix_horizon(job: Job, state: State) -> None:
    """In a run with a budget, begin the decay when the clock says so, to end when time is up.

    The plan's last step is a guess from a short measurement; the speed of all steps so far is a
    better one. It is set once and saved, so what follows does not depend on the clock.
    """
    if job.budget is None or state.horizon_fixed or state.schedule.shape != "wsd" or not state.step:
        return
    planned = state.schedule
    stable = 1 - planned.decay / planned.steps
    left = job.budget - CLOSING_SECONDS - state.seconds
    if state.seconds < stable * job.budget and state.step < planned.steps - 1:
        if state.step + planned.decay >= planned.steps:  # faster than planned: keep the rate up
            state.schedule = replace(planned, steps=planned.steps + 1)
        return
    steps_left = max(1, int(left * state.step / max(state.seconds, 1e-9)))
    state.schedule = replace(planned, steps=state.step + steps_left, decay=steps_left)
    state.horizon_fixed = True


def nonfinite(job: Job, state: State, batches: Sequence[Batch], trouble: str) -> None:
    """Stop before a step that is not finite, naming its documents, or skip it where asked to."""
    documents = ", ".join(str(number) for number in job.loader.documents(batches)[:8])
    message = f"step {state.step}: {trouble}; the batch holds documents {documents}"
    if job.group.leads:
        job.metrics.event(state.step, "nonfinite", message)
    if job.skip_nonfinite:
        state.skipped += 1
        warn(f"{message}; skipped ({state.skipped} so far)")
        return
    raise UserError(
        message,
        where=job.run,
        mend=(
            "nothing was updated and the last checkpoint is sound: lower --learning-rate and "
            "start anew, or --resume with --on-nonfinite skip"
        ),
    )


def seed_of(job: Job, step: int) -> int:
    """Dropout's seed: a function of the step and the rank, so that no random state is saved."""
    return random.Random(f"{job.seed}/{step}/{job.group.rank}").getrandbits(63)


@torch.no_grad()
def average(job: Job) -> None:
    """Move the averaged weights a little towards the present ones (Polyak averaging)."""
    for name, parameter in job.model.named_parameters() if job.average else ():
        job.average[name].lerp_(parameter, 1 - job.average_decay)


@contextlib.contextmanager
def averaged_weights(job: Job) -> Iterator[None]:
    """Put the averaged weights into the model for as long as the block runs."""
    if not job.average:
        yield
        return
    present = {name: p.detach().clone() for name, p in job.model.named_parameters()}
    _fill(job, job.average)
    try:
        yield
    finally:
        _fill(job, present)


@torch.no_grad()
def _fill(job: Job, weights: dict[str, torch.Tensor]) -> None:
    for name, parameter in job.model.named_parameters():
        parameter.copy_(weights[name])
