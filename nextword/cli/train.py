"""`nextword prepare`, `pretrain` and `finetune`: from text or labelled data to a model."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
from typing import TYPE_CHECKING, Any

from nextword.cli.evaluate import interval_text, show_seeds
from nextword.cli.options import LABELLED, MODEL, OUT_RUN, TEXTS, Argument, command, print_json
from nextword.errors import UserError
from nextword.settings import FinetuneSettings, PrepareSettings, PretrainSettings
from nextword.terminal import quantity, say, table

if TYPE_CHECKING:
    from nextword.verbs.finetune_run import Finetuned
    from nextword.verbs.pretrain import FinishedRun

# What may have been measured at the end of pretraining: a model has the first of these it can have.
MEASURES = {
    "bits_per_byte": "bits per byte",
    "masked_accuracy": "of hidden tokens found",
    "perplexity": "perplexity of hidden words",
}


@command(PrepareSettings, TEXTS, Argument("--out", "STORE", "directory of the new store"))
def prepare(parsed: argparse.Namespace, settings: PrepareSettings) -> None:
    from nextword.tokens.prepare import prepare

    store = prepare(parsed.data, parsed.out, settings)
    if parsed.json:
        print_json({"store": parsed.out, **store.manifest})


@command(PretrainSettings, dataclasses.replace(TEXTS, required=False), OUT_RUN)
def pretrain(parsed: argparse.Namespace, settings: PretrainSettings) -> None:
    if not parsed.data and not settings.resume:
        raise UserError("no DATA was given", mend="nextword pretrain DATA... --out RUN")

    from nextword.verbs.pretrain import pretrain

    finished = pretrain(parsed.data, parsed.out, settings)
    if _is_first_process():
        if not finished.signal:  # else the last line has said how to continue
            show_pretrained(finished)
        if parsed.json:
            print_json(dataclasses.asdict(finished))
    _exit_as_signalled(finished.signal)


@command(FinetuneSettings, MODEL, LABELLED, OUT_RUN)
def finetune(parsed: argparse.Namespace, settings: FinetuneSettings) -> None:
    from nextword.verbs.finetune import finetune

    finished = finetune(parsed.model, parsed.data, parsed.out, settings)
    if _is_first_process():
        if finished.signal:
            say(
                f"Stopped and saved at step {finished.steps:,}. To continue, run the same command "
                "with --resume"
            )
        else:
            show_finetuned(finished)
        if parsed.json:
            print_json(dataclasses.asdict(finished))
    _exit_as_signalled(finished.signal)


def show_pretrained(finished: FinishedRun) -> None:
    evaluation = finished.evaluation or {}
    measure = next((name for name in MEASURES if evaluation.get(f"{name}_interval")), None)
    if measure:
        low, high = evaluation[f"{measure}_interval"]
        is_sample = evaluation["tokens"] < evaluation["held_out_tokens"]
        sample = f" (a sample of {quantity(evaluation['tokens'], 'tokens')})" if is_sample else ""
        say(
            f"On held-out text{sample}: {evaluation[measure]:.4f} {MEASURES[measure]}, "
            f"95% interval {low:.4f} to {high:.4f}"
        )
    say(f"Report: {finished.report}", copied=True)
    if finished.model:
        say(f"Model: {finished.model}", copied=True)
        say(f"Try: {finished.trial}", copied=True)


def show_finetuned(finished: Finetuned) -> None:
    say(f"Finished: {finished.finished}")
    if finished.trials:
        show_trials(finished.trials)
    if finished.loss is not None:
        intervals = {name: interval_text(ends) for name, ends in finished.intervals.items()}
        rows = [
            (name, value, intervals.get(name, ""))
            for name, value in {"loss": finished.loss, **finished.metrics}.items()
        ]
        columns = ["on held-out examples", "", "95% interval"]
        table(f"The best model, from step {finished.best_step:,}", columns, rows)
    if finished.seeds:
        show_seeds(finished.seeds)
    run = shlex.quote(finished.run)
    say(f"Model: {finished.run}/model")
    say(f"Evaluate it on a test set: nextword evaluate {run} TEST_DATA")
    if finished.task == "text":
        say(f"Use it: nextword generate {run}")
    else:
        say(f"Use it: nextword predict {run} NEW_DATA --out predictions.jsonl")


def show_trials(trials: dict[str, dict[str, Any]]) -> None:
    """Show a row for each trial. The first changes nothing: the longest one names the columns."""
    columns = max(map(list, trials.values()), key=len)
    rows = [
        (name.rpartition("-")[2], *(_trial_cell(trial.get(column)) for column in columns))
        for name, trial in trials.items()
    ]
    table("Trials", ["", *(column.replace("_", " ") for column in columns)], rows)


def _trial_cell(value: object) -> str:
    """A dash where a trial kept the usual setting, or reached no score."""
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_first_process() -> bool:
    """Whether this process speaks for all that torchrun has started."""
    return int(os.environ.get("RANK", 0)) == 0


def _exit_as_signalled(signal: int) -> None:
    if signal:
        raise SystemExit(128 + signal)  # as shells count an end by a signal
