"""Which columns of a table hold text and label where their names do not say, by what is in
them; and what separates them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.tasks.classify.labels import FLAGS, list_or_none, name_of
from nextword.tasks.records import Record, columns_of
from nextword.text.columns import is_empty
from nextword.text.document import ReadStats
from nextword.text.readers.csv_rows import CsvRows
from nextword.text.sources import find_sources

_MOST = 2000  # records that are looked at
_FILLED = 0.9  # share of the records in which a text or label stands
_LONGER = 3  # times as long as the next longest: then a column is the text
_LABEL_LENGTH = 40  # characters of a label at most, on average
_SHOWN = 3  # values of a column
_IDENTIFIER = re.compile(r"[\w#@.:/-]*[\d/][\w#@.:/-]*")  # one word with a digit: a number, a hash


def text_by_values(
    records: Sequence[Record], taken: Collection[str], usual: str | None
) -> str | None:
    """Return the column that reads like the text, None if none does; `usual` is one whose name
    says so too, though less clearly. Raises UserError where it may be one of several."""
    texts = [column for column in _describe(records, taken) if column.may_be_text]
    texts.sort(key=lambda column: -column.length)
    if usual and (not texts or texts[0].name == usual):
        return usual
    if len(texts) > 1 and texts[0].length < _LONGER * texts[1].length:
        raise _unclear(
            "text", texts[:2], records, "--text-column; of a pair the other one with --pair-column"
        )
    return texts[0].name if texts else None


def label_by_values(records: Sequence[Record], taken: Collection[str]) -> str | None:
    """Return the column that reads like labels, None if none does. Raises UserError where it may be
    one of several."""
    labels = [column for column in _describe(records, taken) if column.may_be_label]
    if len(labels) > 1:
        flags = "--label-column"
        if all(map(_is_flag, labels)):
            flags += "; for all of them at once write the names of those that are 1 into one column"
        raise _unclear("label", labels, records, flags)
    return labels[0].name if labels else None


@dataclass(frozen=True)
class _Column:
    """What is in a column: the mean `length` of its values, and some of them."""

    name: str
    length: float
    values: list[str]
    may_be_text: bool
    may_be_label: bool

    def __str__(self) -> str:
        shown = ", ".join(value[:30] for value in self.values[:_SHOWN])
        more = ", …" if len(self.values) > _SHOWN else ""
        return f"{self.name!r} ({shown}{more})"


def _describe(records: Sequence[Record], taken: Collection[str]) -> list[_Column]:
    """Return what is in the columns that are not taken."""
    some = records[:: max(1, len(records) // _MOST)]
    columns = []
    for name in columns_of(records):
        values = [record[name] for record in some]
        given = [value for value in values if not is_empty(value)]
        if name not in taken and len(given) >= _FILLED * len(some):
            columns.append(_column(name, given))
    return columns


def _column(name: str, values: list[Any]) -> _Column:
    are_lists = any(list_or_none(value) is not None for value in values)
    texts = list(map(name_of, values))
    different = list(dict.fromkeys(texts))
    few = len(different) <= max(2, len(texts) // 5)
    length = sum(map(len, texts)) / len(texts)
    are_words = all(isinstance(value, str) for value in values)
    are_ids = len(different) > len(texts) / 2 and all(map(_IDENTIFIER.fullmatch, different))
    fractions = are_ids and all(re.fullmatch(r"[+-]?\d+[.,]\d+", text) for text in texts)
    return _Column(
        name,
        length,
        different,
        may_be_text=are_words and not are_ids and not are_lists and not few,
        may_be_label=are_lists
        or fractions
        or (few and len(different) > 1 and length <= _LABEL_LENGTH),
    )


def _is_flag(column: _Column) -> bool:
    """Return whether a column says 0 or 1, false or true."""
    return {value.lower() for value in column.values} <= FLAGS


def _unclear(
    role: str, columns: Sequence[_Column], records: Sequence[Record], flags: str
) -> UserError:
    return UserError(
        f"no column is clearly the {role}: it may be {' or '.join(map(str, columns))}",
        where=records[0].place,
        mend=f"name it with {flags}",
    )


def separator_of(records: Sequence[Record]) -> str:
    """Return what separates the columns in the csv file that records are from, "" if it is unknown
    or they are from another kind of file."""
    path = records[0].place.rpartition(":")[0]
    if not Path(path).is_file():
        return ""
    try:
        (source,) = find_sources([path])
        if source.kind != "csv":
            return ""
        return CsvRows(source, ReadStats()).delimiter
    except (UserError, ValueError):
        return ""
