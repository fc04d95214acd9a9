"""What happens between steps: validate, keep the best model, sample, save, stop."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from nextword.errors import UserError
from nextword.terminal import say, warn
from nextword.training import checkpoint
from nextword.training.owners import like, local
from nextword.training.sharding import is_spread, whole_weights, with_weights
from nextword.training.state import State
from nextword.training.trainer import Trainer

OVERFITTING_GAP = 0.05  # nats by which validation has risen above its best
BLOCKED = 0.01  # share of a run that saving may stop, where no interval was asked for
OVERFITTING_AFTER = 3  # validations in a row without a new best


class DivergedError(UserError):
    """A loss, a gradient or the weights are no longer finite."""


def is_due(trainer: Trainer, state: State) -> bool:
    """Return whether anything is to be done at this step."""
    plan, ends = trainer.plan, state.step >= state.schedule.steps
    every = (plan.eval_every, plan.sample_every, plan.save_every)
    return ends or any(number and state.step % number == 0 for number in every)


def run_due(trainer: Trainer, state: State) -> None:
    """Do what is due at this step. Each milestone is noted in the state, so that a run resumed
    from here neither repeats nor misses one."""
    ends = state.step >= state.schedule.steps

    def due(every: int, last: int) -> bool:
        return bool(every) and state.step > last and (ends or state.step % every == 0)

    eval_every = 0 if trainer.validator.is_empty else trainer.plan.eval_every
    sample_every = trainer.plan.sample_every if trainer.validator.can_sample else 0
    if due(eval_every, state.validated):
        since = time.monotonic()
        validate(trainer, state)
        if state.validated < state.step:  # interrupted
            return
        if due(sample_every, state.sampled):
            sample(trainer, state)
        state.validating = trainer.group.mean(time.monotonic() - since)
    elif due(sample_every, state.sampled):
        sample(trainer, state)
    if ends and not state.finished:
        state.finished = f"the schedule's last step, {state.step:,}"
    if state.finished or state.seconds < state.resting:  # the loop saves what is finished
        return
    if due(trainer.plan.save_every, state.saved):
        save(trainer, state)


def validate(trainer: Trainer, state: State) -> None:
    """Measure the held-out loss; keep the model when it is the best so far."""
    refuse_nonfinite(trainer, state)
    with averaged_weights(trainer):
        validation = with_weights(
            trainer.loss_module,
            lambda model: trainer.validator.measure(model, trainer.group, trainer.interrupt),
        )
        if validation is None:  # interrupted: it is done again after the resume
            return
        state.validated = state.step
        best = math.isfinite(validation.loss) and (
            state.best_score is None
            or state.best_loss is None
            or (validation.score, -validation.loss) > (state.best_score, -state.best_loss)
        )
        if best:
            state.best_loss, state.best_score = validation.loss, validation.score
            state.best_metrics, state.best_step, state.worse = validation.metrics, state.step, 0
            save_best(trainer, state)
        else:
            state.worse += 1
    train_loss = state.interval_loss / max(1, state.interval_steps)
    state.interval_loss, state.interval_steps = 0.0, 0
    trainer.log.write(
        "validation",
        state.step,
        loss=validation.loss,
        **{name.replace(" ", "_"): value for name, value in validation.metrics.items()},
        train_loss=train_loss,
        best=best,
        seconds=state.seconds,
    )
    if trainer.group.is_main:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in validation.metrics.items())
        say(
            f"step {state.step:,}: validation loss {validation.loss:.4f}, {figures}"
            f"{' (best so far)' if best else f', best was step {state.best_step:,}'}"
        )
    _name_overfitting(trainer, state, validation.loss, train_loss)
    if validation.converged_loss is not None and train_loss < validation.converged_loss:
        state.finished = (
            "nothing is left to learn: every held-out answer is right, and the training loss is "
            f"{train_loss:.2g}"
        )
    elif trainer.settings.patience and state.worse >= trainer.settings.patience:
        state.finished = (
            f"validation has not improved for {state.worse} validations; "
            f"the best was step {state.best_step:,}"
        )
    elif reason := trainer.hooks.give_up(state):
        state.finished = reason


def _name_overfitting(trainer: Trainer, state: State, loss: float, train_loss: float) -> None:
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
    if trainer.group.is_main:
        warn(message)
        trainer.log.event(state.step, "overfitting", message)


def save_best(trainer: Trainer, state: State) -> None:
    """Replace RUN/model by the weights as they are now."""
    with whole_weights(trainer.model, keep=trainer.group.is_main):
        if trainer.group.is_main:
            needed = sum(p.nbytes for p in trainer.model.parameters())
            with checkpoint.saving(f"the model of step {state.step}", needed, trainer.run):
                trainer.hooks.save_model(trainer.run / "model", trainer.hooks.describe(state))


def sample(trainer: Trainer, state: State) -> None:
    state.sampled = state.step
    if not (trainer.group.is_main or is_spread(trainer.model)):
        return
    with averaged_weights(trainer):
        prompt, text = with_weights(trainer.loss_module, trainer.validator.sample)
    if trainer.group.is_main:
        trainer.log.write("sample", state.step, prompt=prompt, text=text)
        lines = (prompt + text).strip()[:200].expandtabs(4).splitlines()
        shown = "\n   ".join(line.rstrip() for line in lines if line.strip())
        say(f"  “{shown}”", style="dim")


def save(trainer: Trainer, state: State) -> None:
    """Write a checkpoint, unless this very step is saved already and the run goes on."""
    if state.saved == state.step and not state.finished:
        return
    refuse_nonfinite(trainer, state)
    since = time.monotonic()
    state.saved = state.step
    if state.best_loss is None and trainer.validator.is_empty:
        save_best(trainer, state)
    tensors = {"model": trainer.model.state_dict(), "optimizer": trainer.optimizers.tensors()}
    if trainer.average:
        tensors["average"] = trainer.average
    saved = {**asdict(state), "metrics_bytes": trainer.log.position()}
    trainer.saver.save(
        trainer.run / "checkpoints",
        checkpoint.Checkpoint(state.step, tensors, saved),
        trainer.settings.keep_checkpoints,
    )
    if trainer.settings.save_every is None:
        blocked = trainer.group.mean(time.monotonic() - since)
        state.resting = state.seconds + blocked / BLOCKED
    if state.finished:
        trainer.saver.wait()
    # What it took to write counts as well: at the end of a run nothing goes on beside it.
    took = max(time.monotonic() - since, trainer.saver.seconds)
    state.saving = trainer.group.mean(took)  # this also waits for the leader


def restore(trainer: Trainer, saved: checkpoint.Checkpoint) -> State:
    """Load a checkpoint's tensors into the job; returns the state it was saved with."""
    where = trainer.run / "checkpoints" / f"step-{saved.step:08d}"
    state = State.from_json({k: v for k, v in saved.state.items() if k != "metrics_bytes"}, where)
    try:
        if saved.folder is not None:
            _restore_parts(trainer, saved.folder)
            trainer.threads.go_on_with(state.threads)
            return state
        average = saved.tensors.get("average", {})
        own = trainer.model.state_dict()
        trainer.model.load_state_dict(
            {name: like(tensor, own.get(name)) for name, tensor in saved.tensors["model"].items()}
        )
        trainer.optimizers.load_tensors(saved.tensors["optimizer"])
        if average.keys() != trainer.average.keys():
            raise ValueError("it keeps other averages")
        for name, tensor in average.items():
            trainer.average[name].copy_(like(tensor, trainer.average[name]))
    except (RuntimeError, ValueError, LookupError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(
            f"belongs to another model than this run's: {reason}", where=where
        ) from None
    trainer.threads.go_on_with(state.threads)
    return state


def _restore_parts(trainer: Trainer, folder: Path) -> None:
    """Load what this rank holds of weights that were saved by several."""
    from nextword.training import spread_checkpoint  # late: it takes a second to import

    shapes = spread_checkpoint.shapes_in(folder)
    names = [name.removeprefix("optimizer.") for name in shapes if name.startswith("optimizer.")]
    template = {
        "model": trainer.model.state_dict(),
        "optimizer": trainer.optimizers.empty_tensors(names),
        "average": trainer.average,
    }
    spread_checkpoint.load(folder, template, trainer.saver.talk)
    trainer.optimizers.load_tensors(template["optimizer"])


def nonfinite(trainer: Trainer, state: State, step: int, trouble: str) -> None:
    """Stop for a step that is not finite, naming its documents, or skip it where asked to; it has
    updated nothing."""
    first = (step - 1) * trainer.plan.batch_size
    documents = trainer.loader.documents(first, trainer.plan.batch_size)
    more = f" and {len(documents) - 8} more, all in metrics.jsonl" if len(documents) > 8 else ""
    message = f"step {step}: {trouble}; the batch holds documents {', '.join(documents[:8])}{more}"
    trainer.log.event(step, "nonfinite", message, documents=documents)
    if trainer.settings.on_nonfinite == "skip" and weights_are_finite(trainer):
        state.skipped += 1
        if trainer.group.is_main:
            warn(f"{message}; skipped ({state.skipped} so far)")
        return
    raise DivergedError(
        message,
        where=trainer.run,
        mend=(
            "nothing was updated and the last checkpoint is sound: lower --learning-rate and "
            "start anew, or --resume with --on-nonfinite skip"
        ),
    )


def weights_are_finite(trainer: Trainer) -> bool:
    """Return whether all weights of all ranks are finite; the device is asked once."""
    parts = [local(p.detach()) for p in trainer.model.parameters()]
    weights = [part for part in parts if part.numel()]
    found = torch.stack(torch._foreach_norm(weights, math.inf)).isfinite().all()
    return float(trainer.group.sums([~found])) == 0


def follow_machine(trainer: Trainer, state: State, targets: int, seconds: float) -> None:
    """After a step of so many targets in so many seconds, compute on more threads or on fewer where
    other programs have come or gone."""
    if changed := trainer.threads.watch(targets, seconds):
        state.threads = torch.get_num_threads()
        trainer.log.event(state.step, "threads", changed)
        if trainer.group.is_main:
            say(f"  step {state.step:,}: {changed}")


def refuse_nonfinite(trainer: Trainer, state: State) -> None:
    """Nothing is measured, kept or saved of weights that are not finite."""
    if not weights_are_finite(trainer):
        raise DivergedError(
            f"the update of step {state.step} left weights that are not finite",
            where=trainer.run,
            mend="the checkpoints before it are sound; lower --learning-rate and start anew",
        )


def seed_of(trainer: Trainer, step: int) -> int:
    """Dropout's seed: a function of the step and the rank, so that no random state is saved."""
    return random.Random(f"{trainer.settings.seed}/{step}/{trainer.group.rank}").getrandbits(63)


@contextlib.contextmanager
def averaged_weights(trainer: Trainer) -> Iterator[None]:
    """Put the averaged weights into the model for as long as the block runs."""
    if not trainer.average:
        yield
        return
    present = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    _fill(trainer, trainer.average)
    try:
        yield
    finally:
        _fill(trainer, present)


@torch.no_grad()
def _fill(trainer: Trainer, weights: dict[str, torch.Tensor]) -> None:
    for name, parameter in trainer.model.named_parameters():
        parameter.copy_(weights[name])
