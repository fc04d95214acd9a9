"""A label as it stands in a cell: the name of a class, or several names, which are a list or text
with marks between them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nextword.errors import UserError
from nextword.text.cells import read_value
from nextword.text.columns import is_empty, printed_as

SEPARATORS = ("|", ";", ",")  # between several labels in one text
_OPENED = re.compile(  # a tuple only if it is empty, or begins with a string
    r"\s*(?:[\[{]|\(\s*['\"]|\(\s*\)\s*\Z|(?:\w+\.)?array\(|(?:frozen)?set\()"
)
_CUT_OFF = re.compile(r"\[\s*(?:['\"]|[^\]]+,)")  # a list without its end
# What programs write where there is no value, and people as the name of a class, in lower case.
NO_LABEL = frozenset(["null", "none", "n/a", "na", "nil", "\\n", "(null)", "<null>", "?"])
FLAGS = {"0", "1", "true", "false"}  # what says of a label whether it holds
Placed = tuple[Any, str]  # a value and its place
Label = str | list[str] | float  # one class, several, an amount


def name_of(value: Any) -> str:
    """Return a class's name: 1, 1.0 and "1" are the same one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    whole = text.removesuffix(".0")
    return whole if whole != text and whole.lstrip("-").isdigit() else text


def without_spelling(name: str) -> str:
    """Return what spellings of a name have in common that people mean as one."""
    name = unicodedata.normalize("NFKC", name).casefold()
    return str(int(name)) if name.isdecimal() else name


def split_names(text: str) -> list[str]:
    """Return the names of labels that stand in one text, with bars, semicolons or commas."""
    mark = next((mark for mark in SEPARATORS if mark in text), "\0")
    return [name for part in text.split(mark) if (name := name_of(part))]


def as_list(value: Any, place: str) -> list[Any] | None:
    """Return the list that a label is, or that a table has as text: `['a', 'b']`; of an object that
    says of each name whether it holds, the names that do; None for another label. Raises UserError
    for what looks like a list and cannot be read."""
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping):
        return _names_that_hold(value, place)
    if isinstance(value, str) and printed_as(value) == "bytes":
        raise UserError(f"label {value[:80]} is bytes as text", where=place, mend="write a name")
    if not isinstance(value, str) or not _OPENED.match(value):
        return None
    read = read_value(value, place, "label ")
    if isinstance(read, list):
        return read
    if isinstance(read, Mapping):
        return _names_that_hold(read, place)
    text = value.strip()
    is_closed = text[-1] == "]"
    if text[0] == "[" and ("," in text if is_closed else _CUT_OFF.match(text)):
        raise UserError(
            f"label {text[:80]!r} looks like a list and cannot be read as one",
            where=place,
            mend='write it as JSON, e.g. ["a", "b"]',
        )
    return None


def _names_that_hold(label: Mapping[str, Any], place: str) -> list[Any]:
    """Return the names of {"joy": 1, "fear": 0}, as of spaCy's cats, that hold; or the choices of
    Label Studio."""
    if list(label) == ["choices"] and isinstance(label["choices"], list):
        return label["choices"]
    if label and all(isinstance(v, int | float) and v in (0, 1) for v in label.values()):
        return [name for name, value in label.items() if value]
    raise UserError(
        "label is an object", where=place, mend='write a name, a list of names, or {"name": 1}'
    )


def list_or_none(value: Any) -> list[Any] | None:
    """Return the list that a label is; None for another label, and for a list that is damaged."""
    try:
        return as_list(value, "")
    except UserError:
        return None


def names_in(items: Sequence[Any], place: str) -> list[str]:
    """Return the names in a list. Raises UserError where it holds something else."""
    for item in items:
        if isinstance(item, list | Mapping) or item is None or item != item:
            raise UserError(
                f"a list of labels holds {item!r}", where=place, mend="let it hold names only"
            )
    return [name for item in items if (name := name_of(item))]


def is_sound(value: Any) -> bool:
    """Return whether there is a label, and it can be read."""
    try:
        items = as_list(value, "")
        return not is_empty(value) and (items is None or names_in(items, "") is not None)
    except UserError:
        return False


def are_joined(values: Sequence[Any]) -> bool:
    """Return whether values are names joined by marks: each part of one that has a mark is in
    another value too, and there are fewer different parts than different values."""
    whole = {name_of(value) for value in values if isinstance(value, str)}
    joined = [value for value in whole if len(split_names(value)) > 1]
    parts = {part for value in whole for part in split_names(value)}
    return bool(joined) and not apart(values) and len(parts) < len(whole)


def apart(values: Sequence[Any]) -> set[str]:
    """Return the values with a mark of which some part is in no other value."""
    whole = {name_of(value): value for value in values if isinstance(value, str)}
    occurs = Counter(part for value in whole for part in set(split_names(value)))
    return {
        value
        for name, value in whole.items()
        if len(parts := split_names(name)) > 1 and any(occurs[part] < 2 for part in parts)
    }
