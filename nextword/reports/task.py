"""What the report of a fine-tuned run shows: the task's figures and curves, and, where the run has
kept its held-out examples (RUN/held_out.jsonl), which classes are mixed up and where it fails.

A line of held_out.jsonl is an object with "place", "text", "label" (for answers: "references"),
"prediction", "loss" and, of classes, "probabilities" by name.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nextword.errors import UserError
from nextword.reports.curves import Line
from nextword.reports.findings import RISEN, Figure, Verdict
from nextword.tasks.metrics import class_figures
from nextword.tasks.run import Record, Run
from nextword.terminal import duration, quantity

HELD_OUT = "held_out.jsonl"
MOST_CLASSES = 20  # that a confusion matrix is drawn of
WORST = 12  # examples shown
LONGEST = 300  # characters of a text shown
OWN = {"kind", "step", "loss", "train_loss", "best", "seconds", "perplexity"}  # no task's figures
PURPOSES = {
    "classify": "a classifier of texts",
    "qa": "a model that answers questions",
    "summarize": "a model that writes summaries",
    "translate": "a model that translates",
    "chat": "a model to talk to",
    "text": "a model that has gone on reading",
}


@dataclass(frozen=True)
class ClassRow:
    """A class: figures of it in words, and how often it was taken for each class, with the share
    of its examples that this is."""

    name: str
    cells: list[str]
    taken_for: list[tuple[str, float]]


@dataclass(frozen=True)
class Example:
    """One held-out example for people; `sure` is the probability given to what was said."""

    place: str
    text: str
    wanted: str
    said: str
    sure: str
    loss: str


def summary(run: Run) -> str:
    """The run in one sentence."""
    count = run.weights.parameters if run.weights else 0
    words = [PURPOSES.get(run.task, f"a model for the task {run.task}").capitalize()]
    words += [f"of {quantity(count)} parameters"] if count else []
    words += [f"fine-tuned for {duration(run.seconds)}"] if run.seconds else []
    return ", ".join(words) + "."


def headline(run: Run) -> list[Figure]:
    """The task's figures on held-out examples, with their intervals once they are known."""
    found = run.evaluation.get("metrics") or {}
    figures = []
    for name, metric in found.items():
        if isinstance(metric, dict) and _is_number(metric.get("value")):
            figures.append(Figure(_short(metric["value"]), name, _interval(metric)))
    if not figures and run.best:
        figures = [
            Figure(_short(run.best[name]), shown(name), "during training")
            for name in [*metric_names(run), "loss"]
            if _is_number(run.best.get(name))
        ]
    return figures


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


def read_held_out(path: Path) -> list[Record]:
    """The held-out examples that a run has kept; none where it has not. Raises UserError with the
    line for what is no such record."""
    if not (path / HELD_OUT).is_file():
        return []
    found = []
    with open(path / HELD_OUT, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = json.loads(line)
                float(record["loss"]), record["text"], record["prediction"]
            except (ValueError, KeyError, TypeError, RecursionError):
                raise UserError(
                    "is no held-out example (an object with text, prediction and loss)",
                    where=f"{path / HELD_OUT}:{number}",
                    mend="remove the file, and the report does without it",
                ) from None
            found.append(record)
    return found


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
        for row in class_figures(names, truth, guess)
    ]


def worst(examples: list[Record]) -> list[Example]:
    """Those of the highest loss: mistakes of the model, or of whoever labelled them."""
    order = sorted(examples, key=lambda record: -_loss(record))
    return [_example(record) for record in order[:WORST]]


def _loss(record: Record) -> float:
    value = float(record["loss"])
    return math.inf if math.isnan(value) else value


def _example(record: Record) -> Example:
    wanted = record.get("label", record.get("references", ""))
    probabilities = record.get("probabilities")
    sure = probabilities.get(record["prediction"]) if isinstance(probabilities, dict) else None
    return Example(
        place=str(record.get("place", "")),
        text=_cut(str(record["text"])),
        wanted=_cut(_words(wanted)),
        said=_cut(_words(record["prediction"])),
        sure=f"{sure:.0%}" if _is_number(sure) else "",
        loss=f"{_loss(record):.2f}",
    )


def _words(value: Any) -> str:
    if isinstance(value, list):
        return " · ".join(map(str, value)) or "(none)"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


def _interval(metric: Record) -> str:
    ends = metric.get("interval")
    if not isinstance(ends, list) or len(ends) != 2:
        return "on held-out examples"
    return f"95% interval {_short(ends[0])} – {_short(ends[1])}"


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
