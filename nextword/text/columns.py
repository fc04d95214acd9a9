"""The fields of a record: which names say that a field holds text; what counts as text, as nothing,
and as a list or an object written as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_USUAL = ["text", "content", "paragraphs", "body", "article", "document", "story", "passage"]
_LESS_USUAL = ["raw_content", "markdown", "context", "dialogue", "dialog", "review", "sentence"]
_FEED = ["content_text", "content_html"]
_LAST = ["caption", "abstract", "description", "summary"]
TEXT_COLUMNS = [*_USUAL, *_LESS_USUAL, *_FEED, *_LAST]  # in order of preference
DESCRIBING_COLUMNS = frozenset(_LAST)  # as often what describes the text as the text itself
# What programs write where there is no value: pandas, and the errors of spreadsheets.
_NO_VALUES = frozenset(
    ["nan", "NaN", "<NA>", "NaT", "#N/A", "#NAME?", "#NULL!", "#REF!", "#VALUE!", "#DIV/0!"]
)

# How a list or an object that is written as text begins and ends.
CLOSERS = {"[": "]", "{": "}", "(": ")"}
_BYTES = re.compile(r"b(?P<quote>['\"]).*(?P=quote)", re.S)
_BRACKET = re.compile(r"[\[\]{}]")
_OPENERS = re.compile(r"[\[{](?:\s*[\[{])*")
_OBJECT = re.compile(r"\{\s*(?:(?:'[^']*'|\"[^\"]*\"|\d+)\s*:|\})")
_QUOTED_LIST = re.compile(r"\[\s*[bu]?['\"].*['\"]\s*(?:,\s*)?\]", re.S)
_BETWEEN_QUOTES = re.compile(
    r"['\"]\s*,\s*[bu]?['\"]|['\"]\s+(?:\.\.\.\s+)?['\"]|\A\[\s*(?:'[^']*'|\"[^\"]*\")\s*,"
)
_BEGINS_AS_LIST = re.compile(r"\[\s*(?:'[^']*'|\"[^\"]*\")\s*,\s*[bu]?['\"]")
_ONE_QUOTED = re.compile(r"\[\s*['\"](?:[^'\"]|(?<=\w)['\"](?=\w))*['\"]\s*\]")
_SHORTENED_NUMBERS = re.compile(r"\[[\s\d.,eE+-]*\d\.?,?\s+\.\.\.,?\s+[\s\d.,eE+-]*\]")


def text_name_rank(name: Any) -> int | None:
    """Return the place of a field's name among TEXT_COLUMNS, None if it is not there."""
    lower = str(name).strip().lower()
    return TEXT_COLUMNS.index(lower) if lower in TEXT_COLUMNS else None


def text_column_by_name(names: Iterable[str]) -> str | None:
    """Return the column whose name says that it holds text, None if there is none."""
    ranked = [(rank, name) for name in names if (rank := text_name_rank(name)) is not None]
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


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


def is_pieces(value: Any) -> bool:
    """Return whether `value` is one text in pieces: strings, and objects with a "text", such as the
    links in a message of Telegram. Where all are objects, they say of what type they are."""
    if not isinstance(value, list) or not value:
        return False
    objects = [item for item in value if not isinstance(item, str)]
    if not objects or not all(isinstance(item, Mapping) for item in objects):
        return False
    is_typed = all("type" in item for item in objects)
    texts = [item.get("text", "" if is_typed else None) for item in objects]
    return (is_typed or len(objects) < len(value)) and all(isinstance(t, str) for t in texts)


def join_text(value: Any) -> str | None:
    """Return the text that a field's value is: a string, lines, stanzas of lines, or pieces; None
    for any other."""
    if isinstance(value, str):
        return value
    if is_text(value):
        return "\n".join(value)
    if is_pieces(value):
        return "".join(item if isinstance(item, str) else item.get("text", "") for item in value)
    if isinstance(value, list) and value and all(isinstance(item, list) for item in value):
        return "\n\n".join(map("\n".join, value)) if all(map(is_text, value)) else None
    return "" if value is None or value == [] else None


def has_text(value: Any) -> bool:
    """Return whether a field's value is text, be it an empty string."""
    return value is not None and value != [] and join_text(value) is not None


def count_characters(value: Any) -> int:
    """Return how many characters all strings in a value have together, however nested."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(count_characters, value.values()))
    if isinstance(value, list):
        return sum(map(count_characters, value))
    return 0


def name_kind(value: Any) -> str:
    """Return what a value is, in words: "a number"."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, Mapping):
        return "an object"
    return {list: "a list", type(None): "null"}.get(type(value), f"a {type(value).__name__}")


def is_no_value(value: Any) -> bool:
    """Return whether there is no value: null, NaN, or what programs write for it, nan or #N/A."""
    return (
        value.strip() in _NO_VALUES if isinstance(value, str) else value is None or value != value
    )


def is_empty(value: Any) -> bool:
    """Return whether a cell holds nothing but spaces, or no value."""
    return is_no_value(value) or (isinstance(value, str) and not value.strip())


def holds(value: Any) -> bool:
    """Return whether there is anything in a value, spaces too: not in a list or an object without
    items."""
    return not is_no_value(value) and value not in ("", [], {})


def printed_as(text: str) -> str:
    """Return what a text is that Python printed in its place: "bytes" or "a list"; "" for none."""
    text = text.strip()
    if _BYTES.fullmatch(text):
        return "bytes"
    return "a list" if text[:1] == "[" and has_list_structure(text) else ""


def has_list_structure(text: str) -> bool:
    """Return whether `text` is built like a list or an object, be it damaged.

    Brackets alone are no list: "[Applause] Thank you [laughs]" and "[[Image]]" are prose.
    """
    text = text.strip()
    openers = _OPENERS.match(text)
    if not openers or text[-1] != CLOSERS[text[0]] or _first_group(text) != text:
        return False
    innermost = _first_group(text[openers.end() - 1 :])
    if innermost[0] == "{":
        return _OBJECT.match(innermost) is not None
    if _BEGINS_AS_LIST.match(innermost) or _ONE_QUOTED.fullmatch(innermost):
        return True
    if _SHORTENED_NUMBERS.fullmatch(innermost):
        return True
    return bool(_QUOTED_LIST.fullmatch(innermost) and _BETWEEN_QUOTES.search(innermost))


def _first_group(text: str) -> str:
    """Return `text` as far as its first bracket is open; all of it if that is never closed."""
    depth = 0
    for bracket in _BRACKET.finditer(text):
        depth += 1 if bracket.group() in "[{" else -1
        if depth == 0:
            return text[: bracket.end()]
    return text
