"""Plain text, whole or line by line.

A file is one document; a very long one comes in parts, cut between paragraphs. Read by lines, each
line is decoded on its own, so that a damaged one costs no other.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import BinaryIO

from nextword.errors import UserError
from nextword.text.compression import open_decompressed
from nextword.text.document import Document, Documents, ReadError, ReadStats, Source
from nextword.text.encoding import decode, decode_chunks, detect_encoding

MAX_DOCUMENT_CHARACTERS = 8_000_000  # a longer file comes in parts
MAX_LINE_BYTES = 2**26

_BLOCK = 2**23  # bytes read at once
_LINES_BLOCK = 2**20  # bytes that the encoding of lines is told from
_BREAKS = [  # where a long text is cut, the best first
    re.compile(r"\n[ \t\r]*\n"),
    re.compile(r"\n"),
    re.compile(r"[.!?。！？]\s?"),
    re.compile(r"\s"),
]
_ARCHIVES = {  # how files begin that hold text, but not as text
    b"PK\x03\x04": "a zip archive, or a document of an office program",
    b"BZh": "packed by bzip2",
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
        for mark, what in _ARCHIVES.items():
            if start.startswith(mark):
                raise UserError(f"is {what}", mend="unpack it, or save it as text, and name that")
        encoding = detect_encoding(start, whole=is_whole)
        if encoding != "utf-8":
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


def read_lines(source: Source, stats: ReadStats) -> Iterator[tuple[int, str | ReadError]]:
    """Yield (number, line) from number 1 on, with line ends; a damaged line is a ReadError.

    Raises UserError for an unknown encoding, and for a line longer than MAX_LINE_BYTES.
    """
    with open_decompressed(source.path, source.compression) as file:
        start = file.read(_LINES_BLOCK)
    encoding = detect_encoding(start, whole=len(start) < _LINES_BLOCK)
    if encoding != "utf-8":
        stats.note(encoding.upper())
    with open_decompressed(source.path, source.compression) as file:
        if encoding.startswith(("utf-16", "utf-32")):  # a line end is more than one byte there
            yield from enumerate(_wide_lines(file, encoding, source.path), 1)
            return
        offset = 0
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), 1):
            where = f"{source.path}:{number}"
            if len(line) == MAX_LINE_BYTES:
                raise UserError(f"is a line over {MAX_LINE_BYTES // 2**20} MiB", where=where)
            try:
                yield number, decode(line, encoding, offset)
            except UserError as error:
                content = line.decode(encoding, "backslashreplace")
                kind = f"not {encoding.upper()}"
                yield number, ReadError(error.what, where, content, kind, error.mend)
            offset += len(line)


def _wide_lines(file: BinaryIO, encoding: str, path: str) -> Iterator[str]:
    pending, number = "", 1
    for piece in decode_chunks(iter(lambda: file.read(_LINES_BLOCK), b""), encoding):
        *lines, pending = (pending + piece).split("\n")
        for line in lines:
            yield line + "\n"
        number += len(lines)
        if len(pending) > MAX_LINE_BYTES:
            what = f"is a line over {MAX_LINE_BYTES // 2**20} M characters"
            raise UserError(what, where=f"{path}:{number}")
    if pending:
        yield pending
