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
from nextword.hub.heads import OutputKind, Outputs
from nextword.settings import TaskSettings
from nextword.tasks.dataset import ExampleReader
from nextword.tasks.records import Columns, Record, choose_column, columns_of
from nextword.text.columns import TEXT_COLUMNS as TEXT_NAMES

LABEL_NAMES = ("label", "labels", "class", "category", "target", "sentiment", "tag", "score", "y")
PAIRS = [  # the usual names of a first text and of its second
    *[("text_a", "text_b"), ("sentence1", "sentence2"), ("premise", "hypothesis")],
    *[("text1", "text2"), ("question1", "question2"), ("first", "second")],
    *[("question", "sentence"), ("question", "passage")],
]
FEWEST_AMOUNTS = 3  # different fractional numbers, from which on a column is of amounts
MOST_CLASSES = 1000
SEPARATORS = ("|", ";", ",")  # between several labels in one text


@dataclass(frozen=True)
class LabelledText:
    """A text or a pair of texts; `label` is as it stands in the data, None where there is none."""

    text: str
    pair: str | None
    label: Any
    place: str

    @property
    def joined(self) -> str:
        """What the model reads: of a pair, one text under the other."""
        return self.text if self.pair is None else f"{self.text}\n{self.pair}"


def encode_label(outputs: Outputs, text: LabelledText) -> int | NDArray[np.float32]:
    """Return a text's label as the loss takes it. Raises UserError for an unknown one."""
    if outputs.kind == "amount":
        return np.array([_amount(text.label, text.place)], np.float32)
    if outputs.kind == "several":
        held = np.zeros(len(outputs.names), np.float32)
        for name in names_of(text.label):
            held[_index(outputs, name, text.place)] = 1.0
        return held
    return _index(outputs, name_of(text.label), text.place)


def _index(outputs: Outputs, name: str, place: str) -> int:
    if name in outputs.names:
        return outputs.names.index(name)
    raise UserError(
        f"label {name!r} was never seen in training",
        where=place,
        mend=nearest(name, outputs.names[:20]),
    )


def find_columns(records: Sequence[Record], settings: TaskSettings, *, labelled: bool) -> Columns:
    """Return which columns hold text, second text and label: as named, or by their usual names.

    In a table of two nameless columns the longer one is the text.
    """
    names = columns_of(records)
    if names == ["1", "2"] and not (settings.text_column or settings.label_column):
        longer = max(names, key=lambda name: sum(len(str(r[name])) for r in records[:200]))
        other = "2" if longer == "1" else "1"
        return Columns({"text": longer}, [other] if labelled else [], "label_column")
    lower = {name.lower() for name in names}
    usual_pair = next((pair for pair in PAIRS if {*pair} <= lower), None)
    is_pair = settings.pair_column is not None or (
        settings.text_column is None and usual_pair is not None
    )
    firsts = TEXT_NAMES
    if is_pair:
        firsts = [usual_pair[0]] if usual_pair else [one for one, _ in PAIRS]
    inputs = {"text": choose_column(records, "text", settings.text_column, firsts, "text_column")}
    if is_pair:
        seconds = [usual_pair[1]] if usual_pair else []
        inputs["pair"] = choose_column(
            records, "second text", settings.pair_column, seconds, "pair_column"
        )
    targets = []
    if labelled:
        taken = {name.lower() for name in inputs.values()}
        usual = [name for name in LABEL_NAMES if name not in taken]
        targets = [choose_column(records, "label", settings.label_column, usual, "label_column")]
    return Columns(inputs, targets, "label_column")


class LabelledTextReader(ExampleReader[LabelledText]):
    """Reads a text or a pair of texts, and their label where one is asked for."""

    def read(self, record: Record) -> LabelledText:
        columns = self.columns
        text = _text(record, columns.inputs["text"])
        pair = _text(record, columns.inputs["pair"]) if "pair" in columns.inputs else None
        label = record[columns.targets[0]] if columns.targets else None
        if columns.targets and _is_missing(label):
            raise UserError(
                f"column {columns.targets[0]!r} is empty",
                where=record.place,
                mend="give every example a label, or remove it",
            )
        return LabelledText(text, pair, label, record.place)

    def input_of(self, example: LabelledText, record: Record) -> str:
        return example.joined


