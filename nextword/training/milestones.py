"""What happens between steps: validate, keep the best model, sample, save, stop."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict

import torch

from nextword.errors import UserError
from nextword.terminal import say, warn
from nextword.training import checkpoint
from nextword.training.state import Job, State

OVERFITTING_GAP = 0.05  # nats by which validation has risen above its best
OVERFITTING_AFTER = 3  # validations in a row without a new best


class DivergedError(UserError):
    """A loss, a gradient or the weights are no longer finite."""


def reach(job: Job, state: State) -> None:
    """Do what is due at this step. Each milestone is noted in the state, so that a run resumed
    from here neither repeats nor misses one."""
    ends = state.step >= state.schedule.steps

    def due(every: int, last: int) -> bool:
        return bool(every) and state.step > last and (ends or state.step % every == 0)

    if due(job.eval_every, state.validated):
        since = time.monotonic()
        validate(job, state)
        if state.validated < state.step:  # interrupted
            return
        if due(job.sample_every, state.sampled):
            sample(job, state)
        state.validating = job.group.mean(time.monotonic() - since)
    elif due(job.sample_every, state.sampled):
        sample(job, state)
    if ends and not state.finished:
        state.finished = f"the schedule's last step, {state.step:,}"
    if not state.finished and due(job.save_every, state.saved):  # the loop saves what is finished
        save(job, state)


def validate(job: Job, state: State) -> None:
    """Measure the held-out loss; keep the model when it is the best so far."""
    refuse_nonfinite(job, state)
    with averaged_weights(job):
        found = job.validator.measure(job.model, job.group, job.interrupt)
        if found is None:  # interrupted: it is done again after the resume
            return
        state.validated = state.step
        best = math.isfinite(found.loss) and (
            state.best_score is None
            or state.best_loss is None
            or (found.score, -found.loss) > (state.best_score, -state.best_loss)
        )
        if best:
            state.best_loss, state.best_score = found.loss, found.score
            state.best_figures, state.best_step, state.worse = found.figures, state.step, 0
            keep_model(job, state)
        else:
            state.worse += 1
    train_loss = state.interval_loss / max(1, state.interval_steps)
    state.interval_loss, state.interval_steps = 0.0, 0
    job.metrics.write(
        "validation",
        state.step,
        loss=found.loss,
        **{name.replace(" ", "_"): value for name, value in found.figures.items()},
        train_loss=train_loss,
        best=best,
        seconds=state.seconds,
    )
    if job.group.leads:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in found.figures.items())
        say(
            f"step {state.step:,}: validation loss {found.loss:.4f}, {figures}"
            f"{' (best so far)' if best else f', best was step {state.best_step:,}'}"
        )
    _name_overfitting(job, state, found.loss, train_loss)
    if found.enough is not None and train_loss < found.enough:
        state.finished = (
            "nothing is left to learn: every held-out answer is right, and the training loss is "
            f"{train_loss:.2g}"
        )
    elif job.patience and state.worse >= job.patience:
        state.finished = (
            f"validation has not improved for {state.worse} validations; "
            f"the best was step {state.best_step:,}"
        )
    elif reason := job.hopeless(state):
        state.finished = reason


def _name_overfitting(job: Job, state: State, loss: float, train_loss: float) -> None:
    if state.overfitting or state.best_loss is None or state.worse < OVERFITTING_AFTER:
        return
    if loss < state.best_loss + OVERFITTING_GAP or train_loss > loss:
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


def keep_model(job: Job, state: State) -> None:
    """Replace RUN/model by the weights as they are now."""
    if job.group.leads:
        needed = sum(p.nbytes for p in job.model.parameters())
        with checkpoint.saving(f"the model of step {state.step}", needed, job.run):
            job.save_model(job.run / "model", job.describe(state))


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
    refuse_nonfinite(job, state)
    since = time.monotonic()
    state.saved = state.step
    if state.best_loss is None and job.validator.is_empty:
        keep_model(job, state)
    if job.group.leads:
        tensors = {"model": job.model.state_dict(), "optimizer": job.optimizers.tensors()}
        if job.average:
            tensors["average"] = job.average
        saved = {**asdict(state), "metrics_bytes": job.metrics.position()}
        checkpoint.save(
            job.run / "checkpoints",
            checkpoint.Checkpoint(state.step, tensors, saved),
            job.keep_checkpoints,
        )
    state.saving = job.group.mean(time.monotonic() - since)  # this also waits for the leader


def restore(job: Job, saved: checkpoint.Checkpoint) -> State:
    """Load a checkpoint's tensors into the job; returns the state it was saved with."""
    where = job.run / "checkpoints" / f"step-{saved.step:08d}"
    state = State.from_json({k: v for k, v in saved.state.items() if k != "metrics_bytes"}, where)
    average = saved.tensors.get("average", {})
    try:
        job.model.load_state_dict(saved.tensors["model"])
        job.optimizers.load_tensors(saved.tensors["optimizer"])
        if average.keys() != job.average.keys():
            raise ValueError("it keeps other averages")
        for name, tensor in average.items():
            job.average[name].copy_(tensor)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(
            f"belongs to another model than this run's: {reason}", where=where
        ) from None
    return state


def nonfinite(job: Job, state: State, trouble: str) -> None:
    """Stop before a step that is not finite, naming its documents, or skip it where asked to."""
    first = (state.step - 1) * job.batch_size
    documents = job.loader.documents(first, job.batch_size)
    more = f" and {len(documents) - 8} more, all in metrics.jsonl" if len(documents) > 8 else ""
    message = (
        f"step {state.step}: {trouble}; the batch holds documents {', '.join(documents[:8])}{more}"
    )
    job.metrics.event(state.step, "nonfinite", message, documents=documents)
    if job.skip_nonfinite and weights_are_finite(job):
        state.skipped += 1
        if job.group.leads:
            warn(f"{message}; skipped ({state.skipped} so far)")
        return
    raise DivergedError(
        message,
        where=job.run,
        mend=(
            "nothing was updated and the last checkpoint is sound: lower --learning-rate and "
            "start anew, or --resume with --on-nonfinite skip"
        ),
    )


def weights_are_finite(job: Job) -> bool:
    return all(bool(p.isfinite().all()) for p in job.model.parameters())


def refuse_nonfinite(job: Job, state: State) -> None:
    """Nothing is measured, kept or saved of weights that are not finite."""
    if not weights_are_finite(job):
        raise DivergedError(
            f"the update of step {state.step} left weights that are not finite",
            where=job.run,
            mend="the checkpoints before it are sound; lower --learning-rate and start anew",
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
