"""What readers of tables have in common: rows are cut from blocks of lines, and may go on from one
block into the next."""

from __future__ import annotations

import csv
import itertools
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from nextword.text.document import ReadError, ReadStats, Source
from nextword.text.readers.dialect import separator_line
from nextword.text.readers.plain import LineBlock, read_line_blocks

Row = list[str]
NumberedRow = tuple[int, Row | ReadError]  # with the number of its first line
FIELD_CHARACTERS = 2**24  # in one field
CLOSE = 'close it, or write a quote that is text twice ("")'
LINE_END_INSIDE = "has a line end inside a field that is not between quotes"


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
