"""What the report of a fine-tuned run shows: the task's figures and curves, and, where the run has
kept its held-out examples, which classes are mixed up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from nextword.evaluation.classification import class_reports
from nextword.reports.curves import Line
from nextword.reports.findings import RISEN, Figure, Verdict, unbroken
from nextword.runs.record import Record, Run
from nextword.terminal import duration, quantity

MOST_CLASSES = 20  # that a confusion matrix is drawn of
OWN = {"kind", "step", "loss", "train_loss", "best", "seconds", "perplexity"}  # no task's figures
PURPOSES = {
    "classify": "a classifier of texts",
    "qa": "a model that answers questions",
    "summarize": "a model that writes summaries",
    "translate": "a model that translates",
    "chat": "a model to talk to",
    "text": "a model that has gone on reading",
    "tag": "a tagger of words",
}


@dataclass(frozen=True)
class ClassRow:
    """A class: figures of it in words, and how often it was taken for each class, with the share
    of its examples that this is."""

    name: str
    cells: list[str]
    taken_for: list[tuple[str, float]]


def summary(run: Run) -> str:
    """The run in one sentence."""
    count = run.weights.parameters if run.weights else 0
    words = [PURPOSES.get(run.task, f"a model for the task {run.task}").capitalize()]
    words += [f"of {quantity(count)} parameters"] if count else []
    words += [f"fine-tuned for {unbroken(duration(run.seconds))}"] if run.seconds else []
    return ", ".join(words) + "."


def headline(run: Run) -> list[Figure]:
    """The task's figures on held-out examples, with their intervals once they are known."""
    found = run.evaluation.get("metrics") or {}
    figures = []
    for name, metric in found.items():
        if isinstance(metric, dict) and _is_number(metric.get("value")):
            sure = ", ".join([_interval(metric), *_over_seeds(run, name)])
            figures.append(Figure(_short(metric["value"]), name, sure))
    if not figures and run.best:
        figures = [
            Figure(_short(run.best[name]), shown(name), "during training")
            for name in [*metric_names(run), "loss"]
            if _is_number(run.best.get(name))
        ]
    return figures


def _over_seeds(run: Run, name: str) -> list[str]:
    found = run.seeds.get(name)
    if not isinstance(found, dict) or not _is_number(found.get("mean")):
        return []
    return [f"over the seeds {_short(found['mean'])} ± {_short(found['deviation'])}"]


def measured_on(run: Run) -> str:
    """What the headline's figures were measured on."""
    if not run.evaluation:
        return (
            "These are the figures of the best validation so far; those of all held-out examples, "
            "with their intervals, come when the run is over."
            if run.best
            else ""
        )
    return (
        f"Of the model of step {run.evaluation['step']:,}, the best one, on the "
        f"{run.evaluation['examples']:,} examples held out. They chose the model, so a test set of "
        "its own may say a little less. In 95 of 100 such samples the interval would hold the true "
        "value."
    )


def overfitting(run: Run) -> Verdict:
    """Has the model begun to learn its examples by heart?"""
    if not run.validations or run.best is None:
        return Verdict("unknown", "Overfitting is not known", "Nothing was held out to measure it.")
    lowest = min(run.validations, key=lambda record: record["loss"])
    last, best = run.validations[-1], run.best
    kept = f"The model kept is the one of step {best['step']:,}."
    if last["loss"] > lowest["loss"] + RISEN:
        return Verdict(
            "bad" if last["loss"] > 1.5 * lowest["loss"] else "fair",
            "Held-out loss has turned upwards",
            f"It was lowest at step {lowest['step']:,} ({lowest['loss']:.3f}) and is "
            f"{last['loss']:.3f} at the end: the model grows surer than it is right. {kept} Fewer "
            "epochs, dropout, --lora or more examples would help.",
        )
    return Verdict("good", "No sign of overfitting", f"Held-out loss is at its lowest. {kept}")


def metric_names(run: Run) -> list[str]:
    """The task's figures in the validations, as they are written there."""
    names = dict.fromkeys(name for record in run.validations for name in record)
    return [
        name
        for name in names
        if name not in OWN and any(_is_number(record.get(name)) for record in run.validations)
    ]


def curves(run: Run) -> list[tuple[str, Line]]:
    """A title and line for each of the task's figures."""
    found = []
    for name in metric_names(run):
        points = [(r["step"], r[name]) for r in run.validations if _is_number(r.get(name))]
        found.append((shown(name), Line(shown(name), points, "held", dots=True)))
    return found


def shown(name: str) -> str:
    return name.replace("_", " ")


def classes(examples: list[Record]) -> list[ClassRow]:
    """Precision, recall, F1 and count of each class, and what it was taken for; empty where the
    examples have no single labels, or too many different ones for a page."""
    kept = [r for r in examples if isinstance(r.get("label"), str)]
    if not kept or len(kept) < len(examples):
        return []
    if not all(isinstance(r["prediction"], str) for r in kept):
        return []
    named = [name for r in kept[:1] for name in r.get("probabilities") or {}]
    said = {str(r[role]) for r in kept for role in ("label", "prediction")}
    names = named if said <= set(named) else sorted(said)
    if not 2 <= len(names) <= MOST_CLASSES:
        return []
    place = {name: number for number, name in enumerate(names)}
    truth = np.array([place[r["label"]] for r in kept], np.int64)
    guess = np.array([place[r["prediction"]] for r in kept], np.int64)
    return [
        ClassRow(
            row.name,
            [*(f"{part:.3f}" for part in (row.precision, row.recall, row.f1)), f"{row.examples:,}"],
            [(f"{n:,}", n / max(row.examples, 1)) for n in row.taken_for.values()],
        )
        for row in class_reports(names, truth, guess)
    ]


def _interval(metric: Record) -> str:
    ends = metric.get("interval")
    if not isinstance(ends, list) or len(ends) != 2:
        return "on held-out examples"
    return f"95% interval {_short(ends[0])} – {_short(ends[1])}"


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
