"""Comma- and tab-separated values, with or without column names."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from nextword.text.document import Documents, ReadError, ReadStats, Records, Source
from nextword.text.readers.csv_rows import CsvRows
from nextword.text.readers.header import (
    column_names,
    has_names,
    is_in_doubt,
    refuse_single_quotes,
)
from nextword.text.readers.rows import NumberedRow, Row
from nextword.text.readers.tsv_rows import TsvRows
from nextword.text.record_text import records_to_documents

_SAMPLED_ROWS = 20  # that tell whether the first one names the columns


def read_delimited(source: Source, text_column: str | None, stats: ReadStats) -> Documents:
    """Yield the text of each row; one with another number of fields than the first is an error."""
    records = delimited_records(source, stats, text_column)
    yield from records_to_documents(records, text_column, source, stats)


def delimited_records(source: Source, stats: ReadStats, text_column: str | None = None) -> Records:
    """Yield each row by the names of its columns; without names these are "1", "2", …

    Where some have names and others not, an empty cell of the others is left out. Raises UserError
    for a name that stands twice.
    """
    rows = iter((TsvRows if source.kind == "tsv" else CsvRows)(source, stats))
    sample = list(itertools.islice(rows, _SAMPLED_ROWS))
    header = _read_header(sample, source.path, stats, text_column)
    columns, width, path = header.columns, len(header.columns), source.path
    below = [numbered for numbered in sample if numbered[0] != header.line]
    for line, row in itertools.chain(below, rows):
        if isinstance(row, ReadError):
            yield row.source, row
        elif len(row) != width:
            where, what = f"{path}:{line}", f"has {len(row)} fields, expected {width}"
            mend = 'put a field that holds the separator into quotes, as in "a, b"'
            mend = mend if len(row) > width else "fill up or remove the row"
            content = " | ".join(row)[:1000]
            yield where, ReadError(what, where, content, "wrong number of fields", mend)
        elif header.nameless:
            yield f"{path}:{line}", dict(header.filled_cells(row, path, stats))
        else:
            yield f"{path}:{line}", dict(zip(columns, row, strict=True))


@dataclass
class _Header:
    columns: list[str]
    line: int = 0  # 0: the table has none
    nameless: frozenset[int] = frozenset()  # places of columns without a name among named ones

    def filled_cells(self, row: Row, path: str, stats: ReadStats) -> Iterator[tuple[str, str]]:
        """Yield the cells with their columns, but empty ones only of columns with a name."""
        for place, (column, cell) in enumerate(zip(self.columns, row, strict=True)):
            if place not in self.nameless:
                yield column, cell
            elif cell:
                note = f"a table whose column {column} has no name ({path})"
                if note not in stats.notes:
                    stats.note(note)
                yield column, cell


def _read_header(
    sample: list[NumberedRow], path: str, stats: ReadStats, text_column: str | None
) -> _Header:
    rows = [(line, row) for line, row in sample if not isinstance(row, ReadError)]
    if not rows:
        return _Header([])
    line, first = rows[0]
    below = [row for _, row in rows[1:]]
    refuse_single_quotes(first, below, f"{path}:{line}")
    if not has_names(first, below, text_column):
        return _Header([str(number) for number in range(1, len(first) + 1)])
    if is_in_doubt(first, below, text_column):
        stats.note(
            f"a table whose line {line} is taken for the names of its columns, not for a row:"
            f" {', '.join(first)[:100]} ({path})"
        )
    nameless = frozenset(place for place, cell in enumerate(first) if not cell.strip())
    return _Header(column_names(first, f"{path}:{line}"), line, nameless)
