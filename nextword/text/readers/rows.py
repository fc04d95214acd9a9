"""What readers of tables have in common: rows are cut from blocks of lines, and may go on from one
block into the next; the first lines tell what separates the fields; quotes may stand around them.
"""

from __future__ import annotations

import csv
import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nextword.text.document import ReadError, ReadStats, Source
from nextword.text.readers.plain import LineBlock, read_line_blocks

Row = list[str]
NumberedRow = tuple[int, Row | ReadError]  # with the number of its first line
FIELD_CHARACTERS = 2**24  # in one field
CLOSE = 'close it, or write a quote that is text twice ("")'
LINE_END_INSIDE = "has a line end inside a field that is not between quotes"
DELIMITERS = ",\t;|"
_SAMPLED_LINES = 20  # that tell the delimiter
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.I)  # Excel's
_UNLIKE_DELIMITERS = re.compile(r"(?<=\d)[,;](?=\d)|[,;](?=[ \t])")  # in a number or in prose


class Rows(ABC):
    """The rows of a source, each with the number of its first line; what is none is a ReadError."""

    def __init__(self, source: Source, stats: ReadStats) -> None:
        csv.field_size_limit(FIELD_CHARACTERS)
        self._path = source.path
        blocks = read_line_blocks(source, stats)
        first = next(blocks, LineBlock(1, [], "\n"))
        self._declared = separator_line("".join(first.lines[:1]))
        if self._declared:
            first = LineBlock(2, first.lines[1:], first.end, first.errors)
        self._first = first
        self._blocks = itertools.chain([first], blocks)
        self._is_last = False  # the block that is read

    def __iter__(self) -> Iterator[NumberedRow]:
        rest = LineBlock(0, [], "\n")
        while (block := self._next_block(rest)) is not None:
            begun = yield from self._read(block)
            rest = LineBlock(block.first + begun, block.lines[begun:], block.end, block.errors)

    @abstractmethod
    def _read(self, block: LineBlock) -> Generator[NumberedRow, None, int]:
        """Yield the rows of a block; return which of its lines begins one that may go on."""

    def _next_block(self, rest: LineBlock) -> LineBlock | None:
        """Return the rest of a block, where a row is not complete, with at least as much again."""
        lines, errors, pending = rest.lines, rest.errors, len(rest.lines)
        while len(lines) <= 2 * pending:
            block = next(self._blocks, None)
            if block is None:
                self._is_last = True
                break
            rest = rest if lines else block
            lines, errors = lines + block.lines, errors | block.errors
        return LineBlock(rest.first, lines, rest.end, errors) if lines else None

    def _error(self, number: int, what: str, content: str, mend: str = CLOSE) -> ReadError:
        return ReadError(what, f"{self._path}:{number}", content[:1000], "quotes", mend)


def strict_reader(lines: Sequence[str], at: int, delimiter: str) -> Any:
    """Return a reader of the rows from line `at` on, which raises csv.Error for stray quotes."""
    wanted = map(lines.__getitem__, range(at, len(lines))) if at else lines
    return csv.reader(wanted, delimiter=delimiter, strict=True)


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


@dataclass(frozen=True, slots=True)
class QuoteDamage:
    """A quote at `opened` that never closes, or that closes at `closed` with text after it."""

    opened: int
    closed: int | None = None


def tidy_quotes(text: str, delimiter: str, *, open_too: bool) -> tuple[str, QuoteDamage | None]:
    """Return a row without the spaces around its quoted fields, and its first damage.

    With `open_too`, spaces before a quote that does not close in `text` go as well.
    """
    quoted = re.compile(rf'( *)("(?:[^"]++|"")*+")( *)(?=[{re.escape(delimiter)}\r\n]|\Z)')
    plain = re.compile(rf"[^{re.escape(delimiter)}\r\n]*")
    tidy: list[str] = []
    at = 0
    while at < len(text):
        if field := quoted.match(text, at):
            tidy.append(field[2])
        elif text[at] == '"':
            closing = re.compile('"(?:[^"]++|"")*+"').match(text, at)
            opened = sum(map(len, tidy))
            tidy.append(text[at:])
            return "".join(tidy), QuoteDamage(opened, closing and opened + len(closing[0]) - 1)
        elif open_too and (spaces := re.compile(r" +(?=\")").match(text, at)):
            at = spaces.end()
            continue
        else:
            field = plain.match(text, at)
            assert field is not None
            tidy.append(field[0])
        at = field.end()
        tidy.append(text[at : at + 1])
        at += 1
    return "".join(tidy), None
