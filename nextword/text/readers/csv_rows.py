"""Rows of comma-separated values, whose quotes are read by the rules of RFC 4180.

An open quote would swallow the rows after it. Its line alone is refused, and reading goes on with
the next one. Whether a line of a quoted field is rather a row is told by what the table's other
rows look like: the lines of a poem, of a page of HTML or of a program have other numbers of
delimiters, or no label or number where the rows have one.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from nextword.text.columns import is_number
from nextword.text.document import ReadError, ReadStats, Source, short_reason
from nextword.text.readers.plain import LineBlock, split_lines
from nextword.text.readers.rows import (
    CLOSE,
    LINE_END_INSIDE,
    NumberedRow,
    QuoteDamage,
    Row,
    Rows,
    find_delimiter,
    strict_reader,
    tidy_quotes,
)

_SAMPLED_LINES = 200  # that the dialect and the shape of rows are told by
_FEWEST_QUOTED = 3  # rows, and the share of them from which on all fields stand in quotes
_MOST_QUOTED = 0.75
_OPEN = 'put one before its field, or write a quote that is text twice ("")'
_ONE_ROW = "close it on its line; if one field does hold them, put every field into quotes"
_FEWEST_ROWS = 6  # to learn a column from
_LONGER = 3  # times as long as any, or as short, a cell may still be
_MOST_ROWS = 0.8  # of the lines inside a field: where they look like rows, few are told otherwise
_BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))


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
        self._all_quoted = quoted >= max(_FEWEST_QUOTED, _MOST_QUOTED * len(alone))

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


@dataclass(frozen=True, slots=True)
class _Column:
    is_numeric: bool = False
    usual: frozenset[str] = frozenset()  # the cells, where most come again
    lengths: tuple[int, int] = (1, 2**30)
    is_empty: bool = False  # always
    is_indented: bool = False  # some begin with a space

    @classmethod
    def of(cls, cells: Sequence[str]) -> _Column:
        filled = [cell for cell in cells if cell]
        if not filled:
            return cls(is_empty=True)
        lengths = sorted(map(len, filled))
        is_numeric = all(map(is_number, filled))
        return cls(
            is_numeric,
            frozenset(filled if 2 * len(set(filled)) <= len(filled) else ()),
            (1, 2**30) if is_numeric else (lengths[0] // _LONGER, lengths[-1] * _LONGER),
            is_indented=any(cell[0].isspace() for cell in filled),
        )

    def fits(self, cell: str) -> bool:
        if self.is_empty or not cell:
            return self.is_empty and not cell
        if self.is_numeric and not is_number(cell):
            return False
        return self.is_indented or not cell[0].isspace()

    def tells(self, cell: str) -> bool:
        return cell in self.usual or (self.is_numeric and is_number(cell))


class RowShape:
    """What rows look like: `rows` are some of equally many fields, known to be sound."""

    def __init__(self, rows: Sequence[Sequence[str]], width: int, delimiter: str) -> None:
        self._delimiter, self._width = delimiter, width
        if len(rows) < _FEWEST_ROWS:
            self._columns = [_Column()] * width
        else:
            self._columns = [_Column.of(cells) for cells in zip(*rows, strict=True)]
        self._is_telling = any(column.usual or column.is_numeric for column in self._columns)

    def swallowing_field(self, row: Sequence[str], end: str) -> int | None:
        """Return which field of a row holds other rows, in lines that `end` ends; None if none."""
        for number, field in enumerate(row):
            if end in field and self._swallows(row, number, end):
                return number
        return None

    def _swallows(self, row: Sequence[str], number: int, end: str) -> bool:
        field, delimiter = row[number], self._delimiter
        in_last = field.count(delimiter, field.rfind(end)) + len(row) - number
        if in_last != self._width or field.count(delimiter) < max(self._width - 1, 1):
            return False  # as nearly always
        opening, *inside, closing = (line.rstrip("\r\n") for line in field.split(end))
        last = [*closing.split(delimiter), *row[number + 1 :]]
        if not self._fits(last):
            return False
        rows = [cells for line in inside if self._fits(cells := line.split(delimiter))]
        first = self._first_line(row[:number], opening)
        if self._is_telling:
            if inside:
                return any(map(self._tells, rows))
            return self._tells(first) and self._tells(last)
        lines = sum(bool(line.strip()) for line in inside)
        rows = [cells for cells in rows if self._is_usual(cells)]
        if lines > 1:
            return len(rows) >= _MOST_ROWS * lines
        return len(rows) == 1 and self._fits(first) and self._is_usual(last)

    def _first_line(self, before: Sequence[str], opening: str) -> list[str]:
        """Return the cells of the line on which a field begins, which may hold delimiters."""
        after = self._width - 1 - len(before)
        parts = opening.split(self._delimiter)
        cut = max(len(parts) - after, 0)
        return [*before, *filter(None, [self._delimiter.join(parts[:cut])]), *parts[cut:]]

    def _fits(self, cells: Sequence[str]) -> bool:
        if len(cells) != self._width:
            return False
        pairs = zip(self._columns, cells, strict=True)
        return all(column.fits(cell) for column, cell in pairs) and not self._cuts_number(cells)

    def _is_usual(self, cells: Sequence[str]) -> bool:
        """Return whether cells are as long as others, and none is cut within brackets."""
        return _is_balanced(cells) and all(
            column.lengths[0] <= len(cell) <= column.lengths[1]
            for column, cell in zip(self._columns, cells, strict=True)
        )

    def _cuts_number(self, cells: Sequence[str]) -> bool:
        """Return whether a delimiter rather stands in a number such as 1,000."""
        return self._delimiter == "," and any(
            one[-1:].isdigit()
            and other[:1].isdigit()
            and not (self._columns[place].is_numeric and self._columns[place + 1].is_numeric)
            for place, (one, other) in enumerate(itertools.pairwise(cells))
        )

    def _tells(self, cells: Sequence[str]) -> bool:
        return self._fits(cells) and any(
            column.tells(cell) for column, cell in zip(self._columns, cells, strict=True)
        )


def _is_balanced(cells: Sequence[str]) -> bool:
    return all(cell.count(one) == cell.count(other) for cell in cells for one, other in _BRACKETS)
