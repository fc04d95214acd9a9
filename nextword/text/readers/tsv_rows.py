"""Rows of tab-separated values, in which quotes are mostly characters like any other.

Spreadsheets and pandas put a field with a tab or a line end in it between quotes. It is read so
only where its lines are not rows by themselves.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Generator, Sequence

from nextword.text.document import ReadStats, Source
from nextword.text.readers.plain import LineBlock
from nextword.text.readers.rows import LINE_END_INSIDE, NumberedRow, Row, Rows, strict_reader

_MOST_LINES = 1000  # in one field
_STRAY_LINE_END = re.compile(r"[\r\n](?=[^\r\n])")


class TsvRows(Rows):
    """Rows of tab-separated values; a field between two quotes is unquoted."""

    def __init__(self, source: Source, stats: ReadStats) -> None:
        super().__init__(source, stats)
        self._width = _first_width(self._first.lines[:_MOST_LINES])

    def _read(self, block: LineBlock) -> Generator[NumberedRow, None, int]:
        lines, at = block.lines, 0
        while at < len(lines):
            line, end, quoted = lines[at], at + 1, Row()
            row = _fields(line)
            if '"' in line:
                limit = self._limit_of_quoted(row, lines, at)
                quoted, count = (
                    self._quoted_row(lines[at:limit], block.end) if limit > at else ([], 0)
                )
                if quoted:
                    row, end = quoted, at + count
                elif limit == len(lines) < at + _MOST_LINES and not self._is_last:
                    return at
                else:
                    row = [_unquote(field) for field in row]
            number = block.first + at
            if wrong := block.error_within(at, end):
                yield number, wrong
            elif not quoted and _STRAY_LINE_END.search(line):
                yield number, self._error(number, LINE_END_INSIDE, line, "")
            elif row != [""]:
                yield number, row
            at = end
        return len(lines)

    def _limit_of_quoted(self, row: Row, lines: Sequence[str], at: int) -> int:
        """Return where lines end that may be one row, `at` if only the line itself is one."""
        if not any(field.startswith('"') for field in row):
            return at
        if len(row) == self._width and not _STRAY_LINE_END.search(lines[at]):
            may_go_on = row[-1].startswith('"') and row[-1].count('"') % 2
            following = lines[at + 1 : at + 2]
            if not may_go_on or (following and _width(following[0]) == self._width):
                return at
        end = at + 1
        while end < min(len(lines), at + _MOST_LINES):
            end += 1
            if _width(lines[end - 1]) == self._width:
                break
        return end

    def _quoted_row(self, lines: Sequence[str], end: str) -> tuple[Row, int]:
        """Return the row that the first of the lines hold if quotes are read as such, and how many
        these are; an empty row if that is none, or one of them is a row by itself."""
        reader = strict_reader(lines, 0, "\t")
        try:
            row: Row = next(reader, [])
        except csv.Error:
            return [], 0
        count = reader.line_num
        is_row_itself = count > 1 and _width(lines[count - 1]) == self._width and end not in row[0]
        return ([], 0) if len(row) != self._width or is_row_itself else (row, count)


def _fields(line: str) -> Row:
    return line.rstrip("\r\n").split("\t")


def _width(line: str) -> int:
    return line.count("\t") + 1


def _first_width(lines: Sequence[str]) -> int:
    """Return how many fields the first row has, which may go on over several lines."""
    lines = lines[next((at for at, line in enumerate(lines) if line.strip("\r\n")), 0) :]
    if not lines:
        return 0
    width = _width(lines[0])
    if '"' in lines[0] and len(lines) > 1 and _width(lines[1]) != width:
        reader = strict_reader(lines, 0, "\t")
        with contextlib.suppress(csv.Error):
            quoted = len(next(reader))
            following = lines[reader.line_num : reader.line_num + 1]
            if not following or _width(following[0]) == quoted:
                return quoted
    return width


def _unquote(field: str) -> str:
    if len(field) >= 2 and field[0] == field[-1] == '"':
        inside = field[1:-1]
        if '"' not in inside.replace('""', ""):
            return inside.replace('""', '"')
    return field
