"""Labelled records read into examples, once, cell by cell; and examples in tokens.

Every record becomes an example, or is left out or refused for a reason that is counted; every
column and key that is there is used, or named as unused.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.evaluation.bootstrap import Resampler
from nextword.evaluation.contamination import normalize
from nextword.evaluation.metrics import Ints
from nextword.tasks.records import Columns, Record
from nextword.terminal import count_of
from nextword.text.cells import read_value
from nextword.text.columns import holds, is_empty, printed_as
from nextword.text.duplicates import text_digest

E = TypeVar("E")  # an example of a data set
I = TypeVar("I")  # noqa: E741  # an encoded item that the loader numbers


class LeftOut(Exception):
    """Raised, with the reason, for a record that is no example on purpose: its label is unknown."""


@dataclass
class ReadReport:
    """What became of a data set's records: `records` = examples + left out + unreadable.

    `left_out` and `unreadable` say why, by the records' indices. `unused` counts the records in
    which a column or key holds something that is not read; `notes` count what people should know of
    what was read.
    """

    records: int = 0
    left_out: dict[int, UserError] = field(default_factory=dict)
    unreadable: dict[int, UserError] = field(default_factory=dict)
    unused: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def left_out_lines(self) -> list[str]:
        """Return how many records were left out, a line for each reason."""
        reasons = Counter(error.what for error in self.left_out.values())
        return [
            f"{count:,} of {count_of(self.records, 'record')} left out: {reason}"
            for reason, count in reasons.items()
        ]


class ExampleReader(ABC, Generic[E]):
    """Reads the records of one data set by the `columns` that were found in it.

    What is not a column of its own is counted by the reader: keys that are not read in
    `report.unused`, and what was mended or assumed in `report.notes`.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.report = ReadReport()

    @abstractmethod
    def read(self, record: Record) -> E:
        """Return a record's example.

        Raises UserError, with the place, for what is missing or not understood, and LeftOut for
        what is no example on purpose.
        """

    @abstractmethod
    def input_of(self, example: E, record: Record) -> str:
        """Return what the model is given, as text."""

    def shared_input_of(self, example: E, record: Record) -> str:
        """Return the part of the input that keeps examples together when data is split."""
        return self.input_of(example, record)

    def read_all(self, records: Sequence[Record], *, keep_going: bool = False) -> Dataset[E]:
        """Read records. Without `keep_going` the first that cannot be read raises its UserError;
        with it they are kept in the report, as those left out on purpose always are."""
        report = self.report
        is_judged = "answer" not in self.columns.used and are_judged(records)
        used = self.columns.used | ({"answer"} if is_judged else set())
        examples, read, inputs, shared = list[E](), list[Record](), list[str](), list[str]()
        for index, record in enumerate(records):
            report.records += 1
            report.unused.update(unused_columns(record.values, used))
            try:
                if record.error is not None:
                    raise record.error
                if is_judged and record["answer"] in ("reject", "ignore"):
                    raise LeftOut(f"to which the annotator's answer was {record['answer']!r}")
                example = self.read(record)
            except UserError as error:
                if not keep_going:
                    raise
                report.unreadable[index] = error
                continue
            except LeftOut as reason:
                report.left_out[index] = UserError(str(reason), where=record.place)
                continue
            examples.append(example)
            read.append(record)
            inputs.append(self.input_of(example, record))
            shared.append(self.shared_input_of(example, record))
        if report.left_out and not examples and not keep_going:
            first = next(iter(report.left_out.values()))
            raise UserError(f"holds no example: all are records {first.what}", where=first.where)
        return Dataset(examples, read, self.columns, inputs, shared, report)


def are_judged(records: Sequence[Record]) -> bool:
    """Return whether records say of their annotation whether it is right, as Prodigy's do."""
    answers = {str(record["answer"]) for record in records if record.error is None}
    return bool(answers) and answers <= {"accept", "reject", "ignore"}


