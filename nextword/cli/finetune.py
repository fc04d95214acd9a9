"""`nextword finetune MODEL DATA... --task T --out RUN`"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
from typing import TYPE_CHECKING

from nextword.cli import options
from nextword.settings import FinetuneSettings
from nextword.terminal import say, table

if TYPE_CHECKING:
    from nextword.verbs.finetune import Finetuned


def run(arguments: list[str], parser: argparse.ArgumentParser) -> None:
    parser.description = "A model and labelled data to a model for that task."
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="a run, a Hugging Face directory, a Hub name"
    )
    parser.add_argument(
        "data", metavar="DATA", nargs="*", help="csv, tsv, jsonl, json, parquet, hf://..."
    )
    parser.add_argument("--out", metavar="RUN", help="run directory")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    needed = ("model", "data", "out")
    parsed, settings = options.parse(parser, FinetuneSettings, arguments, needed=needed)

    from nextword.verbs.finetune import finetune

    finished = finetune(parsed.model, parsed.data, parsed.out, settings)
    if int(os.environ.get("RANK", 0)) == 0:
        if finished.signal:
            say(f"Stopped at step {finished.steps:,}, saved. Go on with the same command, --resume")
        else:
            show(finished)
        if parsed.json:
            options.print_json(dataclasses.asdict(finished))
    if finished.signal:
        raise SystemExit(128 + finished.signal)


def show(finished: Finetuned) -> None:
    say(f"Finished: {finished.finished}")
    if finished.trials:
        columns = max(map(list, finished.trials.values()), key=len)  # the first trial tries nothing
        trials = [
            (place.rpartition("-")[2], *(_shown(each.get(name)) for name in columns))
            for place, each in finished.trials.items()
        ]
        table("Trials", ["", *(name.replace("_", " ") for name in columns)], trials)
    if finished.loss is not None:
        rows = [
            (label, value, " … ".join(f"{end:.4f}" for end in finished.intervals.get(label, ())))
            for label, value in [("loss", finished.loss), *finished.metrics.items()]
        ]
        names = ["on examples held out", "", "95% interval"]
        table(f"The best model, of step {finished.best_step:,}", names, rows)
    if finished.seeds:
        spread = [
            (label, over.mean, over.deviation, " … ".join(f"{end:.4f}" for end in over.interval))
            for label, over in finished.seeds.items()
        ]
        table("Over the seeds", ["", "mean", "deviation", "95% interval of the mean"], spread)
    run = shlex.quote(finished.run)
    say(f"Model: {finished.run}/model")
    say(f"Measure it on a test set: nextword evaluate {run} TEST_DATA")
    if finished.task == "text":
        say(f"Use it: nextword generate {run}")
    else:
        say(f"Use it: nextword predict {run} NEW_DATA --out predictions.jsonl")


def _shown(value: object) -> str:
    """A cell of the table of trials: nothing was tried but the usual, or no score was reached."""
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
