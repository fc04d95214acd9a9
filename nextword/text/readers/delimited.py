"""Comma- and tab-separated values, with or without column names, and CoNLL's columns.

In CoNLL's format a line holds a word and its tags; empty lines separate sentences.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator
from typing import Any

from nextword.text.columns import TEXT_COLUMNS, is_number
from nextword.text.document import Documents, ReadError, ReadStats, Records, Source, short_reason
from nextword.text.readers.plain import read_lines
from nextword.text.record_text import records_to_documents

_DELIMITERS = ",\t;|"
_SAMPLED_LINES = 20  # that the delimiter and the column names are told by
_FIELD = 2**24  # characters in one field
_NAME = re.compile(r"[^\W\d][\w.-]{0,40}(?<!\.)")
_PHRASE = re.compile(r"\w[\w /()%#&.:+-]{0,40}(?<![.:])")
_SHORTER = 3  # times as short as what stands below: then a phrase is a name
_DOCUMENT_START = "-DOCSTART-"  # CoNLL-2003's


def read_delimited(source: Source, text_column: str | None, stats: ReadStats) -> Documents:
    """Yield the text of each row; one with another number of fields than the first is an error."""
    records = delimited_records(source, stats, text_column)
    yield from records_to_documents(records, text_column, source, stats)


def delimited_records(source: Source, stats: ReadStats, text_column: str | None = None) -> Records:
    """Yield each row by the names of its columns; without names these are "1", "2", …"""
    columns: list[str] = []
    rows = iter(_RowReader(source, stats))
    sample = list(itertools.islice(rows, _SAMPLED_LINES))
    below = [row for _, row in sample[1:] if isinstance(row, list)]
    for line, row in itertools.chain(sample, rows):
        where = f"{source.path}:{line}"
        if isinstance(row, ReadError):
            yield where, row
            continue
        if not columns:
            if has_names(row, below, text_column):
                columns = [name.strip() or str(n) for n, name in enumerate(row, start=1)]
                continue
            columns = [str(number) for number in range(1, len(row) + 1)]
        if len(row) == len(columns):
            yield where, dict(zip(columns, row, strict=True))
        else:
            what = f"has {len(row)} fields, expected {len(columns)}"
            yield where, ReadError(what, where, " | ".join(row)[:1000], "wrong number of fields")


class _RowReader:
    """Rows of a table, each with the number of its first line.

    Lines that cannot be decoded bypass the parser of the table.
    """

    def __init__(self, source: Source, stats: ReadStats) -> None:
        csv.field_size_limit(_FIELD)
        self._source = source
        lines = read_lines(source, stats)
        sample = list(itertools.islice(lines, _SAMPLED_LINES))
        self._lines = itertools.chain(sample, lines)
        self._row_lines: list[int] = []  # numbers of the lines of this row
        self._errors: list[tuple[int, ReadError]] = []  # of lines within or before this row
        if source.kind == "tsv":
            # There quotes are mostly characters like any other; a field between two is unquoted.
            self._rows = csv.reader(self._text(), delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            delimiter = _delimiter([line for _, line in sample if isinstance(line, str)])
            self._rows = csv.reader(self._text(), delimiter=delimiter)

    def _text(self) -> Iterator[str]:
        for number, line in self._lines:
            if isinstance(line, ReadError):
                self._errors.append((number, line))
            else:
                self._row_lines.append(number)
                yield line

    def __iter__(self) -> Iterator[tuple[int, list[str] | ReadError]]:
        while True:
            row: list[str] | ReadError
            try:
                row = next(self._rows)
            except StopIteration:
                break
            except csv.Error as error:
                what = f"is not a row of a table ({short_reason(error)})"
                where = f"{self._source.path}:{self._row_lines[0]}"
                row = ReadError(what, where, kind="not a row")
            yield from self._errors
            if row:
                if self._source.kind == "tsv" and isinstance(row, list):
                    row = [_unquote(field) for field in row]
                yield self._row_lines[0], row
            self._row_lines.clear()
            self._errors.clear()
        yield from self._errors


def _delimiter(lines: list[str]) -> str:
    """Return the delimiter that cuts the lines into equally many fields, else the first line's
    most frequent one."""
    for delimiter in _DELIMITERS:
        try:
            rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error:
            continue
        if len(lines) == _SAMPLED_LINES:
            rows = rows[:-1]  # it may go on
        if len({len(row) for row in rows}) == 1 and len(rows[0]) > 1:
            return delimiter
    return max(_DELIMITERS, key="".join(lines[:1]).count)


def _unquote(field: str) -> str:
    if len(field) >= 2 and field[0] == field[-1] == '"':
        inside = field[1:-1]
        if '"' not in inside.replace('""', ""):
            return inside.replace('""', '"')
    return field


def has_names(first: list[str], below: list[list[str]], text_column: str | None) -> bool:
    """Return whether the first row names the columns.

    It does if it has a usual name of a text column, or words that differ and do not come again
    `below`. Where some are more than a word, or begin with a digit, what stands below one of them
    has to be numbers or far longer. A column of row numbers may have no name.
    """
    cells = [cell.strip() for cell in first]
    if any(cell.lower() in TEXT_COLUMNS or cell == text_column for cell in cells):
        return True
    if len(cells) > 1 and not cells[0]:
        cells, below = cells[1:], [row[1:] for row in below]
    columns = [[row[n].strip() for row in below if n < len(row)] for n in range(len(cells))]
    if not cells or len(set(cells)) < len(cells) or not all(map(_PHRASE.fullmatch, cells)):
        return False
    if any(cell in column for cell, column in zip(cells, columns, strict=True)):
        return False
    if all(map(_NAME.fullmatch, cells)):
        return True
    return any(_is_name(cell, column) for cell, column in zip(cells, columns, strict=True))


def _is_name(cell: str, below: list[str]) -> bool:
    values = [value for value in below if value]
    if not values or is_number(cell):
        return False
    length = sum(map(len, values)) / len(values)
    return all(map(is_number, values)) or length >= _SHORTER * len(cell)


def conll_records(source: Source, stats: ReadStats) -> Records:
    """Yield each sentence: "tokens" is the first column, "tags" the last, those between "2", "3" …

    A line with fewer or more columns than the first is a ReadError and ends the file.
    """
    rows: list[list[str]] = []
    first_line, width = 0, 0
    for number, line in read_lines(source, stats):
        where = f"{source.path}:{number}"
        if isinstance(line, ReadError):
            yield where, line
            return
        columns = line.split("\t") if "\t" in line.strip() else line.split()
        columns = [column.strip() for column in columns]
        if line.startswith("#") and len(columns) != width:  # a comment
            continue
        if not line.strip() or columns[0] == _DOCUMENT_START:
            if rows:
                yield f"{source.path}:{first_line}", _sentence(rows)
            rows = []
            continue
        width = width or len(columns)
        if len(columns) != width or not all(columns):
            filled = sum(map(bool, columns))
            what = f"has {filled} columns, the lines before it {width}"
            mend = "give every word its tag, and an empty line between sentences"
            yield where, ReadError(what, where, line, "columns", mend)
            return
        first_line = first_line if rows else number
        rows.append(columns)
    if rows:
        yield f"{source.path}:{first_line}", _sentence(rows)


def _sentence(rows: list[list[str]]) -> dict[str, Any]:
    tokens, *others = (list(column) for column in zip(*rows, strict=True))
    numbered = {str(number): column for number, column in enumerate(others[:-1], start=2)}
    return {"tokens": tokens} | numbered | ({"tags": others[-1]} if others else {})
