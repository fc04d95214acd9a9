"""Comma- and tab-separated values as records, with or without a line that names the columns."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nextword.errors import UserError
from nextword.text.columns import TEXT_COLUMNS, is_number
from nextword.text.document import Documents, ReadError, ReadStats, Records, Source
from nextword.text.readers.csv_rows import CsvRows
from nextword.text.readers.rows import NumberedRow, Row
from nextword.text.readers.tsv_rows import TsvRows
from nextword.text.record_text import records_to_documents

_SAMPLED_ROWS = 20  # that tell whether the first one names the columns
_NAME = re.compile(r"[^\W\d][\w.-]{0,40}(?<!\.)")
_PHRASE = re.compile(r"[\w#][\w /()%#&.:+-]{0,40}(?<![.:])")
_SHORTER = 3  # times as short as what stands below: then a phrase is a name
_PARTS = re.compile(r"[^\W\d_]+")
_MADE = re.compile(r"[a-z]{2}|.*[_\d].*|[a-z]+[A-Z].*")  # "de", "v1", "toText" are no text
_USUAL_NAMES = """
    answer answers author category chosen class comment date dataset emotion entities
    explanation first gold headline hypothesis id idx index input instruction intent
    label labels lang language length message meta name ner note number output pair
    phrase pos premise prompt query question rating reference rejected response score
    second sent sentiment sentences source speaker split src stars status subject tag
    tags target tgt theme time title tokens topic translation tweet type url user
    utterance value verdict version word words english french german chinese japanese
    spanish russian italian 文本 标签 类别 内容 标题 正文 评论 句子 问题 答案 回答 原文
    译文 摘要 情感 作者 中文 英文 编号
"""
_USUAL = {*TEXT_COLUMNS, *_USUAL_NAMES.split()}


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


def has_names(first: list[str], below: list[list[str]], text_column: str | None) -> bool:
    """Return whether the first row names the columns.

    It does if it has a usual name of a text column, or words that do not come again `below`. Where
    some are more than a word, or begin with a digit, two have to be usual names, or what stands
    below one of them numbers or far longer. A column of row numbers may have no name, nor may
    others beside two that have one.
    """
    cells = [cell.strip() for cell in first]
    if any(cell.lower() in TEXT_COLUMNS or cell == text_column for cell in cells):
        return True
    columns = _named_columns(cells, below)
    names = [name for name, _ in columns]
    if "" in cells[1:] and len(names) < 2:
        return False
    if not names or len(set(names)) < min(len(names), 2) or not all(map(_PHRASE.fullmatch, names)):
        return False
    if any(name in values for name, values in columns):
        return False
    if all(map(_NAME.fullmatch, names)) or sum(name.lower() in _USUAL for name in names) > 1:
        return True
    return any(_is_name(*column) for column in columns)


def is_in_doubt(first: list[str], below: list[list[str]], text_column: str | None) -> bool:
    """Return whether a row that is taken for names might be the first row of a table without."""
    columns = _named_columns([cell.strip() for cell in first], below)
    return not any(
        name == text_column
        or _MADE.fullmatch(name)
        or _USUAL & {part.lower() for part in [name, *_PARTS.findall(name)]}
        or (any(values) and not is_number(name) and all(map(is_number, filter(None, values))))
        for name, values in columns
    )


def column_names(first: list[str], where: str) -> list[str]:
    """Return the names in a row; a column without one has its number.

    Raises UserError for a name that stands twice.
    """
    names = [cell.strip() or str(number) for number, cell in enumerate(first, start=1)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(
            f"{twice!r} stands twice among the names of the columns",
            where=where,
            mend="give each column a name of its own",
        )
    return names


def refuse_single_quotes(first: list[str], below: list[list[str]], where: str) -> None:
    """Raise UserError for a table whose fields stand between single quotes."""
    cells = [cell.strip() for row in (first, *below[:1]) for cell in row]
    if all(len(cell) > 1 and cell[0] == cell[-1] == "'" for cell in cells):
        raise UserError(
            f"its fields stand between single quotes: {cells[0][:80]}",
            where=where,
            mend='write double quotes ("), or none, around all fields',
        )


def _named_columns(cells: Sequence[str], below: list[list[str]]) -> list[tuple[str, list[str]]]:
    """Return the cells that are not empty, each with what stands below it."""
    return [
        (cell, [row[place].strip() for row in below if place < len(row)])
        for place, cell in enumerate(cells)
        if cell
    ]


def _is_name(cell: str, below: list[str]) -> bool:
    values = [value for value in below if value]
    if not values or is_number(cell):
        return False
    length = sum(map(len, values)) / len(values)
    return all(map(is_number, values)) or length >= _SHORTER * len(cell)
