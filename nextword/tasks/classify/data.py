"""Texts with labels: one of several classes, several at once, or an amount."""

from __future__ import annotations

import ast
import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError, nearest
from nextword.hub.labels import Kind, Outputs
from nextword.settings import TaskSettings
from nextword.tasks.records import Record, choose_column, columns_of
from nextword.text.columns import NAMES as TEXT_NAMES

LABEL_NAMES = ("label", "labels", "class", "category", "target", "sentiment", "tag", "score", "y")
PAIRS = [  # the usual names of a first text and of its second
    *[("text_a", "text_b"), ("sentence1", "sentence2"), ("premise", "hypothesis")],
    *[("text1", "text2"), ("question1", "question2"), ("first", "second")],
    *[("question", "sentence"), ("question", "passage")],
]
FEWEST_AMOUNTS = 3  # different fractional numbers, from which on a column is of amounts
MOST_CLASSES = 1000
MARKS = ("|", ";", ",")  # between several labels in one text


@dataclass(frozen=True)
class Columns:
    text: str
    label: str | None  # None where there is nothing to compare with
    pair: str | None = None


class Labels(Outputs):
    """What the head's outputs mean: `names` [outputs]; an amount has one, "amount"."""

    def encode(self, value: Any, place: str) -> int | NDArray[np.float32]:
        """A record's label as the loss takes it. Raises UserError for one that is not known."""
        if self.kind == "amount":
            return np.array([_amount(value, place)], np.float32)
        if self.kind == "several":
            held = np.zeros(len(self.names), np.float32)
            for name in names_of(value):
                held[self._index(name, place)] = 1.0
            return held
        return self._index(name_of(value), place)

    def _index(self, name: str, place: str) -> int:
        if name in self.names:
            return self.names.index(name)
        raise UserError(
            f"label {name!r} was never seen in training",
            where=place,
            mend=nearest(name, self.names[:20]),
        )


@dataclass(frozen=True)
class LabelledText:
    text: str
    pair: str | None
    label: Any  # as it stands in the data; None where there is none
    place: str

    @property
    def joined(self) -> str:
        """What the model reads: of a pair, one text under the other."""
        return self.text if self.pair is None else f"{self.text}\n{self.pair}"


def find_columns(found: Sequence[Record], settings: TaskSettings, *, labelled: bool) -> Columns:
    """Which columns hold text, second text and label: as named, or by their usual names.

    In a table of two nameless columns the longer one is the text.
    """
    known = columns_of(found)
    if known == ["1", "2"] and not (settings.text_column or settings.label_column):
        longer = max(known, key=lambda name: sum(len(str(r[name])) for r in found[:200]))
        return Columns(longer, ("2" if longer == "1" else "1") if labelled else None)
    lower = {name.lower() for name in known}
    usual_pair = next((pair for pair in PAIRS if {*pair} <= lower), None)
    is_pair = settings.pair_column is not None or (
        settings.text_column is None and usual_pair is not None
    )
    firsts = TEXT_NAMES
    if is_pair:
        firsts = [usual_pair[0]] if usual_pair else [one for one, _ in PAIRS]
    text = choose_column(found, "text", settings.text_column, firsts, "--text-column")
    pair = None
    if is_pair:
        seconds = [usual_pair[1]] if usual_pair else []
        pair = choose_column(found, "second text", settings.pair_column, seconds, "--pair-column")
    label = None
    if labelled:
        usual = [name for name in LABEL_NAMES if name not in (text.lower(), (pair or "").lower())]
        label = choose_column(found, "label", settings.label_column, usual, "--label-column")
    return Columns(text, label, pair)


def labelled_texts(found: Sequence[Record], columns: Columns) -> list[LabelledText]:
    """The examples of some records. Raises UserError for a text or label that is missing."""
    examples = []
    for record in found:
        text = _text(record, columns.text)
        pair = None if columns.pair is None else _text(record, columns.pair)
        label = record[columns.label] if columns.label is not None else None
        if columns.label is not None and _is_missing(label):
            raise UserError(
                f"column {columns.label!r} is empty",
                where=record.place,
                mend="give every example a label, or remove it",
            )
        examples.append(LabelledText(text, pair, label, record.place))
    return examples


