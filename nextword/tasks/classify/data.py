"""Texts with labels, one of several classes, several at once, or an amount: which columns hold
them, and what is read of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError, nearest
from nextword.hub.heads import OutputKind, Outputs
from nextword.settings import TaskSettings
from nextword.tasks.classify.columns import label_by_values, separator_of, text_by_values
from nextword.tasks.classify.formats import LabelFormat, find_format, notes_of
from nextword.tasks.classify.labels import Label
from nextword.tasks.dataset import ExampleReader, emptiness, printed_error
from nextword.tasks.records import Columns, Record, choose_column, columns_of, has_any
from nextword.text.columns import DESCRIBING_COLUMNS, is_empty, printed_as
from nextword.text.columns import TEXT_COLUMNS as TEXT_NAMES

_USUAL = ("label", "labels", "class", "category", "target", "sentiment", "tag", "score", "y")
LABEL_NAMES = (*_USUAL, "gold_label", "cats")
PAIRS = [  # the usual names of a first text and of its second
    *[("text_a", "text_b"), ("sentence1", "sentence2"), ("premise", "hypothesis")],
    *[("text1", "text2"), ("question1", "question2"), ("first", "second")],
    *[("question", "sentence"), ("question", "passage"), ("#1 string", "#2 string")],
]
NUMBERED = {"idx", "index"}  # columns of GLUE's data sets, in which -1 is a label not known
MOST_CLASSES = 1000
LARGE_AMOUNT = 30.0
MOST_OF_THE_DATA = 0.8


def find_columns(records: Sequence[Record], settings: TaskSettings, *, labelled: bool) -> Columns:
    """Return which columns hold text, second text and label: as named, or by their usual names, or
    by their values.

    Raises UserError that lists the columns where it is not clear which is meant.
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
    label = _usual(names, LABEL_NAMES) if settings.label_column is None else settings.label_column
    inputs = {}
    if is_pair:
        firsts = [usual_pair[0]] if usual_pair else [one for one, _ in PAIRS]
        seconds = [usual_pair[1]] if usual_pair else []
        inputs["text"] = choose_column(records, "text", settings.text_column, firsts, "text_column")
        inputs["pair"] = choose_column(
            records, "second text", settings.pair_column, seconds, "pair_column"
        )
    else:
        inputs["text"] = _find_text(records, settings, () if label is None else (label,))
    targets = []
    if labelled:
        taken = {name.lower() for name in inputs.values()}
        usual = [name for name in LABEL_NAMES if name not in taken]
        targets = [_find_label(records, settings, usual, list(inputs.values()))]
    return Columns(inputs, targets, "label_column")


def _usual(names: Iterable[str], usual: Sequence[str]) -> str | None:
    """Return the first column with a usual name, None for none."""
    by_lower = {name.strip().lower(): name for name in reversed(list(names))}
    return next((by_lower[name] for name in usual if name in by_lower), None)


def _find_text(records: Sequence[Record], settings: TaskSettings, taken: Collection[str]) -> str:
    usual = _usual(columns_of(records), TEXT_NAMES)
    is_describing = usual is not None and usual.strip().lower() in DESCRIBING_COLUMNS
    if settings.text_column is None and (usual is None or is_describing):
        found = text_by_values(records, taken, usual)
        if found is not None:
            return found
    return choose_column(records, "text", settings.text_column, TEXT_NAMES, "text_column")


def _find_label(
    records: Sequence[Record], settings: TaskSettings, usual: Sequence[str], taken: Sequence[str]
) -> str:
    if settings.label_column is None and _usual(columns_of(records), usual) is None:
        found = label_by_values(records, taken)
        if found is not None:
            return found
    return choose_column(records, "label", settings.label_column, usual, "label_column")


@dataclass(frozen=True)
class LabelledText:
    """A text or a pair of texts; `label` is a class, a list of classes or an amount, None where
    there is none."""

    text: str
    pair: str | None
    label: Label | None
    place: str

    @property
    def joined(self) -> str:
        """What the model reads: of a pair, one text under the other."""
        return self.text if self.pair is None else f"{self.text}\n{self.pair}"

    @property
    def names(self) -> list[str]:
        """The names of its classes; none for an amount."""
        if isinstance(self.label, list):
            return self.label
        return [self.label] if isinstance(self.label, str) else []


class LabelledTextReader(ExampleReader[LabelledText]):
    """Reads a text or a pair of texts, and their label where one is asked for."""

    def __init__(self, columns: Columns, format_: LabelFormat | None = None) -> None:
        super().__init__(columns)
        self.format = format_

    def read(self, record: Record) -> LabelledText:
        columns = self.columns
        text = _text(record, columns.inputs["text"])
        pair = _text(record, columns.inputs["pair"]) if "pair" in columns.inputs else None
        label = None
        if self.format is not None:
            value = record[columns.targets[0]]
            if is_empty(value):
                raise UserError(
                    f"column {columns.targets[0]!r} is {emptiness(value)}",
                    where=record.place,
                    mend="give every example a label, or remove it",
                )
            label = self.format.read(value, record.place)
        return LabelledText(text, pair, label, record.place)

    def input_of(self, example: LabelledText, record: Record) -> str:
        return example.joined