def _text(record: Record, column: str) -> str:
    value = record[column]
    if isinstance(value, str) and value.strip():
        return value
    what = "is empty" if isinstance(value, str) or value is None else "is not text"
    raise UserError(f"column {column!r} {what}", where=record.place, mend="mend or remove the row")


def kind_of(texts: Sequence[LabelledText]) -> OutputKind:
    """Tell what kind of labels texts have: classes, several at once, or amounts.

    Lists are several labels, and names joined by bars, semicolons or commas that occur in other
    company too; numbers of which at least three differ and have a fraction are amounts; all else
    are classes. Whole numbers written as 1.0 are classes too.
    """
    values = [text.label for text in texts]
    if any(_as_list(value) is not None for value in values) or _are_joined(values):
        return "several"
    return "amount" if _are_amounts(texts) else "single"


def labels_of(texts: Sequence[LabelledText], kind: OutputKind) -> Outputs:
    """Return what labels of a kind the training texts have. Raises UserError for a single class,
    or so many that they are hardly classes."""
    if kind == "amount":
        for text in texts:
            _amount(text.label, text.place)
        return Outputs("amount", ("amount",))
    counts = Counter(name for text in texts for name in label_names(text, kind))
    names = sorted(counts, key=_natural)
    if len(names) < 2 and kind == "single":
        raise UserError(
            f"all {len(texts):,} examples have the label {names[0]!r}",
            where=texts[0].place,
            mend="give examples of at least two classes",
        )
    if len(names) > MOST_CLASSES or (kind == "single" and len(names) > len(texts) / 2 > 20):
        raise UserError(
            f"{len(names):,} different labels among {len(texts):,} examples are hardly classes",
            where=texts[0].place,
            mend="name another --label-column, or say --labels amount for numbers",
        )
    return Outputs(kind, tuple(names))


def label_names(text: LabelledText, kind: OutputKind) -> list[str]:
    """Return the names of a text's labels; none for an amount."""
    if kind == "amount":
        return []
    return names_of(text.label) if kind == "several" else [name_of(text.label)]


def name_of(value: Any) -> str:
    """Return a class's name: 1, 1.0 and "1" are the same one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    whole = text.removesuffix(".0")
    return whole if whole != text and whole.lstrip("-").isdigit() else text


def names_of(value: Any) -> list[str]:
    """Return the names of several labels: of a list, or of text with commas, semicolons or bars."""
    items = _as_list(value)
    if items is None:
        text = name_of(value)
        items = text.split(next((mark for mark in SEPARATORS if mark in text), "\0"))
    return [name for item in items if (name := name_of(item))]


def _as_list(value: Any) -> list[Any] | None:
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


def _are_joined(values: Sequence[Any]) -> bool:
    """Whether the values are names joined by marks: each part of one that has a mark is in another
    value too, and there are fewer different parts than different values."""
    whole = {name_of(value) for value in values if isinstance(value, str)}
    occurs = Counter(part for value in whole for part in set(names_of(value)))
    joined = [value for value in whole if len(names_of(value)) > 1]
    shared = all(occurs[part] > 1 for value in joined for part in names_of(value))
    return bool(joined) and shared and len(occurs) < len(whole)


def _natural(name: str) -> tuple[int, float, str]:
    """Numbers by their size, before words by the alphabet."""
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)


def _are_amounts(texts: Sequence[LabelledText]) -> bool:
    """Raises UserError where most are fractional numbers, and some are none."""
    numbers, others = [], []
    for text in texts:
        try:
            if isinstance(text.label, bool):
                raise ValueError
            numbers.append(float(text.label))
        except (TypeError, ValueError):
            others.append(text)
    fractional = len({number for number in numbers if not number.is_integer()})
    if fractional < FEWEST_AMOUNTS or (others and len(numbers) < len(texts) / 2):
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
