"""Rows of comma-separated values, whose quotes are read by the rules of RFC 4180.

An open quote would swallow the rows after it. Its line alone is refused, and reading goes on with
the next one.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Generator, Iterator, Sequence

from nextword.text.document import ReadError, ReadStats, Source, short_reason
from nextword.text.readers.dialect import find_delimiter
from nextword.text.readers.plain import LineBlock, split_lines
from nextword.text.readers.quoting import QuoteDamage, tidy_quotes
from nextword.text.readers.row_shape import RowShape
from nextword.text.readers.rows import CLOSE, LINE_END_INSIDE, NumberedRow, Row, Rows, strict_reader

_SAMPLED_LINES = 200  # that the dialect and the shape of rows are told by
_FEWEST_QUOTED = 3  # rows, and the share of them from which on all fields stand in quotes
_MOST = 0.75
_OPEN = 'put one before its field, or write a quote that is text twice ("")'
_ONE_ROW = "close it on its line; if one field does hold them, put every field into quotes"


class CsvRows(Rows):
    """Rows of comma-separated values, whatever their `delimiter` is."""

    def __init__(self, source: Source, stats: ReadStats) -> None:
        super().__init__(source, stats)
        sample = self._first.lines[:_SAMPLED_LINES]
        self.delimiter = self._declared or find_delimiter(sample)
        self._spaces = f'{self.delimiter} "', f"{self.delimiter}  ", f"{self._first.end} "
        self._is_spaced = False  # the block that is read, perhaps
        self._opens_spaced = False  # whether a space may stand before a quote that opens a field
        self._opens_spaced = any(self._tidy(line)[0] != line for line in sample)
        self._width = self._first_width(sample)
        alone = list(_rows_on_one_line(sample, self.delimiter))[1:]
        shaped = [row for _, row in alone if len(row) == self._width]
        self._shape = RowShape(shaped, self._width, self.delimiter)
        quoted = sum(x.startswith('"') and x.count('"') >= 2 * len(row) for x, row in alone)
        self._all_quoted = quoted >= max(_FEWEST_QUOTED, _MOST * len(alone))

    def _read(self, block: LineBlock) -> Generator[NumberedRow, None, int]:
        lines, at, text = block.lines, 0, "".join(block.lines)
        self._is_spaced = self._has_spaces(text)
        is_odd = self._all_quoted and text.count('"') % 2 == 1  # counted by line this costs time
        is_watched = self._is_spaced or is_odd or bool(block.errors)
        while at < len(lines):
            start, reader = at, strict_reader(lines, at, self.delimiter)
            try:
                for row in reader:
                    end = start + reader.line_num
                    if is_watched or end - at > 1:
                        found, following = self._check(row, block, at, end)
                        if found and following != at:
                            yield block.first + at, found
                        at = following
                        if following != end:
                            break
                    else:
                        if row:
                            yield block.first + at, row
                        at = end
            except csv.Error as error:
                end = start + reader.line_num
                text = "".join(lines[at:end])
                tidy, damage = self._tidy(text)
                is_open = damage is not None and damage.closed is None
                if tidy != text:
                    lines[at:end] = split_lines(tidy, block.end)
                elif is_open and end == len(lines) and not self._is_last:
                    return at
                else:
                    refused, following = self._refuse(block, at, end, damage, error)
                    yield block.first + at, refused
                    at = following
        return len(lines)

    def _check(self, row: Row, block: LineBlock, at: int, end: int) -> tuple[Row | ReadError, int]:
        """Return the row that stands in lines at..end, or what is wrong with it, and the line to go
        on with: `at` again where the quotes have been tidied."""
        if wrong := block.error_within(at, end):
            return wrong, end
        if self._is_spaced and self._has_spaces(text := "".join(block.lines[at:end])):
            tidy, _ = self._tidy(text)
            if tidy != text and self._is_better(tidy, row):
                block.lines[at:end] = split_lines(tidy, block.end)
                return row, at
        if end - at == 1:
            if self._all_quoted and block.lines[at].count('"') % 2:
                what = "has a quote that closes nothing"
                return self._error(block.first + at, what, block.lines[at], _OPEN), end
            return row, end
        field = self._shape.swallowing_field(row, block.end)
        if field is None:
            return row, end
        opened = at + sum(cell.count(block.end) for cell in row[:field])
        closed = opened + row[field].count(block.end)
        what = (
            f"opens a quote that closes in line {block.first + closed}, and the lines up to there"
            " read like rows of the table"
        )
        where = block.first + opened
        return self._error(where, what, block.lines[opened], _ONE_ROW), opened + 1

    def _is_better(self, tidy: str, row: Row) -> bool:
        """Return whether tidied text has as many fields as the table, or no row has."""
        if len(row) != self._width:
            return True
        try:
            return len(next(csv.reader([tidy], delimiter=self.delimiter, strict=True))) == len(row)
        except csv.Error:
            return True  # it goes on in the next line

    def _refuse(
        self, block: LineBlock, at: int, end: int, damage: QuoteDamage | None, error: csv.Error
    ) -> tuple[ReadError, int]:
        """Return what is wrong with the row begun in line `at`, and the line to go on with."""
        text = "".join(block.lines[at:end])
        opened, following = at, end
        what, mend = f"is not a row of a table ({short_reason(error)})", ""
        if "new-line" in str(error):
            what = LINE_END_INSIDE
        if damage is not None:
            opened = at + text.count(block.end, 0, damage.opened)
            following, mend = opened + 1, CLOSE
            what = "opens a quote that does not close"
            if damage.closed is not None:
                lines = text.count(block.end, damage.opened, damage.closed)
                what = f"opens a quote after which line {block.first + opened + lines} goes on"
                if not lines:
                    what = "has text after a closing quote"
        number = block.first + opened
        wrong = block.errors.get(number) or self._error(number, what, block.lines[opened], mend)
        return wrong, following

    def _has_spaces(self, text: str) -> bool:
        """Return whether spaces may stand before a field between quotes."""
        one, more, first = self._spaces
        return one in text or more in text or first in text or text.startswith(" ")

    def _tidy(self, text: str) -> tuple[str, QuoteDamage | None]:
        return tidy_quotes(text, self.delimiter, open_too=self._opens_spaced)

    def _first_width(self, sample: list[str]) -> int:
        lines = [self._tidy(line)[0] for line in sample[:1]] + sample[1:]
        with contextlib.suppress(csv.Error):
            return next(map(len, filter(None, strict_reader(lines, 0, self.delimiter))), 0)
        return len(lines[0].split(self.delimiter))


def _rows_on_one_line(lines: Sequence[str], delimiter: str) -> Iterator[tuple[str, Row]]:
    """Yield each line that is a row, with it, but none that a quoted field holds."""
    at = 0
    while at < len(lines):
        start, reader = at, strict_reader(lines, at, delimiter)
        try:
            for row in reader:
                end = start + reader.line_num
                if row and end - at == 1:
                    yield lines[at], row
                at = end
        except csv.Error:
            at += 1
