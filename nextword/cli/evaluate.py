"""`nextword evaluate MODEL [DATA ...]`"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from nextword.cli import options
from nextword.errors import UserError
from nextword.settings import EvaluateSettings, PredictSettings
from nextword.terminal import duration, say, table, warn

MOST_CLASSES = 10  # that a terminal has room for

if TYPE_CHECKING:
    from nextword.evaluation.language_model import Evaluation, Interval
    from nextword.evaluation.masked import HiddenEvaluation


def run(arguments: list[str], parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "How good a model is on what it was not trained on: loss, perplexity and bits per byte of "
        "text, or a fine-tuned model's own metrics on a test set, each with its 95% interval."
    )
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="a run, a Hugging Face directory, a Hub name"
    )
    parser.add_argument(
        "data", metavar="DATA", nargs="*", help="a store or text; the run's held-out text if none"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parsed, settings = options.parse(parser, EvaluateSettings, arguments, needed=("model",))

    from nextword.tasks.opening import task_of

    task = settings.task or task_of(parsed.model)
    if task not in (None, "text"):
        run_task(parsed, settings)
        return
    from nextword.evaluation.language_model import Evaluation
    from nextword.verbs.evaluate import evaluate

    evaluation = evaluate(parsed.model, parsed.data or None, settings)
    if isinstance(evaluation, Evaluation):
        show(evaluation)
    else:
        show_hidden(evaluation)
    if parsed.json:
        options.print_json(evaluation.to_json())


def run_task(parsed: argparse.Namespace, settings: EvaluateSettings) -> None:
    from nextword.verbs.evaluate import evaluate_task, warn_of_seen

    if not parsed.data:
        raise UserError("a task is measured on labelled data", mend="name a test set")
    known = settings.model_dump(exclude_unset=True, include=set(PredictSettings.model_fields))
    known["precision"] = settings.precision
    evaluation = evaluate_task(parsed.model, parsed.data, **known)
    rows = [
        (name, _figure(metric.value), _sure(metric.interval), metric.signature)
        for name, metric in evaluation.metrics.items()
    ]
    title = f"{evaluation.model}: {evaluation.task}, {evaluation.examples:,} examples"
    table(title, ["", "value", "95% interval", ""], rows)
    if evaluation.seeds:
        spread = [
            (name, _figure(over.mean), _figure(over.deviation), _interval(over.interval))
            for name, over in evaluation.seeds.items()
        ]
        table("Over the seeds", ["", "mean", "deviation", "95% interval of the mean"], spread)
    if evaluation.task == "tag":
        table(
            "Kinds of entities",
            ["", "precision", "recall", "F1", "entities"],
            [
                (row.name, *map(_figure, (row.precision, row.recall, row.f1)), row.examples)
                for row in evaluation.classes
            ],
        )
    elif len(evaluation.classes) >= 2:
        few = len(evaluation.classes) <= MOST_CLASSES
        names = [row.name for row in evaluation.classes] if few else []
        table(
            "Classes, and what their examples were taken for" if few else "Classes",
            ["", "precision", "recall", "F1", "examples", *names],
            [
                (
                    row.name,
                    *map(_figure, (row.precision, row.recall, row.f1)),
                    row.examples,
                    *(row.taken_for.values() if few else ()),
                )
                for row in evaluation.classes
            ],
        )
    if evaluation.units == 1 < evaluation.examples:
        say("all examples share one input: how far these figures would move cannot be told")
    elif evaluation.units < evaluation.examples:
        say(
            f"{evaluation.units:,} different inputs: examples that share one, as questions about "
            "one text do, are drawn together for the intervals"
        )
    if words := warn_of_seen(evaluation.seen, evaluation.nearly_seen, evaluation.examples):
        warn(words)
    elif evaluation.seen is None:
        say("whether the model has learnt from any of these examples is not known")
    if parsed.json:
        options.print_json(evaluation.to_json())


def show_hidden(evaluation: HiddenEvaluation) -> None:
    figures = [
        ("hidden tokens found", evaluation.masked_accuracy, evaluation.masked_accuracy_interval),
        ("perplexity", evaluation.perplexity, evaluation.perplexity_interval),
        ("loss, nats a hidden token", evaluation.loss, evaluation.loss_interval),
    ]
    rows = [
        (name, _figure(value), _interval(interval))
        for name, value, interval in figures
        if value is not None
    ]
    table(f"{evaluation.model} on {evaluation.data}", ["", "value", "95% interval"], rows)
    facts = [
        ("hidden tokens", evaluation.hidden_tokens),
        ("tokens", evaluation.tokens),
        ("share hidden", f"{evaluation.mask_rate:.0%}"),
        ("context, tokens", evaluation.context_length),
        ("interval over", f"{evaluation.rows:,} rows"),
        ("time", duration(evaluation.seconds)),
    ]
    table("Measured on", ["", ""], facts)


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
    over, context = evaluation.documents_over_context, evaluation.context_length
    facts = [
        ("tokens", evaluation.tokens),
        ("bytes", evaluation.bytes),
        ("documents", evaluation.documents),
        ("... seen in training too", "not known" if seen is None else seen),
        ("... longer than the context", over),
        ("context, tokens", context),
        ("scored a window, tokens", evaluation.stride),
        ("interval over", evaluation.interval_units),
        ("time", duration(evaluation.seconds)),
    ]
    table("Measured on", ["", ""], facts)
    if over and evaluation.stride == context:
        warn(
            f"{over:,} of {evaluation.documents:,} documents are longer than the {context:,} "
            "tokens seen at once: they are scored in pieces, each begun without what came before "
            f"(--stride {max(1, context // 2)} gives more)"
        )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}" if value < 100 else f"{value:,.1f}"


def _sure(interval: Interval) -> str:
    return "" if interval is None else _interval(interval)


def _interval(interval: Interval) -> str:
    if interval is None:
        return "too little text to tell"
    return " … ".join(_figure(bound) for bound in interval)
