"""Which columns of labelled records hold what, for every task alike; and what their cells say."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nextword.errors import UserError, nearest
from nextword.settings import TaskSettings
from nextword.tasks.records import Record
from nextword.text.cells import is_empty, printed_as

SAMPLE = 50  # of the first records, that tell which columns there are
SETTINGS = ("text_column", "pair_column", "label_column", "target_column", "question_column")
OF_ROLE = {"pair": "pair_column", "question": "question_column"}  # the other inputs: text_column

S = TypeVar("S", bound=TaskSettings)


@dataclass(frozen=True)
class Columns:
    """`inputs` says which column plays which role ("context", "question", "source" ...); `targets`
    are the columns of what is to be predicted: several where there are several references, none
    where the right answers are not asked for. `target_setting` is the setting that names them;
    `extras` are columns that are read besides: a system message, where an answer begins."""

    inputs: Mapping[str, str] = field(default_factory=dict)
    targets: Sequence[str] = ()
    target_setting: str = "target_column"
    extras: Sequence[str] = ()

    @property
    def used(self) -> set[str]:
        """The names of all columns that are read."""
        return {*self.inputs.values(), *self.targets, *self.extras}

    @property
    def settings(self) -> dict[str, str]:
        """The columns under the names of the settings that choose them."""
        named = {OF_ROLE.get(role, "text_column"): name for role, name in self.inputs.items()}
        return named | ({self.target_setting: self.targets[0]} if len(self.targets) == 1 else {})


def columns_of(records: Sequence[Record]) -> list[str]:
    """Return the names of all columns that some of the first records have, in order."""
    return list(dict.fromkeys(str(name) for record in records[:SAMPLE] for name in record.values))


def has_column(records: Sequence[Record], name: str) -> bool:
    """Whether there is such a column, perhaps inside another one: `translation.en`."""
    return name in columns_of(records) or any(record[name] is not None for record in records[:50])


def has_any(records: Sequence[Record], usual: Iterable[str]) -> bool:
    """Whether some column has one of the usual names."""
    return bool({name.lower() for name in columns_of(records)} & set(usual))


def choose_column(
    records: Sequence[Record], role: str, named: str | None, usual: Iterable[str], setting: str
) -> str:
    """Return the column that plays a role: the named one, else the first with a usual name for it.

    Raises UserError that lists the columns there are.
    """
    names = columns_of(records)
    if named is not None:
        if has_column(records, named):
            return named
        raise UserError(
            f"has no column {named!r}", where=records[0].place, mend=nearest(named, names)
        )
    by_lower = {name.strip().lower(): name for name in reversed(names)}
    for name in usual:
        if name in by_lower:
            return by_lower[name]
    flag = "--" + setting.replace("_", "-")
    within = _list_within(records)
    if within is not None:
        raise UserError(
            f"is one record, which holds a list of records, {within!r}",
            where=records[0].place,
            mend=f"write what stands in {within!r} as the whole file, or one record a line",
        )
    raise UserError(
        f"no column is clearly the {role} (columns: {', '.join(names) or 'none'})",
        where=records[0].place,
        mend=f"name it with {flag}",
    )


def _list_within(records: Sequence[Record]) -> str | None:
    """Return the key of a list of records that the only record is wrapped around, None if none."""
    return next(
        (
            str(name)
            for name, value in (records[0].values.items() if len(records) == 1 else ())
            if isinstance(value, list) and len(value) > 1 and isinstance(value[0], Mapping)
        ),
        None,
    )


def numbered_columns(records: Sequence[Record], name: str) -> list[str]:
    """Return columns such as summary1, summary2, where there is none of the name itself."""
    names = columns_of(records)
    numbered = [n for n in names if re.fullmatch(rf"{re.escape(name)}[ _-]?\d+", n, re.I)]
    return [] if any(n.lower() == name.lower() for n in names) else numbered


def fit_settings(settings: S, records: Sequence[Record], asked: Collection[str]) -> S:
    """Return the settings without columns of the training data that these records do not have, so
    that their own are looked for; those that a person `asked` for stay."""
    missing = [
        name
        for name in SETTINGS
        if name not in asked
        and (column := getattr(settings, name)) is not None
        and not has_column(records, column)
    ]
    return settings.model_copy(update=dict.fromkeys(missing))


def read_alike(settings: S, columns: Columns, records: Sequence[Record]) -> S:
    """Return settings that read other records by the columns of the training data, if they have
    them."""
    named = columns.settings
    asked = {name for name in named if getattr(settings, name) is not None}
    return fit_settings(settings.model_copy(update=named), records, asked)


def text_of(value: Any, column: str, place: str) -> str:
    """Return a cell's text without spaces around it, "" for none. Raises UserError for no text."""
    if value is None or value != value:  # NaN is pandas' word for nothing
        return ""
    if isinstance(value, str):
        if printed_as(value) == "bytes":
            raise printed_error(column, "bytes", place)
        return "" if is_empty(value) else value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UserError(f"column {column!r} is not text", where=place, mend="mend or remove the row")


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
