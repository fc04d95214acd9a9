"""`pretrain` as people call it: train, measure the best model on held-out text, report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.files import write_json
from nextword.runs.record import EVALUATION, Record, Run, is_run, read_run
from nextword.settings import HidingSettings, PretrainSettings, Settings
from nextword.terminal import warn
from nextword.training.horizon import MEASURING
from nextword.verbs.pretrain_run import RunSummary
from nextword.verbs.pretrain_run import pretrain as train
from nextword.verbs.report import report

FEWEST_TOKENS = 4096  # fewer measure nothing


@dataclass(frozen=True)
class FinishedRun(RunSummary):
    """`evaluation` is what `evaluate` says of the best model, with the number of held-out tokens
    there are; None while the run is not over, or where nothing was held out."""

    evaluation: Record | None
    model: str | None
    report: str | None
    trial: str  # a command to try first, on words in the language of the text


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
    summary = train(data, out, settings, **overrides)
    if summary.signal or not is_run(out):  # stopped, perhaps while it was still reading
        return FinishedRun(**asdict(summary), evaluation=None, model=None, report=None, trial="")
    if int(os.environ.get("RANK", 0)) == 0:  # torchrun's other processes have nothing left to do
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


def measure(run: Run) -> None:
    """Evaluate a run's best model on what it held out, in about a fiftieth of the run's own time.

    Where that is too short for all of the held-out text, a sample from all over it is taken.
    """
    held_out = run.manifest.get("splits", {}).get("val", {}).get("tokens", 0)
    if run.best is None or not run.has_model or not held_out:
        return
    # A token is scored in less time than it is learned from.
    affordable = int(MEASURING * (run.seconds or 0) * run.tokens_per_second)
    from nextword.evaluation.language_model import evaluate

    most = max(affordable, FEWEST_TOKENS)
    try:
        result = evaluate(run.path, max_tokens=most, **_hiding(run))
    except UserError as error:
        warn(f"the best model could not be measured: {error}")
        return
    found = {"step": run.best["step"], "held_out_tokens": held_out} | result.to_json()
    write_json(run.path / EVALUATION, found)


def _hiding(run: Run) -> Record:
    """What is hidden in a measurement, as it was in training."""
    if run.objective == "causal":
        return {}
    names = HidingSettings.model_fields.keys() - Settings.model_fields.keys()
    return {name: run.settings[name] for name in names & run.settings.keys()}
