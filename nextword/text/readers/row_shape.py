"""Whether a line of a quoted field is rather a row of the table, swallowed by an open quote.

It is told by what the table's other rows look like. The lines of a poem, of a page of HTML or of a
program have other numbers of delimiters, or no label or number where the rows have one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from nextword.text.columns import is_number

_FEWEST_ROWS = 6  # to learn a column from
_LONGER = 3  # times as long as any, or as short, a cell may still be
_MOST = 0.8  # of the lines inside a field: where they look like rows, few are told otherwise
_BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))


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
            return len(rows) >= _MOST * lines
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