def _text(record: Record, column: str) -> str:
    value = record[column]
    if isinstance(value, str) and value.strip():
        return value
    what = "is empty" if isinstance(value, str) or value is None else "is not text"
    raise UserError(f"column {column!r} {what}", where=record.place, mend="mend or remove the row")


def labels_of(examples: Sequence[LabelledText], kind: Kind | None) -> Labels:
    """What the labels of the training examples are: classes, several at once, or amounts.

    Lists are several labels, and names joined by bars, semicolons or commas that occur in other
    company too; numbers of which at least three differ and have a fraction are amounts; all else
    are classes. Whole numbers written as 1.0 are classes too. Raises UserError where there is only
    one class.
    """
    values = [example.label for example in examples]
    if kind is None:
        if any(_listed(value) is not None for value in values) or _are_parted(values):
            kind = "several"
        else:
            kind = "amount" if _are_amounts(examples) else "single"
    if kind == "amount":
        for example in examples:
            _amount(example.label, example.place)
        return Labels("amount", ("amount",))
    counts: Counter[str] = Counter()
    for value in values:
        counts.update(names_of(value) if kind == "several" else [name_of(value)])
    names = sorted(counts, key=_natural)
    if len(names) < 2 and kind == "single":
        raise UserError(
            f"all {len(values):,} examples have the label {names[0]!r}",
            where=examples[0].place,
            mend="give examples of at least two classes",
        )
    if len(names) > MOST_CLASSES or (kind == "single" and len(names) > len(values) / 2 > 20):
        raise UserError(
            f"{len(names):,} different labels among {len(values):,} examples are hardly classes",
            where=examples[0].place,
            mend="name another --label-column, or say --labels amount for numbers",
        )
    return Labels(kind, tuple(names))


def name_of(value: Any) -> str:
    """A class's name: 1, 1.0 and "1" are the same one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    whole = text.removesuffix(".0")
    return whole if whole != text and whole.lstrip("-").isdigit() else text


def names_of(value: Any) -> list[str]:
    """Several labels: a list, or text that parts them by commas, semicolons or bars."""
    listed = _listed(value)
    if listed is None:
        text = name_of(value)
        listed = text.split(next((mark for mark in MARKS if mark in text), "\0"))
    return [name for item in listed if (name := name_of(item))]


def _listed(value: Any) -> list[Any] | None:
    """A list, or one that a table has as text: `['a', 'b']`."""
    if isinstance(value, list) or not isinstance(value, str):
        return value if isinstance(value, list) else None
    text = value.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        read = ast.literal_eval(text)
        return read if isinstance(read, list) else None
    return None


def _are_parted(values: Sequence[Any]) -> bool:
    """Whether the values are names joined by marks: each part of one that has a mark is in another
    value too, and there are fewer parts than values that differ."""
    whole = {name_of(value) for value in values if isinstance(value, str)}
    occurs = Counter(part for value in whole for part in set(names_of(value)))
    parted = [value for value in whole if len(names_of(value)) > 1]
    shared = all(occurs[part] > 1 for value in parted for part in names_of(value))
    return bool(parted) and shared and len(occurs) < len(whole)


def _natural(name: str) -> tuple[int, float, str]:
    """Numbers by their size, before words by the alphabet."""
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)


def _are_amounts(examples: Sequence[LabelledText]) -> bool:
    """Raises UserError where most are fractional numbers, and some are none."""
    found, others = [], []
    for example in examples:
        try:
            if isinstance(example.label, bool):
                raise ValueError
            found.append(float(example.label))
        except (TypeError, ValueError):
            others.append(example)
    fractional = len({number for number in found if not number.is_integer()})
    if fractional < FEWEST_AMOUNTS or (others and len(found) < len(examples) / 2):
        return False
    if others:
        raise UserError(
            f"label {others[0].label!r} is not a number, as most of the others are",
            where=others[0].place,
            mend="mend or remove the row, or say --labels single if they are names",
        )
    return True


def _amount(value: Any, place: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UserError(f"label {value!r} is not a number", where=place) from None
    if not np.isfinite(number):
        raise UserError(f"label {value!r} is not a finite number", where=place)
    return number


def _is_missing(value: Any) -> bool:
    blank = isinstance(value, str) and not value.strip()
    return value is None or blank or (isinstance(value, float) and value != value)
