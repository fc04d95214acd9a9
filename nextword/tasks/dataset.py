"""Labelled records read into examples, once; and examples in tokens.

Every record becomes an example, or is left out or refused for a reason that is counted; every
column and key that is there is used, or named as unused.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar

from nextword.errors import UserError
from nextword.evaluation.metrics import Ints
from nextword.tasks.columns import Columns
from nextword.tasks.records import Record
from nextword.terminal import count_of

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
        if name in used or value is None or value == "" or value == []:
            continue
        if name in parents and isinstance(value, Mapping):
            yield from (
                f"{name}.{part}"
                for part, inner in value.items()
                if f"{name}.{part}" not in used and inner not in (None, "", [])
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
