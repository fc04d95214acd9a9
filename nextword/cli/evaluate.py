"""`nextword evaluate` and `compare`: how good a model is, and which of two is better."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nextword.cli.options import LABELLED, MODEL, Argument, command, flag
from nextword.errors import UserError
from nextword.settings import CompareSettings, EvaluateSettings, PredictSettings
from nextword.terminal import count_of, duration, say, table, warn

if TYPE_CHECKING:
    from nextword.evaluation.bootstrap import SeedStats
    from nextword.evaluation.classification import ClassReport
    from nextword.evaluation.language_model import Interval
    from nextword.verbs.compare import Comparison
    from nextword.verbs.evaluate import TaskEvaluation

Record = dict[str, Any]
MOST_CLASSES = 10  # that a terminal has room for
# Figures of an evaluation on text, each with an interval beside it, and what they are called.
FIGURES = {
    "bits_per_byte": "bits per byte",
    "masked_accuracy": "hidden tokens found",
    "perplexity": "perplexity",
    "loss": "loss, nats per token",
}
# What they were measured on; of tokens that were hidden and of all tokens there are other facts.
FACTS = {
    "hidden_tokens": "hidden tokens",
    "tokens": "tokens",
    "unknown_share": "... unknown to the tokenizer",
    "bytes": "bytes",
    "documents": "documents",
    "documents_seen": "... also in the training text",
    "documents_over_context": "... longer than the context",
    "mask_rate": "share hidden",
    "context_length": "context, tokens",
    "stride": "stride, tokens",
    "interval_units": "intervals over",
    "seconds": "time",
}
TEXT_OR_EXAMPLES = Argument(
    "data",
    "DATA",
    "a store, text or labelled data; if none, the text that the run held out",
    required=False,
    many=True,
)


@command(EvaluateSettings, MODEL, TEXT_OR_EXAMPLES)
def evaluate(parsed: argparse.Namespace, settings: EvaluateSettings) -> Record:
    check_which(settings)
    if settings.benchmark is not None:
        return measure_benchmark(parsed, settings)
    from nextword.tasks.opening import task_of

    if (settings.task or task_of(parsed.model)) in (None, "text"):
        from nextword.verbs.evaluate import evaluate

        measured = evaluate(parsed.model, parsed.data or None, settings)
        show_measured(vars(measured))
        return measured.to_json()

    from nextword.verbs.evaluate import evaluate_task

    if not parsed.data:
        raise UserError("a task is evaluated on labelled data", mend="name a test set")
    chosen = settings.model_dump(exclude_unset=True, include=set(PredictSettings.model_fields))
    chosen["precision"] = settings.precision
    evaluation = evaluate_task(parsed.model, parsed.data, **chosen)
    show_task(evaluation)
    return evaluation.to_json()


OF_BENCHMARKS = {"benchmark", "shots", "max_examples"}
OF_BOTH = {"batch_size", "precision", "seed"}


def check_which(settings: EvaluateSettings) -> None:
    """Raise UserError for a setting that would do nothing, with a benchmark or without one."""
    given = settings.model_fields_set
    if settings.benchmark is None:
        unused, mend = given & OF_BENCHMARKS, "name a benchmark, or leave it out"
    else:
        unused, mend = given - OF_BENCHMARKS - OF_BOTH, "leave it out, or leave --benchmark out"
    if unused:
        name = flag(min(unused))
        is_with = "without" if settings.benchmark is None else "with"
        raise UserError(f"{name} does nothing {is_with} --benchmark", mend=mend)


def measure_benchmark(parsed: argparse.Namespace, settings: EvaluateSettings) -> Record:
    from nextword.verbs.benchmark import benchmark

    if parsed.data:
        raise UserError(
            "a benchmark has data of its own", mend="leave DATA out, or leave --benchmark out"
        )
    result = benchmark(parsed.model, settings.benchmark or "", settings)
    rows = []
    for score in result.scores:
        interval = interval_text(score.interval) if score.interval else ""
        named = (score.task, score.name, score.filter)
        rows.append((*named, score.value, interval, score.examples, score.shots))
    title = f"{result.model}, measured by lm-eval {result.lm_eval}"
    columns = ["task", "metric", "filter", "value", "95% interval", "examples", "shots"]
    table(title, columns, rows)
    return result.to_json()


@command(
    CompareSettings,
    Argument("first", "MODEL_A", "a run of `nextword finetune`, or a model"),
    Argument("second", "MODEL_B", "another one for the same task"),
    LABELLED,
)
def compare(parsed: argparse.Namespace, settings: CompareSettings) -> Record:
    from nextword.verbs.compare import compare

    comparison = compare(parsed.first, parsed.second, parsed.data, settings)
    show_comparison(comparison)
    return comparison.to_json()


def show_task(evaluation: TaskEvaluation) -> None:
    from nextword.verbs.evaluate import warn_of_seen

    rows = []
    for name, metric in evaluation.metrics.items():
        interval = interval_text(metric.interval) if metric.interval else ""
        rows.append((name, figure_text(metric.value), interval, metric.signature))
    title = f"{evaluation.model}: {evaluation.task}, {count_of(evaluation.examples, 'example')}"
    table(title, ["", "value", "95% interval", ""], rows)
    if evaluation.seeds:
        show_seeds(evaluation.seeds)
    if evaluation.task == "tag" and "strict F1" in evaluation.metrics:
        show_classes("Kinds of entities", evaluation.classes, counted="entities")
    elif evaluation.task == "tag":
        show_classes("Tags", evaluation.classes, counted="words")
    elif len(evaluation.classes) > MOST_CLASSES:
        show_classes("Classes", evaluation.classes)
    elif len(evaluation.classes) >= 2:
        show_classes("Classes, and what they were predicted as", evaluation.classes, confusion=True)
    if evaluation.units == 1 < evaluation.examples:
        say("all examples share one input, so no interval can be given")
    else:
        say_what_is_resampled(evaluation.units, evaluation.examples)
    if warning := warn_of_seen(evaluation.seen, evaluation.nearly_seen, evaluation.examples):
        warn(warning)
    elif evaluation.seen is None:
        say("it is not known whether the model was trained on any of these examples")


def show_classes(
    title: str, classes: list[ClassReport], *, counted: str = "examples", confusion: bool = False
) -> None:
    """Show a row for each class; with `confusion` also how often it was predicted as which."""
    names = [row.name for row in classes] if confusion else []
    rows = []
    for row in classes:
        figures = map(figure_text, (row.precision, row.recall, row.f1))
        counts = row.taken_for.values() if confusion else ()
        rows.append((row.name, *figures, row.examples, *counts))
    table(title, ["", "precision", "recall", "F1", counted, *names], rows)


def show_seeds(seeds: Mapping[str, SeedStats]) -> None:
    rows = [
        (name, figure_text(over.mean), figure_text(over.deviation), interval_text(over.interval))
        for name, over in seeds.items()
    ]
    table("Over the seeds", ["", "mean", "std. deviation", "95% interval of the mean"], rows)


def show_measured(values: Record) -> None:
    """Show the figures of an evaluation on text, and what they were measured on."""
    shown, titles = {**values, "seconds": duration(values["seconds"])}, dict(FIGURES)
    shown["unknown_share"] = f"{values['unknown_share']:.2%}"
    if "hidden_tokens" in values:
        titles["loss"] = "loss, nats per hidden token"
        shown["mask_rate"] = f"{values['mask_rate']:.0%}"
        shown["interval_units"] = f"{values['rows']:,} rows"
        if values["masked_accuracy"] is None:  # an encoder–decoder names no candidates
            del titles["masked_accuracy"]
    elif values["documents_seen"] is None:
        shown["documents_seen"] = "not known"
    figures = [
        (title, figure_text(values[name]), interval_text(values[f"{name}_interval"]))
        for name, title in titles.items()
        if name in values
    ]
    table(f"{values['model']} on {values['data']}", ["", "value", "95% interval"], figures)
    facts = [(title, shown[name]) for name, title in FACTS.items() if name in shown]
    table("Measured on", ["", ""], facts)
    too_long, context = values.get("documents_over_context"), values["context_length"]
    if too_long and values["stride"] == context:
        warn(
            f"{too_long:,} of {values['documents']:,} documents are longer than the context of "
            f"{context:,} tokens: they are scored in pieces, each without the text before it "
            f"(--stride {max(1, context // 2)} keeps some of it)"
        )


def show_comparison(comparison: Comparison) -> None:
    rows = []
    for name, metric in comparison.metrics.items():
        low, high = metric.interval
        better = comparison.better(name)
        verdict = "may be chance" if better is None else f"{'AB'[better]} is better"
        values = (f"{metric.first:.4f}", f"{metric.second:.4f}", f"{metric.difference:+.4f}")
        rows.append((name, *values, f"{low:+.4f} … {high:+.4f}", f"{metric.p:.2g}", verdict))
    title = f"{comparison.task}, {count_of(comparison.examples, 'example')}"
    table(title, ["", "A", "B", "B − A", "95% interval", "p", ""], rows)
    for letter, model in zip("AB", comparison.models, strict=True):
        say(f"{letter}: {model}")
    for metric in comparison.metrics.values():
        if metric.discordant is not None:
            say(
                "Only A is right on {:,} examples, only B on {:,}: ".format(*metric.discordant)
                + f"{metric.test}. All other p-values are from the paired bootstrap"
            )
    say_what_is_resampled(comparison.units, comparison.examples)
    for remark in comparison.remarks:
        warn(remark)


def say_what_is_resampled(units: int, examples: int) -> None:
    if units < examples:
        say(
            f"{units:,} different inputs: examples that share an input, such as questions about "
            "one text, are resampled together for the intervals"
        )


def figure_text(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}" if value < 100 else f"{value:,.1f}"


def interval_text(interval: Interval) -> str:
    if interval is None:
        return "too little text to tell"
    return " … ".join(figure_text(bound) for bound in interval)
