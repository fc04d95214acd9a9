"""`nextword pretrain DATA...|STORE --out RUN`"""

from __future__ import annotations

import argparse
import dataclasses
import os
from typing import TYPE_CHECKING

from nextword.cli import options
from nextword.errors import UserError
from nextword.settings import PretrainSettings
from nextword.terminal import quantity, say

if TYPE_CHECKING:
    from nextword.verbs.pretrain import FinishedRun


def run(arguments: list[str], parser: argparse.ArgumentParser) -> None:
    parser.description = "Raw text or a token store to a pretrained model, in one run directory."
    parser.add_argument(
        "data", metavar="DATA", nargs="*", help="files, folders, patterns, hf://owner/dataset"
    )
    parser.add_argument("--out", metavar="RUN", help="run directory")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parsed, settings = options.parse(parser, PretrainSettings, arguments, needed=("out",))
    if not parsed.data and not settings.resume:
        raise UserError("no DATA was given", mend=str(parser.usage))

    from nextword.verbs.pretrain import pretrain

    finished = pretrain(parsed.data, parsed.out, settings)
    if int(os.environ.get("RANK", 0)) == 0:
        if not finished.signal:  # else the last line says how to go on
            show(finished)
        if parsed.json:
            options.print_json(dataclasses.asdict(finished))
    if finished.signal:
        raise SystemExit(128 + finished.signal)  # as shells count an end by a signal


def show(finished: FinishedRun) -> None:
    measured = finished.evaluation or {}
    for name, told in (  # the first that this kind of model has
        ("bits_per_byte", "bits per byte"),
        ("masked_accuracy", "of hidden tokens found"),
        ("perplexity", "perplexity of hidden words"),
    ):
        if interval := measured.get(f"{name}_interval"):
            whole = measured["tokens"] >= measured["held_out_tokens"]
            part = "" if whole else f" (a sample of {quantity(measured['tokens'], 'tokens')})"
            say(
                f"On held-out text{part}: {measured[name]:.4f} {told}, "
                f"95% interval {interval[0]:.4f} to {interval[1]:.4f}"
            )
            break
    say(f"Report: {finished.report}", copied=True)
    if finished.model:
        say(f"Model: {finished.model}", copied=True)
        say(f"Try: {finished.trial}", copied=True)
