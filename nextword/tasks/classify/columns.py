"""Which columns of a table hold text, second text and label: by their names, else by what is in
them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.classify.labels import FLAGS, list_or_none, name_of
from nextword.tasks.records import Columns, Record, choose_column, columns_of
from nextword.text.cells import is_empty
from nextword.text.columns import DESCRIBING_COLUMNS
from nextword.text.columns import TEXT_COLUMNS as TEXT_NAMES
from nextword.text.document import ReadStats
from nextword.text.readers.csv_rows import CsvRows
from nextword.text.sources import find_sources

_USUAL = ("label", "labels", "class", "category", "target", "sentiment", "tag", "score", "y")
LABEL_NAMES = (*_USUAL, "gold_label", "cats")
PAIRS = [  # the usual names of a first text and of its second
    *[("text_a", "text_b"), ("sentence1", "sentence2"), ("premise", "hypothesis")],
    *[("text1", "text2"), ("question1", "question2"), ("first", "second")],
    *[("question", "sentence"), ("question", "passage"), ("#1 string", "#2 string")],
]
NUMBERED = {"idx", "index"}  # columns of GLUE's data sets, in which -1 is a label not known

_MOST = 2000  # records that are looked at
_FILLED = 0.9  # share of the records in which a text or label stands
_LONGER = 3  # times as long as the next longest: then a column is the text
_LABEL_LENGTH = 40  # characters of a label at most, on average
_SHOWN = 3  # values of a column
_IDENTIFIER = re.compile(r"[\w#@.:/-]*[\d/][\w#@.:/-]*")  # one word with a digit: a number, a hash


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
    def by_name() -> str:
        return choose_column(records, "text", settings.text_column, TEXT_NAMES, "text_column")

    usual = _usual(columns_of(records), TEXT_NAMES)
    is_describing = usual is not None and usual.strip().lower() in DESCRIBING_COLUMNS
    if settings.text_column is not None or (usual and not is_describing):
        return by_name()
    texts = [column for column in _describe(records, taken) if column.may_be_text]
    texts.sort(key=lambda column: -column.length)
    if usual and (not texts or texts[0].name == usual):
        return usual
    if len(texts) > 1 and texts[0].length < _LONGER * texts[1].length:
        raise _unclear(
            "text", texts[:2], records, "--text-column; of a pair the other one with --pair-column"
        )
    return texts[0].name if texts else by_name()


def _find_label(
    records: Sequence[Record], settings: TaskSettings, usual: Sequence[str], taken: Sequence[str]
) -> str:
    def by_name() -> str:
        return choose_column(records, "label", settings.label_column, usual, "label_column")

    if settings.label_column is not None or _usual(columns_of(records), usual):
        return by_name()
    labels = [column for column in _describe(records, taken) if column.may_be_label]
    if len(labels) > 1:
        flags = "--label-column"
        if all(map(_is_flag, labels)):
            flags += "; for all of them at once write the names of those that are 1 into one column"
        raise _unclear("label", labels, records, flags)
    return labels[0].name if labels else by_name()


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
