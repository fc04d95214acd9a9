"""Tables of comma- or tab-separated values, with or without a line of column names."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator

from nextword.text.columns import NAMES, is_number
from nextword.text.document import Bad, Document, Source, Tally, why
from nextword.text.readers.lines import read_lines
from nextword.text.readers.records import Found, documents

_DELIMITERS = ",\t;|"
_LINES = 20  # that the delimiter is told by
_FIELD = 2**24  # characters in one field
_NAME = re.compile(r"[^\W\d][\w.-]{0,40}(?<!\.)")
_PHRASE = re.compile(r"\w[\w /()%#&.:+-]{0,40}(?<![.:])")
_SHORTER = 3  # times as short as what stands below: then a phrase is a name


def read_delimited(
    source: Source, text_column: str | None, tally: Tally
) -> Iterator[Document | Bad]:
    """Each row's text column; a row with another number of fields than the first is bad."""
    yield from documents(delimited_records(source, tally, text_column), text_column, source.path)


def delimited_records(
    source: Source, tally: Tally, text_column: str | None = None
) -> Iterator[Found]:
    """Each row, by the names of its columns; without names these are "1", "2", …"""
    columns: list[str] = []
    rows = _rows(source, tally)
    first = list(itertools.islice(rows, _LINES))
    below = [row for _, row in first[1:] if isinstance(row, list)]
    for line, row in itertools.chain(first, rows):
        where = f"{source.path}:{line}"
        if isinstance(row, Bad):
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
            yield where, Bad(what, where, " | ".join(row)[:1000], "wrong number of fields")


def _rows(source: Source, tally: Tally) -> Iterator[tuple[int, list[str] | Bad]]:
    """(line number, fields) of each row; lines that cannot be decoded pass the parser by."""
    csv.field_size_limit(_FIELD)
    lines = read_lines(source, tally)
    first = list(itertools.islice(lines, _LINES))
    lines = itertools.chain(first, lines)
    fed: list[int] = []  # numbers of the lines of this row
    passed_by: list[tuple[int, list[str] | Bad]] = []

    def good_lines() -> Iterator[str]:
        for number, line in lines:
            if isinstance(line, Bad):
                passed_by.append((number, line))
            else:
                fed.append(number)
                yield line

    text = good_lines()
    if source.kind == "tsv":
        # There quotes are mostly characters like any other; a field between two is unquoted.
        reader = csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(
            text, delimiter=_delimiter([line for _, line in first if isinstance(line, str)])
        )
    while True:
        row: list[str] | Bad
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            row = Bad(f"is not a row of a table ({why(error)})", "", kind="not a row")
            row.source = f"{source.path}:{fed[0]}"
        yield from passed_by
        if row:
            if source.kind == "tsv" and not isinstance(row, Bad):
                row = [_unquoted(field) for field in row]
            yield fed[0], row
        fed.clear()
        passed_by.clear()
    yield from passed_by


def _delimiter(first: list[str]) -> str:
    """The one that cuts the first lines into as many fields each, else the first line's most
    frequent."""
    for delimiter in _DELIMITERS:
        try:
            rows = [row for row in csv.reader(first, delimiter=delimiter) if row]
        except csv.Error:
            continue
        if len(first) == _LINES:
            rows = rows[:-1]  # it may go on
        if len({len(row) for row in rows}) == 1 and len(rows[0]) > 1:
            return delimiter
    return max(_DELIMITERS, key="".join(first[:1]).count)


def _unquoted(field: str) -> str:
    if (
        len(field) >= 2
        and field[0] == field[-1] == '"'
        and '"' not in field[1:-1].replace('""', "")
    ):
        return field[1:-1].replace('""', '"')
    return field


def has_names(first: list[str], below: list[list[str]], text_column: str | None) -> bool:
    """Whether the first row names the columns: as texts are usually named, or by words that differ
    and do not come again below. Where some are more than a word, or begin with a digit, what stands
    below one of them has to be numbers or far longer. A column of row numbers may have no name.
    """
    cells = [cell.strip() for cell in first]
    if any(cell.lower() in NAMES or cell == text_column for cell in cells):
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
    return any(_is_named(*pair) for pair in zip(cells, columns, strict=True))


def _is_named(cell: str, below: list[str]) -> bool:
    known = [value for value in below if value]
    if not known or is_number(cell):
        return False
    length = sum(map(len, known)) / len(known)
    return all(map(is_number, known)) or length >= _SHORTER * len(cell)
