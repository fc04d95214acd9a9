"""JSON and JSON lines: records with their text in one field, in lists however nested."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from nextword.errors import UserError
from nextword.text.compression import MAX_FILE_BYTES, open_decompressed
from nextword.text.document import Documents, ReadError, ReadStats, Records, Source
from nextword.text.encoding import decode_chunks, detect_encoding
from nextword.text.readers.plain import read_lines, refuse_other_files
from nextword.text.record_text import records_to_documents

_BLOCK = 2**20  # bytes read at once
_MAX_VALUE = MAX_FILE_BYTES // 4  # characters
_MAX_DEPTH = 100  # of lists and objects that are searched for records
_NOT_SPACE = re.compile(r"[^ \t\r\n]")


def read_jsonl(source: Source, text_column: str | None, stats: ReadStats) -> Documents:
    """Yield the text of each line's record."""
    return records_to_documents(jsonl_records(source, stats), text_column, source, stats)


def jsonl_records(source: Source, stats: ReadStats) -> Records:
    """Yield the value of each line, or a ReadError where it is not JSON."""
    for number, line in read_lines(source, stats):
        where = f"{source.path}:{number}"
        if isinstance(line, ReadError):
            yield where, line
        elif line.strip():
            try:
                value = json.loads(line, object_pairs_hook=_object)
            except (ValueError, RecursionError) as error:
                what = f"is not valid JSON ({_reason(error)})"
                value = ReadError(what, where, line, "not JSON")
            yield where, value


def read_json(source: Source, text_column: str | None, stats: ReadStats) -> Documents:
    """Yield the text of each record in a file. Raises UserError where it is not valid JSON."""
    yield from records_to_documents(json_records(source, stats), text_column, source, stats)


def json_records(source: Source, stats: ReadStats) -> Records:
    """Yield the elements of the list that a file holds, or the values that follow one another.

    Raises UserError where it is not valid JSON.
    """
    with open_decompressed(source.path, source.compression) as file:
        start = file.read(_BLOCK)
        refuse_other_files(start)
        encoding = detect_encoding(start, whole=len(start) < _BLOCK)
        blocks = itertools.chain([start], iter(lambda: file.read(_BLOCK), b""))
        values = _top_level_values(decode_chunks(blocks, encoding), source.path)
        records = _table_rows(values)
        for number, value in enumerate(records, start=1):
            yield f"{source.path}:record {number}", value


def _table_rows(values: Iterator[Any]) -> Iterator[Any]:
    """Yield the values; in place of a single one that is a table, its rows."""
    first = list(itertools.islice(values, 1))
    rows = _rows(first[0]) if first else None
    if rows is not None:
        first += itertools.islice(values, 1)
        if len(first) == 1:
            first = rows
    yield from itertools.chain(first, values)


def _rows(value: Any) -> list[dict[str, Any]] | None:
    """Return the rows of a table that pandas wrote column by column (its `to_json` does, unless it
    is told otherwise) or as columns and data; None for any other value."""
    if not isinstance(value, dict) or not value:
        return None
    if value.keys() <= {"columns", "index", "data"} and len(value) > 1:
        columns, data = value.get("columns"), value.get("data")
        if not isinstance(columns, list) or not isinstance(data, list):
            return None
        if not all(isinstance(row, list) and len(row) == len(columns) for row in data):
            return None
        return [dict(zip(map(str, columns), row, strict=True)) for row in data]
    columns = list(value.values())
    if not all(isinstance(column, dict) and column for column in columns):
        return None
    index = list(columns[0])
    is_table = all(name.isdecimal() for name in index) and all(
        list(column) == index and not any(isinstance(cell, dict) for cell in column.values())
        for column in columns
    )
    if not is_table:
        return None
    return [{name: column[row] for name, column in value.items()} for row in index]


def _top_level_values(pieces: Iterator[str], path: str) -> Iterator[Any]:
    """Yield the elements of a JSON list one by one, in constant memory; other values, of which
    several may follow one another as in JSON lines, each as a whole."""
    parser = _StreamParser(pieces, path)
    if parser.peek() != "[":
        yield parser.value()
        while parser.peek():
            yield parser.value()
        return
    parser.skip()
    if parser.peek() == "]":
        parser.skip()
    else:
        while True:
            yield parser.value()
            mark = parser.peek()
            parser.skip()
            if mark == "]":
                break
            if mark != ",":
                raise parser.error("expected ',' or ']'")
    if parser.peek():
        raise parser.error("something follows the end")


class _StreamParser:
    """JSON values out of text that comes in pieces."""

    def __init__(self, pieces: Iterator[str], path: str) -> None:
        self._pieces, self._path = pieces, path
        self._text, self._at, self._line = next(pieces, ""), 0, 1
        self._decode = json.JSONDecoder(object_pairs_hook=_object).raw_decode

    def peek(self) -> str:
        """Return the next character that is not a space; "" at the end."""
        while True:
            match = _NOT_SPACE.search(self._text, self._at)
            if match:
                self._at = match.start()
                return match.group()
            self._at = len(self._text)
            if not self._more():
                return ""

    def skip(self) -> None:
        """Pass over the character that `peek` returned."""
        self._at += 1

    def value(self) -> Any:
        """Return the next value. Raises UserError naming the line where it is not valid."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut_off = error.pos > len(self._text) - 16 or error.msg.startswith("Unterminated")
                if not cut_off or not self._more():
                    self._at = min(error.pos, len(self._text))
                    raise self.error(error.msg) from None
            except (ValueError, RecursionError) as error:
                raise self.error(_reason(error)) from None
            else:
                if end < len(self._text) or not self._more():  # a number may go on
                    self._at = end
                    return value

    def _more(self) -> bool:
        """Drop what was parsed and at least double what is held; return False at the end."""
        rest = self._text[self._at :]
        if len(rest) > _MAX_VALUE:
            raise self.error(f"a value is longer than {_MAX_VALUE} characters")
        added = ""
        for piece in self._pieces:
            added += piece
            if len(added) > len(rest):
                break
        if not added:
            return False
        self._line += self._text.count("\n", 0, self._at)
        self._text, self._at = rest + added, 0
        return True

    def error(self, what: str) -> UserError:
        """Return the error that names this line."""
        line = self._line + self._text.count("\n", 0, self._at)
        what = what[:1].lower() + what[1:]
        return UserError(f"is not valid JSON ({what})", where=f"{self._path}:{line}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's values by their keys. Raises ValueError for a key that stands twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in an object")
    return values


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[:1].lower() + error.msg[1:]} at column {error.pos + 1}"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return str(error).split(";")[0]
