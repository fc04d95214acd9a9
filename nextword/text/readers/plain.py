"""Plain text, whole or line by line.

A file is one document; a very long one comes in parts, cut between paragraphs. Read by lines, each
line is decoded on its own, so that a damaged one costs no other.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import AnyStr, BinaryIO

from nextword.errors import UserError
from nextword.text.compression import open_decompressed
from nextword.text.document import Document, Documents, ReadError, ReadStats, Source
from nextword.text.encoding import decode, decode_chunks, detect_encoding

MAX_DOCUMENT_CHARACTERS = 8_000_000  # a longer file comes in parts
MAX_LINE_BYTES = 2**26

UTF8 = ("utf-8", "utf-8-sig")  # with a byte order mark, which changes nothing
_BLOCK = 2**23  # bytes read at once
_LINES_BLOCK = 2**20  # bytes that the encoding of lines is told from
_READ = 2**17  # bytes of lines read at once
_QUOTED = re.compile(r'"[^"]*"')
_BREAKS = [  # where a long text is cut, the best first
    re.compile(r"\n[ \t\r]*\n"),
    re.compile(r"\n"),
    re.compile(r"[.!?。！？]\s?"),
    re.compile(r"\s"),
]
_ARCHIVES = {  # how files begin that hold text, but not as text
    b"PK\x03\x04": "a zip archive, or a document of an office program",
    b"BZh": "packed by bzip2",
    b"\x1f\x8b\x08": "packed by gzip",
    b"\xfd7zXZ\0": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"%PDF-": "a PDF file",
    b"PAR1": "a Parquet file",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\xd0\xcf\x11\xe0": "a document of an office program",
    b"{\\rtf": "a document in rich text format",
}


def read_plain(source: Source, text_column: str | None, stats: ReadStats) -> Documents:
    """Yield a file as one document, or as parts of at most MAX_DOCUMENT_CHARACTERS.

    Raises UserError for an archive, an unknown encoding, and bytes that are damaged or NUL.
    """
    with open_decompressed(source.path, source.compression) as file:
        start = file.read(_BLOCK)
        if len(start) < _BLOCK:
            start += file.read(_BLOCK)  # a compressed stream may return less than it has
        is_whole = len(start) < _BLOCK
        refuse_other_files(start)
        encoding = detect_encoding(start, whole=is_whole)
        if encoding not in UTF8:
            stats.note(encoding.upper())
        if is_whole:
            text = decode(start, encoding)
            _refuse_nul(text, encoding, 0)
            yield Document(text, source.path)
            return
        offset = 0
        blocks = itertools.chain([start], iter(lambda: file.read(_BLOCK), b""))
        for part in _parts(decode_chunks(blocks, encoding)):
            _refuse_nul(part, encoding, offset)
            yield Document(part, source.path if offset == 0 else f"{source.path}:byte {offset}")
            offset += len(part.encode(encoding.removesuffix("-sig"), "surrogatepass"))


def refuse_other_files(start: bytes) -> None:
    """Raise UserError for content that begins as no text does, whatever the file is named."""
    for mark, what in _ARCHIVES.items():
        if start.startswith(mark):
            mend = "unpack it, or save it as text, and name that, or give it its own suffix"
            raise UserError(f"is {what}", mend=mend)


def _parts(pieces: Iterator[str]) -> Iterator[str]:
    """Join pieces into parts of at most MAX_DOCUMENT_CHARACTERS."""
    most, pending = MAX_DOCUMENT_CHARACTERS, ""
    for piece in pieces:
        pending += piece
        while len(pending) > most:
            cut = _last_break(pending, most - most // 8, most)
            yield pending[:cut]
            pending = pending[cut:]
    if pending:
        yield pending


def _last_break(text: str, low: int, high: int) -> int:
    """Return where to cut `text` in low..high: after a paragraph, else line, sentence or word."""
    window = text[low:high]
    for pattern in _BREAKS:
        ends = [match.end() for match in pattern.finditer(window)]
        if ends:
            return low + ends[-1]
    return high


def _refuse_nul(text: str, encoding: str, offset: int) -> None:
    place = text.find("\0")
    if place >= 0:
        offset += len(text[:place].encode(encoding, "surrogatepass"))
        raise UserError(
            f"holds a NUL at byte {offset}", mend="remove it, or pass --skip-bad to leave this out"
        )


@dataclass(slots=True)
class LineBlock:
    """Successive lines with their line ends, the `first` of them by its number in the file.

    Those in `errors`, by number, could not be decoded: their bytes are escaped in `lines`.
    """

    first: int
    lines: list[str]
    end: str  # of a line: "\n", or "\r" where a file has no other
    errors: dict[int, ReadError] = field(default_factory=dict)

    def error_within(self, start: int, stop: int) -> ReadError | None:
        """Return the first error in `lines[start:stop]`."""
        if not self.errors:
            return None
        numbers = range(self.first + start, self.first + stop)
        return next((self.errors[number] for number in numbers if number in self.errors), None)


def read_lines(source: Source, stats: ReadStats) -> Iterator[tuple[int, str | ReadError]]:
    """Yield (number, line) from number 1 on, with line ends; a damaged line is a ReadError.

    Raises UserError for an unknown encoding, and for a line longer than MAX_LINE_BYTES.
    """
    for block in read_line_blocks(source, stats):
        for number, line in enumerate(block.lines, block.first):
            yield number, block.errors.get(number, line) if block.errors else line


def read_line_blocks(source: Source, stats: ReadStats) -> Iterator[LineBlock]:
    """Yield the lines of `read_lines` many at once, which is faster."""
    with open_decompressed(source.path, source.compression) as file:
        start = file.read(_LINES_BLOCK)
    refuse_other_files(start)
    encoding = detect_encoding(start, whole=len(start) < _LINES_BLOCK)
    if encoding not in UTF8:
        stats.note(encoding.upper())
    with open_decompressed(source.path, source.compression) as file:
        if encoding.startswith(("utf-16", "utf-32")):  # a line end is more than one byte there
            pieces = decode_chunks(iter(lambda: file.read(_READ), b""), encoding)
            yield from _blocks_of_text(pieces, source.path)
        else:
            end = _line_end(start.decode("latin-1"))
            yield from _decoded_blocks(file, encoding, end, source.path)


def _line_end(start: str) -> str:
    """Return what ends the lines of a file that begins like this; what is quoted may hold both."""
    if "\r" in start.replace("\r\n", ""):
        unquoted = _QUOTED.sub("", start)
        if "\r" in unquoted and "\n" not in unquoted:
            return "\r"
    return "\n"


def _blocks_of_text(pieces: Iterator[str], path: str) -> Iterator[LineBlock]:
    beginning = next(pieces, "")
    end, first = _line_end(beginning), 1
    for text in _cut_after(end, itertools.chain([beginning], pieces), path):
        block = LineBlock(first, split_lines(text, end), end)
        yield block
        first += len(block.lines)


def _decoded_blocks(file: BinaryIO, encoding: str, end: str, path: str) -> Iterator[LineBlock]:
    """Decode many lines at once, and one by one where one of them is damaged."""
    first, offset = 1, 0
    for content in _cut_after(end.encode(), iter(lambda: file.read(_READ), b""), path):
        block = LineBlock(first, [], end)
        try:
            text = decode(content, encoding, offset)
        except UserError:
            _decode_each(content, encoding, offset, block, path)
        else:
            if encoding == "utf-8-sig":  # files that were joined
                text = text.replace(f"{end}\ufeff", end)
            block.lines = split_lines(text, end)
        yield block
        first += len(block.lines)
        offset += len(content)


def _decode_each(content: bytes, encoding: str, offset: int, block: LineBlock, path: str) -> None:
    for number, line in enumerate(split_lines(content, block.end.encode()), block.first):
        try:
            block.lines.append(decode(line, encoding, offset))
        except UserError as error:
            escaped = line.decode(encoding, "backslashreplace")
            block.lines.append(escaped)
            block.errors[number] = ReadError(
                error.what, f"{path}:{number}", escaped, f"not {encoding.upper()}", error.mend
            )
        offset += len(line)


def _cut_after(end: AnyStr, pieces: Iterator[AnyStr], path: str) -> Iterator[AnyStr]:
    """Yield content in parts that each end with a line, but for the last."""
    pending: list[AnyStr] = []
    size, number = 0, 1
    for piece in pieces:
        cut = piece.rfind(end) + 1
        if cut:
            pending.append(piece[:cut])
            part = end[:0].join(pending)
            yield part
            number += part.count(end)
            pending, size = [], 0
        pending.append(piece[cut:])
        size += len(piece) - cut
        if size > MAX_LINE_BYTES:
            what = f"is a line over {MAX_LINE_BYTES // 2**20} MiB"
            raise UserError(what, where=f"{path}:{number}")
    if rest := end[:0].join(pending):
        yield rest


def split_lines(content: AnyStr, end: AnyStr) -> list[AnyStr]:
    """Return the lines of `content` with their line ends."""
    parts: list[AnyStr] = content.split(end)
    rest = parts.pop()
    lines: list[AnyStr] = [part + end for part in parts]
    if rest:
        lines.append(rest)
    return lines
