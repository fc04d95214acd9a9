"""Texts out of a record, however deep it is nested; what is left beside them is handed on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from nextword.errors import UserError
from nextword.text.cells import read_cell
from nextword.text.columns import get_field, is_pieces, join_text, name_kind
from nextword.text.document import Document, ReadError

MAX_DEPTH = 100  # of lists and objects that are searched
_QUOTED_CHARACTERS = 1000  # of a record that is refused

Leave = Callable[[str, Any], None]  # is told the name and the value of a field that is not used


@dataclass(frozen=True)
class TextField:
    """Where the text of a file's records stands.

    `column` None: every value of an object is a text of its own, under its title. `inner` says
    where within the column. With `nested`, a record may hold further records; with `printed`, the
    cells hold lists of texts as text.
    """

    column: str | None
    inner: TextField | None = None
    nested: bool = False
    printed: bool = False


@dataclass(frozen=True)
class Found:
    """A record, or a text of its own, and the field that its text is in."""

    value: Any
    field: TextField


def holds(value: Any, column: str, depth: int = 0) -> bool:
    """Return whether an object somewhere in `value` has the field."""
    if depth > MAX_DEPTH:
        return False
    if isinstance(value, dict):
        if column in value or get_field(value, column) is not None:
            return True
        value = value.values()
    elif not isinstance(value, list):
        return False
    return any(holds(item, column, depth + 1) for item in value if isinstance(item, list | dict))


def find_records(value: Any, field: TextField, leave: Leave, depth: int = 0) -> Iterator[Found]:
    """Yield the records in a value: its objects that have the text field, or should have it."""
    column = field.column
    if isinstance(value, list) and depth < MAX_DEPTH:
        for item in value:
            yield from find_records(item, field, leave, depth + 1)
    elif not isinstance(value, dict) or depth >= MAX_DEPTH:
        yield Found(value, field)
    elif column is None:
        for name, item in value.items():
            if isinstance(item, str | list | dict):
                yield from find_records(item, field, leave, depth + 1)
            else:
                leave(str(name), item)
    elif column not in value and get_field(value, column) is None:
        yield from _beneath(value, field, leave, depth)
    elif field.inner is not None and not _is_own_text(value, column):
        _leave_beside(value, column, leave)
        yield from find_records(get_field(value, column), field.inner, leave, depth + 1)
    else:
        yield Found(value, field)
        if field.nested:
            for item in _further(value, column).values():
                yield from find_records(item, field, leave, depth + 1)


def _beneath(value: dict[str, Any], field: TextField, leave: Leave, depth: int) -> Iterator[Found]:
    """Yield the records in the fields of an object that is no record itself."""
    further = _further(value, str(field.column))
    if not further:
        yield Found(value, field)
        return
    for name, item in value.items():
        if name in further:
            yield from find_records(item, field, leave, depth + 1)
        else:
            leave(str(name), item)


def _further(value: dict[str, Any], column: str) -> dict[str, Any]:
    """Return the fields with records in them, other than the column itself."""
    return {
        name: item
        for name, item in value.items()
        if name != column and isinstance(item, list | dict) and holds(item, column)
    }


def _is_own_text(record: dict[str, Any], column: str) -> bool:
    return join_text(get_field(record, column)) is not None


def _leave_beside(record: dict[str, Any], column: str, leave: Leave) -> None:
    """Hand on all fields but the column."""
    if column in record:
        for name, value in record.items():
            if name != column:
                leave(name, value)
        return
    part, _, rest = column.partition(".")
    for name, value in record.items():
        if name != part:
            leave(name, value)
    inside = record.get(part)
    if isinstance(inside, dict):
        _leave_beside(inside, rest, lambda name, value: leave(f"{part}.{name}", value))


def to_document(found: Found, where: str, leave: Leave) -> Document | ReadError:
    """Return a record's text; a ReadError if it has none, and then nothing of it is handed on."""
    record, field = found.value, found.field
    if isinstance(record, ReadError):
        return record
    column = field.column or ""
    value, name = record, "the record"
    if isinstance(record, dict):
        value, name = get_field(record, column), f"field {column!r}"
        if value is None and column not in record:
            return ReadError(f"has no {name}", where, _excerpt(record), f"no {name}")
    text = join_text(value)
    if text is None:
        return _refuse(value, name, record, where)
    if field.printed and text.lstrip().startswith("["):
        try:
            text = _read_printed(text)
        except UserError as error:
            return ReadError(error.what, where, text, f"{name} is no list", error.mend)
    if isinstance(record, dict):
        if field.nested and (further := _further(record, column)):
            record = {name: item for name, item in record.items() if name not in further}
        _leave_beside(record, column, leave)
        if is_pieces(value):
            _leave_of_pieces(value, column, leave)
    return Document(text, where)


def _read_printed(text: str) -> str:
    joined = join_text(read_cell(text))
    return text if joined is None else joined


def _leave_of_pieces(pieces: list[Any], column: str, leave: Leave) -> None:
    for piece in pieces:
        if isinstance(piece, dict):
            for name, value in piece.items():
                if name != "text":
                    leave(f"{column}.{name}", value)


def _refuse(value: Any, name: str, record: Any, where: str) -> ReadError:
    kind = name_kind(value)
    if isinstance(value, list):
        kind += f" with {next(name_kind(item) for item in value if not isinstance(item, str))}"
    what = f"{name} is {kind}, expected text or a list of texts"
    return ReadError(what, where, _excerpt(record), f"{name} is not text")


def _excerpt(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:_QUOTED_CHARACTERS]
