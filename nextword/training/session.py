"""What surrounds a training loop, whatever is trained: processes and signals, the checkpoint to go
on from and the log, and the sentence for a disk or a memory that is full."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from nextword.errors import UserError
from nextword.files import DISK_FULL
from nextword.settings import FinetuneSettings, PretrainSettings
from nextword.terminal import say
from nextword.training import checkpoint, metrics_log
from nextword.training.loop import train
from nextword.training.machine import threads_given_back
from nextword.training.metrics_log import MetricsLog
from nextword.training.parallel import (
    Group,
    Interrupt,
    interruptible,
    launched,
    processes,
    signal_name,
)
from nextword.training.state import State
from nextword.training.trainer import Trainer

Ended = TypeVar("Ended")


def run_guarded(
    run: Path,
    work: Callable[[Group, Interrupt], Ended],
    stopped: Callable[[int], Ended],
    smaller: str,
    first: Callable[[], None] = lambda: None,
) -> Ended:
    """Return what `work` returns, or what `stopped` makes of the number of a signal that ends it
    outside of the loop. The main process does what is to be done `first` alone, however long it
    takes. `smaller` says how to mend a model that does not fit. Raises UserError for that, and
    where files cannot be written."""
    try:
        with interruptible() as interrupt, threads_given_back():
            try:
                with processes(first) as group:
                    return work(group, interrupt)
            except KeyboardInterrupt as stop:
                number = stop.args[0] if stop.args else signal.SIGINT
                if launched().is_main:
                    say(
                        f"{signal_name(number)}: stopped outside training; what is done is kept. "
                        "Go on with the same command and --resume"
                    )
                return stopped(number)
    except OSError as error:
        full = error.errno in DISK_FULL
        raise UserError(
            error.strerror or str(error),
            where=error.filename or run,
            mend="free some space and run the same command with --resume" if full else "",
        ) from None
    except torch.OutOfMemoryError:
        raise UserError(
            "the model and its batch do not fit the memory of the device", mend=smaller
        ) from None


def open_log(
    run: Path, settings: PretrainSettings | FinetuneSettings, group: Group, resumed: bool
) -> tuple[checkpoint.Checkpoint | None, MetricsLog]:
    """Return the checkpoint to go on from, if there is one, and metrics.jsonl, cut back to it."""
    saved = checkpoint.load_newest(run / "checkpoints", group) if resumed else None
    size, step = (saved.state.get("metrics_bytes"), saved.step) if saved else (0, 0)
    if type(size) is not int:
        raise UserError("does not say how long metrics.jsonl was", where=run / "checkpoints")
    if not group.is_main:
        return saved, MetricsLog(None, 0)
    sinks = metrics_log.start_trackers(settings.log_to, run, settings.model_dump(), step)
    return saved, MetricsLog(run / "metrics.jsonl", size, sinks)


def train_to_end(trainer: Trainer, state: State, *, resumed: bool) -> State:
    """Train to the end, or to where a signal stops it, unless that is done already."""
    if resumed and trainer.group.is_main:
        say(f"Going on from step {state.step:,} of {state.schedule.steps:,}")
    if state.finished:
        if trainer.group.is_main:
            say(f"This run is finished: {state.finished}")
    else:
        if resumed:
            message = f"resumed from the checkpoint of step {state.step}"
            trainer.log.event(state.step, "resume", message)
        state = train(trainer, state)
    trainer.log.close()
    return state
