"""Which field of a record holds its text, and records turned into documents."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

from nextword.errors import UserError, nearest
from nextword.text.document import Document, Documents, ReadError, Records

_USUAL = ["text", "content", "paragraphs", "body", "article", "document", "story", "passage"]
_LESS_USUAL = ["raw_content", "markdown", "context", "dialogue", "dialog", "review", "sentence"]
_LAST = ["caption", "abstract", "description", "summary"]
TEXT_COLUMNS = [*_USUAL, *_LESS_USUAL, *_LAST]  # in order of preference

SAMPLED_RECORDS = 50  # looked at where no name is known
_LONGER = 3  # times as long as the next longest: then a field is the text


def text_column_by_name(names: Iterable[str]) -> str | None:
    """Return the field whose name says that it holds text, None if there is none."""
    by_lower = {str(name).strip().lower(): name for name in reversed(list(names))}
    return next((by_lower[name] for name in TEXT_COLUMNS if name in by_lower), None)


def find_text_column(records: list[Mapping[str, Any]], wanted: str | None, where: str) -> str:
    """Return the text column of a file, judged by its first records.

    Raises UserError if there is no column `wanted`, or if none is wanted and none is clearly text.
    """
    names = list(dict.fromkeys(name for record in records for name in record))
    if wanted is not None:
        if any(get_field(record, wanted) is not None for record in records) or wanted in names:
            return wanted
        raise UserError(
            f"has no field {wanted!r}", where=where, mend=nearest(wanted, map(str, names))
        )
    by_name = text_column_by_name(
        name for name in names if any(is_text(record.get(name)) for record in records)
    )
    if by_name is not None:
        return by_name
    lengths = {name: _mean_length(records, name) for name in names}
    ranked = sorted((length, name) for name, length in lengths.items() if length > 0)
    if ranked and (len(ranked) == 1 or ranked[-1][0] >= _LONGER * ranked[-2][0]):
        return ranked[-1][1]
    known = ", ".join(map(str, names[:12])) or "none"
    raise UserError(
        f"no field is clearly the text (fields: {known})",
        where=where,
        mend="name it with --text-column",
    )


def _mean_length(records: list[Mapping[str, Any]], name: str) -> float:
    """Return the mean length of the text in a field; 0 where any value is not text."""
    values = [record[name] for record in records if record.get(name) is not None]
    if not values or not all(map(is_text, values)):
        return 0
    texts = list(map(_joined, values))
    if all(map(is_number, texts)):
        return 0
    return sum(map(len, texts)) / len(texts)


def is_number(text: str) -> bool:
    """Return whether `text` is written as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def get_field(record: Mapping[str, Any], column: str) -> Any:
    """Return record[column], None if absent; "message.content" reaches into nested records."""
    if column in record:
        return record[column]
    value: Any = record
    for part in column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def is_text(value: Any) -> bool:
    """Return whether `value` is a string, or a list of strings that is not empty."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, str) for item in value)
    return isinstance(value, str)


def _joined(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "\n".join(value)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, Mapping):
        return "an object"
    return {list: "a list", type(None): "null"}.get(type(value), f"a {type(value).__name__}")


def records_to_documents(records: Records, text_column: str | None, path: str) -> Documents:
    """Yield the text of each record; the first ones decide which field holds it.

    Raises UserError as `find_text_column` does.
    """
    column = ""
    while sample := list(itertools.islice(records, SAMPLED_RECORDS)):
        mappings = [value for _, value in sample if isinstance(value, Mapping)]
        if mappings:
            column = find_text_column(mappings, text_column, path)
            records = itertools.chain(sample, records)
            break
        yield from (_to_document(where, value, column) for where, value in sample)
    for where, value in records:
        yield _to_document(where, value, column)


def _to_document(where: str, value: Any, column: str) -> Document | ReadError:
    if isinstance(value, ReadError):
        return value
    field, name = value, "the record"
    if isinstance(value, Mapping):
        field, name = get_field(value, column), f"field {column!r}"
        if field is None and column not in value:
            return ReadError(f"has no {name}", where, _excerpt(value), f"no {name}")
    if field is None or field == [] or is_text(field):
        return Document(_joined(field or ""), where)
    kind = _kind(field)
    if isinstance(field, list):
        kind += f" with {next(_kind(item) for item in field if not isinstance(item, str))}"
    what = f"{name} is {kind}, expected text or a list of texts"
    return ReadError(what, where, _excerpt(value), f"{name} is not text")


def _excerpt(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:1000]
