"""Which field of a record holds its text, and the text in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nextword.errors import UserError, nearest

_USUAL = ["text", "content", "paragraphs", "body", "article", "document", "story", "passage"]
_ALSO = ["raw_content", "markdown", "context", "dialogue", "dialog", "review", "sentence"]
_AT_LAST = ["caption", "abstract", "description", "summary"]
NAMES = [*_USUAL, *_ALSO, *_AT_LAST]  # in order of preference

SAMPLE = 50  # records looked at where no name is known
_LONGER = 3  # times as long as the next longest: then a field is the text


class NotText(Exception):
    """A value that is not text; the message says what it is."""


def named_column(names: Iterable[str]) -> str | None:
    """The field whose name says that it holds text."""
    by_lower = {str(name).strip().lower(): name for name in reversed(list(names))}
    return next((by_lower[name] for name in NAMES if name in by_lower), None)


def find_column(records: list[Mapping[str, Any]], wanted: str | None, where: str) -> str:
    """The text column of a file, from its first records. Raises UserError if it is not clear."""
    names = list(dict.fromkeys(name for record in records for name in record))
    if wanted is not None:
        if any(lookup(record, wanted) is not None for record in records) or wanted in names:
            return wanted
        raise UserError(
            f"has no field {wanted!r}", where=where, mend=nearest(wanted, map(str, names))
        )
    by_name = named_column(name for name in names if any(is_textual(r.get(name)) for r in records))
    if by_name is not None:
        return by_name
    lengths = {name: _length(records, name) for name in names}
    ranked = sorted((length, name) for name, length in lengths.items() if length > 0)
    if ranked and (len(ranked) == 1 or ranked[-1][0] >= _LONGER * ranked[-2][0]):
        return ranked[-1][1]
    known = ", ".join(map(str, names[:12])) or "none"
    raise UserError(
        f"no field is clearly the text (fields: {known})",
        where=where,
        mend="name it with --text-column",
    )


def _length(records: list[Mapping[str, Any]], name: str) -> float:
    """Mean length of the text in a field; 0 where any value is not text."""
    values = [record[name] for record in records if record.get(name) is not None]
    if not values or not all(is_textual(value) for value in values):
        return 0
    texts = [text_of(value) for value in values]
    if all(is_number(text) for text in texts):
        return 0
    return sum(map(len, texts)) / len(texts)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def lookup(record: Mapping[str, Any], column: str) -> Any:
    """record[column]; "message.content" reaches into nested records."""
    if column in record:
        return record[column]
    value: Any = record
    for part in column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def is_textual(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, str) for item in value)
    return isinstance(value, str)


def text_of(value: Any) -> str:
    """A string as it is, a list of strings joined by newlines, nothing as "". Raises NotText."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        wrong = next((item for item in value if not isinstance(item, str)), None)
        if wrong is None:
            return "\n".join(value)
        raise NotText(f"a list with {_kind(wrong)}")
    raise NotText(_kind(value))


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, Mapping):
        return "an object"
    return {list: "a list", type(None): "null"}.get(type(value), f"a {type(value).__name__}")
