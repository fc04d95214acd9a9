"""What stands around a training loop, whatever is trained: processes and signals, the log and the
checkpoint to go on from, and the sentence for a disk or a memory that is full."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from nextword.errors import UserError
from nextword.runs.pretraining import remedy
from nextword.settings import FinetuneSettings, PretrainSettings
from nextword.terminal import say
from nextword.training import checkpoint, trackers
from nextword.training.interrupt import Interrupt, interruptible, name
from nextword.training.loop import train
from nextword.training.metrics import Metrics
from nextword.training.parallel import Group, processes
from nextword.training.state import Job, State

Ended = TypeVar("Ended")


def supervised(
    run: Path,
    work: Callable[[Group, Interrupt], Ended],
    stopped: Callable[[int], Ended],
    smaller: str,
) -> Ended:
    """What `work` returns; where a signal ends it outside of the loop, what `stopped` makes of the
    signal's number. `smaller` mends a model that does not fit. Raises UserError for that, and where
    files cannot be written."""
    try:
        with processes() as group, interruptible() as interrupt:
            try:
                return work(group, interrupt)
            except KeyboardInterrupt as stop:
                number = stop.args[0] if stop.args else signal.SIGINT
                if group.leads:
                    say(
                        f"{name(number)}: stopped outside of training; what is done is kept. Go on "
                        "with the same command and --resume"
                    )
                return stopped(number)
    except OSError as error:
        raise UserError(
            error.strerror or str(error), where=error.filename or run, mend=remedy(error)
        ) from None
    except torch.OutOfMemoryError:
        raise UserError(
            "the model and its batch do not fit the memory of the device", mend=smaller
        ) from None


def open_log(
    run: Path, settings: PretrainSettings | FinetuneSettings, group: Group, resumed: bool
) -> tuple[checkpoint.Checkpoint | None, Metrics]:
    """The checkpoint to go on from, if there is one, and metrics.jsonl, cut back to it."""
    saved = checkpoint.load_newest(run / "checkpoints") if resumed else None
    kept, since = (saved.state.get("metrics_bytes"), saved.step) if saved else (0, 0)
    if type(kept) is not int:
        raise UserError("does not say how long metrics.jsonl was", where=run / "checkpoints")
    if not group.leads:
        return saved, Metrics(None, 0)
    sinks = trackers.start(settings.log_to, run, settings.model_dump(), since)
    return saved, Metrics(run / "metrics.jsonl", kept, sinks)


def carry_through(job: Job, state: State, resumed: bool) -> State:
    """Train to the end, or to where a signal stops it, unless that is done already."""
    if resumed and job.group.leads:
        say(f"Going on from step {state.step:,} of {state.schedule.steps:,}")
    if state.finished:
        if job.group.leads:
            say(f"This run is finished: {state.finished}")
    else:
        if resumed:
            message = f"resumed from the checkpoint of step {state.step}"
            job.metrics.event(state.step, "resume", message)
        state = train(job, state)
    job.metrics.close()
    return state
