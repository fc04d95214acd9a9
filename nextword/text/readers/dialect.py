"""What separates the fields of a table, told by its first lines."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

DELIMITERS = ",\t;|"

_SAMPLED_LINES = 20
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.I)  # Excel's
_UNLIKE_DELIMITERS = re.compile(r"(?<=\d)[,;](?=\d)|[,;](?=[ \t])")  # in a number or in prose


def separator_line(line: str) -> str | None:
    """Return the delimiter that a line "sep=;" declares, None if it is another line."""
    match = _SEPARATOR_LINE.fullmatch(line)
    return match and match[1]


def find_delimiter(lines: Sequence[str]) -> str:
    """Return the delimiter that cuts the lines into equally many fields, else the first line's
    most frequent one.

    Where several do, it is not one that stands in numbers or before spaces only.
    """
    lines = lines[:_SAMPLED_LINES]
    candidates = [delimiter for delimiter in DELIMITERS if _cuts_equally(lines, delimiter)]
    likely = [c for c in candidates if _is_likely(lines, c)]
    for delimiter in [*likely, *candidates]:
        return delimiter
    return max(DELIMITERS, key="".join(lines[:1]).count)


def _cuts_equally(lines: Sequence[str], delimiter: str) -> bool:
    try:
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error:
        return False
    if len(lines) == _SAMPLED_LINES:
        rows = rows[:-1]  # it may go on
    return len({len(row) for row in rows}) == 1 and len(rows[0]) > 1


def _is_likely(lines: Sequence[str], delimiter: str) -> bool:
    text = "".join(lines)
    return delimiter in _UNLIKE_DELIMITERS.sub("", text)
