"""`nextword evaluate MODEL [DATA ...]`"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from nextword.cli import options
from nextword.settings import EvaluateSettings
from nextword.terminal import duration, table

if TYPE_CHECKING:
    from nextword.tasks.evaluate import Evaluation, Interval


def run(arguments: list[str], parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "How well a model predicts text it was not trained on: loss, perplexity and bits per byte, "
        "each with its 95% interval."
    )
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="a run, a Hugging Face directory, a Hub name"
    )
    parser.add_argument(
        "data", metavar="DATA", nargs="*", help="a store or text; the run's held-out text if none"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parsed, settings = options.parse(parser, EvaluateSettings, arguments, needed=("model",))

    from nextword.tasks.evaluate import evaluate

    evaluation = evaluate(parsed.model, parsed.data or None, settings)
    show(evaluation)
    if parsed.json:
        options.print_json(evaluation.to_json())


def show(evaluation: Evaluation) -> None:
    figures = [
        ("bits per byte", evaluation.bits_per_byte, evaluation.bits_per_byte_interval),
        ("perplexity", evaluation.perplexity, evaluation.perplexity_interval),
        ("loss, nats a token", evaluation.loss, evaluation.loss_interval),
    ]
    rows = [(name, _figure(value), _interval(interval)) for name, value, interval in figures]
    title = f"{evaluation.model} on {evaluation.data}"
    table(title, ["", "value", "95% interval"], rows)
    seen = evaluation.documents_seen
    facts = [
        ("tokens", evaluation.tokens),
        ("bytes", evaluation.bytes),
        ("documents", evaluation.documents),
        ("... seen in training too", "not known" if seen is None else seen),
        ("... longer than the context", evaluation.documents_over_context),
        ("context, tokens", evaluation.context_length),
        ("scored a window, tokens", evaluation.stride),
        ("interval over", evaluation.interval_units),
        ("time", duration(evaluation.seconds)),
    ]
    table("Measured on", ["", ""], facts)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}" if value < 100 else f"{value:,.1f}"


def _interval(interval: Interval) -> str:
    if interval is None:
        return "too little text to tell"
    return " … ".join(_figure(bound) for bound in interval)
