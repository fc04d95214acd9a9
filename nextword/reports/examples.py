"""The held-out examples of a fine-tuned run, for people: the worst, all of them, those that the
training data holds too, and how often each class was predicted as which.

A line of RUN/held_out.jsonl is an object with "place", "text", "label" (for answers: "references"),
"prediction", "loss" and, where there are such, "probabilities" and "score" by name, and "twin", the
same or nearly the same example of the training data, null where it has none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nextword.errors import UserError
from nextword.evaluation.classification import class_reports
from nextword.reports.summary import is_number
from nextword.runs.record import HELD_OUT, Record, mapping

WORST = 12  # examples shown
MOST_CLASSES = 20  # that a confusion matrix is drawn of
MOST_ROWS = 500  # of the table of all, so that the page stays light
LONGEST = 300  # characters of a text shown


@dataclass(frozen=True)
class Example:
    """A held-out example for people; `confidence` is the probability given to the prediction, or
    its score; `is_wrong` is None where nothing is simply right or wrong."""

    place: str
    text: str
    target: str
    prediction: str
    confidence: str
    loss: str
    is_wrong: bool | None
    is_seen: bool  # the training data holds it too, or nearly


@dataclass(frozen=True)
class Examples:
    """`suspicious` are those of the highest loss, of classes only the wrong ones; `rows` all, the
    worst first, but for those `left_out`; `score` names the column of confidence or score. `seen`
    are (text, place, and the same of the training data, how alike)."""

    suspicious: list[Example]
    rows: list[Example]
    left_out: int
    score: str
    seen: list[tuple[str, ...]]
    overlap: str


class ClassRow(NamedTuple):
    """A class: its figures in words, and how often it was predicted as each class, with the share
    of its examples that this is."""

    name: str
    cells: list[str]
    predicted_as: list[tuple[str, float]]


def read_held_out(path: Path) -> list[Record]:
    """Read the held-out examples that a run has kept, if it has. Raises UserError with the line for
    what is no such record."""
    path, records = path / HELD_OUT, []
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = json.loads(line)
                float(record["loss"]), record["text"], record["prediction"]
            except (ValueError, KeyError, TypeError, RecursionError):
                raise UserError(
                    "is no held-out example (an object with text, prediction and loss)",
                    where=f"{path}:{number}",
                    mend="remove the file: the report can do without it",
                ) from None
            records.append(record)
    return records


def present_examples(records: Sequence[Record]) -> Examples:
    """Return held-out examples as a report shows them, those of the highest loss first."""
    worst_first = sorted(records, key=lambda record: -_loss(record))
    rows = [_example(record) for record in worst_first[:MOST_ROWS]]
    has_classes = any(isinstance(record.get("label"), str) for record in records)
    suspicious = [row for row in rows if row.is_wrong] if has_classes else rows
    scores = list(mapping(records[0].get("score"))) if records else []
    return Examples(
        suspicious=suspicious[:WORST],
        rows=rows,
        left_out=len(records) - len(rows),
        score=scores[0] if scores else "confidence",
        seen=[_beside_its_twin(record) for record in records if mapping(record.get("twin"))][
            :WORST
        ],
        overlap=_overlap(records),
    )


def class_rows(examples: Sequence[Record]) -> list[ClassRow]:
    """Return precision, recall, F1 and count of each class, and what it was predicted as; nothing
    where the examples have no single labels, or too many different ones for a page."""
    labels = [record.get("label") for record in examples]
    predictions = [record["prediction"] for record in examples]
    if not labels or not all(isinstance(name, str) for name in (*labels, *predictions)):
        return []
    known = list(examples[0].get("probabilities") or {})
    used = {str(name) for name in (*labels, *predictions)}
    names = known if used <= set(known) else sorted(used)
    if not 2 <= len(names) <= MOST_CLASSES:
        return []
    truth, guess = (
        np.array([names.index(str(name)) for name in column], np.int64)
        for column in (labels, predictions)
    )
    return [
        ClassRow(
            row.name,
            [*(f"{part:.3f}" for part in (row.precision, row.recall, row.f1)), f"{row.examples:,}"],
            [(f"{n:,}", n / max(row.examples, 1)) for n in row.taken_for.values()],
        )
        for row in class_reports(names, truth, guess)
    ]


def _overlap(records: Sequence[Record]) -> str:
    """How many examples the training data holds too, in a sentence; "" where nobody has looked."""
    if not any("twin" in record for record in records):
        return ""
    similarities = [twin["alike"] for r in records if (twin := mapping(r.get("twin")))]
    exact, total = similarities.count(1), len(records)
    if not similarities:
        return f"None of the {total:,} held-out examples is in the training data too."
    return (
        f"Of the {total:,} held-out examples, {exact:,} are in the training data too and "
        f"{len(similarities) - exact:,} nearly are: figures measured on them say little about new "
        "examples."
    )


def _beside_its_twin(record: Record) -> tuple[str, ...]:
    twin = record["twin"]
    cells = [_cut(str(record["text"])), _short_place(record.get("place", ""))]
    cells += [_cut(str(twin.get("text", ""))), _short_place(twin.get("place", ""))]
    return (*cells, "the same" if twin["alike"] == 1 else f"{twin['alike']:.0%} alike")


def _example(record: Record) -> Example:
    target, prediction = record.get("label", record.get("references", "")), record["prediction"]
    scores, probabilities = mapping(record.get("score")), mapping(record.get("probabilities"))
    score = next(iter(scores.values()), None)
    probability = probabilities.get(prediction) if isinstance(prediction, str) else None
    confidence = f"{score:.3g}" if is_number(score) else ""
    return Example(
        place=_short_place(record.get("place", "")),
        text=_cut(str(record["text"]), tail=LONGEST // 3 if "references" in record else 0),
        target=_cut(_in_words(target)),
        prediction=_cut(_in_words(prediction)),
        confidence=f"{probability:.0%}" if is_number(probability) else confidence,
        loss=f"{_loss(record):.2f}",
        is_wrong=is_wrong(record),
        is_seen=bool(mapping(record.get("twin"))),
    )


def is_wrong(record: Record) -> bool | None:
    """Return whether a held-out example was predicted wrongly, None where nothing is simply right
    or wrong."""
    if "references" in record:
        scores = mapping(record.get("score"))
        return next(iter(scores.values())) != 1 if "F1" in scores else None
    target = record.get("label", "")
    return None if isinstance(target, float) else bool(target != record["prediction"])


def _loss(record: Record) -> float:
    loss = float(record["loss"])
    return math.inf if math.isnan(loss) else loss


def _short_place(place: Any) -> str:
    """A place without the folders, whose names take the room of the text."""
    return str(place) if str(place).startswith("hf://") else str(place).rpartition("/")[2]


def _in_words(value: Any) -> str:
    if isinstance(value, list):
        return " · ".join(map(str, value)) or "(none)"
    return f"{value:g}" if isinstance(value, float) else str(value) or "(nothing)"


def _cut(text: str, tail: int = 0) -> str:
    """A text of at most LONGEST characters, `tail` of them from its end."""
    text = " ".join(text.split())
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - tail]} … {text[len(text) - tail :] if tail else ''}".rstrip()