def label_reader(
    records: Sequence[Record],
    columns: Columns,
    kind: OutputKind | None,
    classes: Sequence[str] = (),
) -> LabelledTextReader:
    """Return what reads records with these columns; without targets, texts alone. `kind` and
    `classes` are what is known of labels. Raises UserError where labels can be read in two ways."""
    if not columns.targets:
        return LabelledTextReader(columns)
    labels = [(record[columns.targets[0]], record.place) for record in records if not record.error]
    format_ = find_format(
        labels,
        kind,
        lambda: separator_of(records),
        classes,
        marks_unknown="pair" in columns.inputs or has_any(records, NUMBERED),
    )
    reader = LabelledTextReader(columns, format_)
    reader.report.notes.update(notes_of(format_, labels))
    return reader


def _text(record: Record, column: str) -> str:
    value = record[column]
    if isinstance(value, str) and not is_empty(value):
        if printed := printed_as(value):
            raise printed_error(column, printed, record.place)
        return value
    what = f"is {emptiness(value)}" if isinstance(value, str) or value is None else "is not text"
    raise UserError(f"column {column!r} {what}", where=record.place, mend="mend or remove the row")


def kind_of(texts: Sequence[LabelledText]) -> OutputKind:
    """Return what kind of labels texts have: classes, several at once, or amounts."""
    first = texts[0].label if texts else ""
    return (
        "several" if isinstance(first, list) else "single" if isinstance(first, str) else "amount"
    )


def labels_of(texts: Sequence[LabelledText]) -> Outputs:
    """Return what labels the training texts have. Raises UserError for a single class, or so many
    that they are hardly classes."""
    kind = kind_of(texts)
    if kind == "amount":
        return Outputs("amount", ("amount",))
    counts = Counter(name for text in texts for name in text.names)
    names = sorted(counts, key=_natural)
    if len(names) < 2 and kind == "single":
        having = f"all {len(texts):,} examples have" if len(texts) > 1 else "the only example has"
        raise UserError(
            f"{having} the label {names[0]!r}",
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


def encode_label(outputs: Outputs, text: LabelledText) -> int | NDArray[np.float32]:
    """Return a text's label as the loss takes it. Raises UserError for an unknown one."""
    if isinstance(text.label, float):
        return np.array([text.label], np.float32)
    if outputs.kind == "several":
        held = np.zeros(len(outputs.names), np.float32)
        for name in text.names:
            held[_index(outputs, name, text.place)] = 1.0
        return held
    return _index(outputs, text.names[0], text.place)


def _index(outputs: Outputs, name: str, place: str) -> int:
    if name in outputs.names:
        return outputs.names.index(name)
    raise UserError(
        f"label {name!r} was never seen in training",
        where=place,
        mend=nearest(name, outputs.names[:20]),
    )


def _natural(name: str) -> tuple[int, float, str]:
    """Numbers by their size, before words by the alphabet."""
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)


def describe_targets(targets: Sequence[Any], labels: Outputs) -> list[str]:
    """Say how often each class occurs, and what to do if one of them hides the others."""
    if labels.kind == "amount":
        amounts = np.stack(targets)[:, 0]
        notes = [
            f"amounts from {amounts.min():g} to {amounts.max():g}, {amounts.mean():g} on average"
        ]
        if np.abs(amounts).max() > LARGE_AMOUNT:
            notes.append("amounts this large are learned slowly: divide them, by 100 say")
        return notes
    if labels.kind == "several":
        shares = np.stack(targets).mean(0)
        most = [f"{labels.names[i]} {shares[i]:.0%}" for i in np.argsort(-shares)[:8]]
        return [f"{len(labels.names)} labels, several at once: {', '.join(most)}"]
    counts = np.bincount(np.array(targets), minlength=len(labels.names))
    most = [f"{labels.names[i]} {counts[i] / len(targets):.0%}" for i in np.argsort(-counts)[:8]]
    notes = [f"{len(labels.names)} classes: {', '.join(most)}"]
    if counts.max() > MOST_OF_THE_DATA * len(targets):
        notes.append(
            "one class is most of the data: look at macro F1, and try --class-weights balanced"
        )
    return notes


def balanced_weights(targets: Sequence[Any], labels: Outputs) -> NDArray[np.float32]:
    """Return weights [classes] with which every class counts as much as any other. Raises UserError
    for other labels than one class an example."""
    if labels.kind != "single":
        raise UserError("--class-weights balanced is for one class an example")
    counts = np.bincount(np.array(targets), minlength=len(labels.names))
    return (len(targets) / (len(counts) * np.maximum(counts, 1))).astype(np.float32)
