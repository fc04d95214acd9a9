"""`pretrain`: train a new model, measure the best one on held-out text, report."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.files import write_json
from nextword.resources import beginning
from nextword.runs.record import EVALUATION, Record, Run, is_run, read_run
from nextword.settings import HidingSettings, PretrainSettings, Settings, with_overrides
from nextword.terminal import say, warn
from nextword.text.sources import list_items
from nextword.training import session
from nextword.training.loop import MEASURING
from nextword.training.parallel import Group, Interrupt
from nextword.verbs.pretrain_run import PretrainRun

FEWEST_TOKENS = 4096  # fewer measure nothing


@dataclass(frozen=True)
class RunSummary:
    """How a run ended. `loss` is the best held-out one, nats a token, None if none is; `signal` is
    the one that stopped it, 0 for none; `finished` says why it ended, "" if it was stopped."""

    run: str
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss: float | None = None
    bits_per_byte: float | None = None
    finished: str = ""
    signal: int = 0


@dataclass(frozen=True)
class FinishedRun(RunSummary):
    """`evaluation` is what `evaluate` says of the best model, with the number of held-out tokens
    there are; None while the run is not over, or where nothing was held out. `trial` is a command
    to try first, on words in the language of the text."""

    evaluation: Record | None = None
    model: str | None = None
    report: str | None = None
    trial: str = ""


def pretrain(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    settings: PretrainSettings | None = None,
    **overrides: Any,
) -> FinishedRun:
    """Train a new model on raw text or a store; `out` becomes a run directory.

    With `resume=True` a run that was stopped goes on from its last checkpoint, bit for bit as if
    it had not been. When it is over, its best model is measured on held-out text, into
    RUN/evaluation.json; RUN/report.html is written in any case. Raises UserError where settings and
    data do not fit.
    """
    out = Path(out)
    summary = run_pretraining(data, out, settings, **overrides)
    if summary.signal or not is_run(out):  # stopped, perhaps while it was still reading
        return FinishedRun(**asdict(summary))
    if int(os.environ.get("RANK", 0)) == 0:  # torchrun's other processes have nothing left to do
        # Late, as all that a first step can do without.
        from nextword.reports.report import report

        if summary.finished:
            measure(read_run(out))
        report(out)
    run = read_run(out)
    return FinishedRun(
        **asdict(summary),
        evaluation=run.evaluation or None,
        model=str(out / "model") if run.has_model else None,
        report=str(out / "report.html"),
        trial=run.trial,
    )


def run_pretraining(
    data: str | Path | Sequence[str | Path],
    out: Path,
    settings: PretrainSettings | None = None,
    **overrides: Any,
) -> RunSummary:
    """Train a new model, without measuring it at the end. SIGTERM and Ctrl-C end it early: all that
    was done is on the disk then, and the summary's `signal` says so."""
    started = beginning()
    settings = with_overrides(PretrainSettings, settings, overrides)
    items = list_items(data)

    def work(group: Group, interrupt: Interrupt) -> RunSummary:
        state = PretrainRun(out, items, settings, group, interrupt, started).carry_out()
        stopped = 0 if state.finished else interrupt.requested
        if stopped and group.is_main:
            say(f"Stopped at step {state.step:,}, saved. Go on with the same command and --resume")
        return RunSummary(
            run=str(out),
            steps=state.step,
            tokens=state.tokens,
            seconds=round(state.seconds, 2),
            loss=state.best_loss,
            bits_per_byte=state.best_metrics.get("bits per byte"),
            finished=state.finished,
            signal=stopped,
        )

    def stopped(signal: int) -> RunSummary:
        return RunSummary(str(out), seconds=round(time.monotonic() - started, 2), signal=signal)

    smaller = "give a smaller --micro-batch, --context-length or --size"
    first = PretrainRun(out, items, settings, Group(), Interrupt(), started).prepare
    return session.run_guarded(out, work, stopped, smaller, first)


def measure(run: Run) -> None:
    """Evaluate a run's best model on what it held out, in about a fiftieth of the run's own time.

    Where that is too short for all of the held-out text, a sample from all over it is taken.
    """
    held_out = run.manifest.get("splits", {}).get("val", {}).get("tokens", 0)
    if run.best is None or not run.has_model or not held_out:
        return
    from nextword.verbs.evaluate import evaluate

    # A token is scored in less time than it is learned from.
    affordable = int(MEASURING * (run.seconds or 0) * run.tokens_per_second)
    try:
        most = max(affordable, FEWEST_TOKENS)
        evaluation = evaluate(run.path, max_tokens=most, **_hiding(run))
    except UserError as error:
        warn(f"the best model could not be measured: {error}")
        return
    values = {"step": run.best["step"], "held_out_tokens": held_out} | evaluation.to_json()
    write_json(run.path / EVALUATION, values)


def _hiding(run: Run) -> Record:
    """What is hidden in a measurement, as it was in training."""
    if run.objective == "causal":
        return {}
    names = HidingSettings.model_fields.keys() - Settings.model_fields.keys()
    return {name: run.settings[name] for name in names & run.settings.keys()}