def unused_columns(values: Mapping[str, Any], used: set[str]) -> Iterator[str]:
    """Yield the columns of a record that hold something and are not used; of a nested record of
    which a part is used ("translation.en"), the other parts."""
    parents = {name.partition(".")[0] for name in used if "." in name}
    for name, value in values.items():
        if name in used or not holds(value):
            continue
        if name in parents and isinstance(value, Mapping):
            yield from (
                f"{name}.{part}"
                for part, inner in value.items()
                if f"{name}.{part}" not in used and holds(inner)
            )
        else:
            yield str(name)


@dataclass(frozen=True)
class Dataset(Generic[E]):
    """Labelled records, read once.

    Lists are [examples]: `inputs` is what the model is given, as text; `shared_inputs` the part of
    it that keeps examples together when data is split: a question's text.
    """

    examples: list[E]
    records: list[Record]
    columns: Columns
    inputs: list[str]
    shared_inputs: list[str]
    report: ReadReport = field(default_factory=ReadReport)

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def places(self) -> list[str]:
        return [record.place for record in self.records]

    def select(self, indices: Sequence[int] | Ints) -> Self:
        """Return the data set of some of the examples."""

        def pick(values: list[Any]) -> list[Any]:
            return [values[index] for index in indices]

        return replace(
            self,
            examples=pick(self.examples),
            records=pick(self.records),
            inputs=pick(self.inputs),
            shared_inputs=pick(self.shared_inputs),
        )


@dataclass(frozen=True)
class Encoded(Generic[I]):
    """A data set in tokens: `items` are what the loader numbers, [items], with their `lengths` in
    tokens and the `sources` they come from; the loss is a sum over `targets`. `notes` say what
    people should know of the data."""

    items: list[I]
    lengths: list[int]
    sources: list[str]
    targets: int
    notes: list[str] = field(default_factory=list)


def text_of(value: Any, column: str, place: str) -> str:
    """Return a cell's text without spaces around it, "" for none. Raises UserError for no text."""
    if is_empty(value):
        return ""
    if isinstance(value, str):
        if printed_as(value) == "bytes":
            raise printed_error(column, "bytes", place)
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UserError(f"column {column!r} is not text", where=place, mend="mend or remove the row")


def value_in(record: Record, column: str) -> Any:
    """Return a cell's value; of text in a table the list or object that it is. Raises UserError
    where it looks like one and cannot be read."""
    return read_value(record[column], record.place, f"column {column!r} ")


def input_text(record: Record, column: str, *, may_be_empty: bool = False) -> str:
    """Return the text of a column. Raises UserError where there is none."""
    text = text_of(record[column], column, record.place)
    if not text and not may_be_empty:
        raise UserError(
            f"column {column!r} is {emptiness(record[column])}",
            where=record.place,
            mend="mend or remove the row",
        )
    return text


def printed_error(column: str, what: str, place: str) -> UserError:
    """Return what is wrong with a cell that holds what Python prints of a value."""
    return UserError(
        f"column {column!r} holds {what} as text", where=place, mend="write it as one text"
    )


def emptiness(value: Any) -> str:
    """Return the word for a cell that holds nothing."""
    text = value.strip() if isinstance(value, str) else ""
    return f"empty: it holds {text!r}, as programs write for no value" if text else "empty"


def leading_spaces(record: Record, column: str) -> int:
    """Count the characters of space before the text of a column, which is read without them."""
    text = str(record[column])
    return len(text) - len(text.lstrip())


def groups_of(dataset: Dataset[Any]) -> NDArray[np.int64]:
    """Return a number for each example, [examples], the same for those that share their input."""
    digests = [text_digest(normalize(text)) for text in dataset.shared_inputs]
    _, groups = np.unique(digests, return_inverse=True)
    return groups.astype(np.int64)


def resampler_of(dataset: Dataset[Any], seed: int) -> Resampler:
    """Return how examples are drawn for intervals: those with the same input together, and all
    questions about one text."""
    groups = groups_of(dataset)
    repeated = len(np.unique(groups)) < len(groups)
    return Resampler(seed, groups if repeated else None)


def fingerprint(records: Sequence[Record]) -> str:
    """Return a digest of the records' values, which tells whether data is still the same."""
    total = hashlib.sha256()
    for record in records:
        values = json.dumps(dict(record.values), default=str, ensure_ascii=False)
        total.update(values.encode("utf-8", "surrogatepass") + b"\0")
    return total.hexdigest()
