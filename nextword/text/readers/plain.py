"""Plain text: a file is one document; a very long one comes in parts, cut between paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from nextword.errors import UserError
from nextword.text.compression import open_stream
from nextword.text.document import Bad, Document, Source, Tally
from nextword.text.encoding import decode, decode_pieces, detect
from nextword.text.limits import PART

_BLOCK = 2**23  # bytes read at once
_CUTS = [
    re.compile(r"\n[ \t\r]*\n"),
    re.compile(r"\n"),
    re.compile(r"[.!?。！？]\s?"),
    re.compile(r"\s"),
]


def read_plain(source: Source, text_column: str | None, tally: Tally) -> Iterator[Document | Bad]:
    with open_stream(source.path, source.compression) as file:
        start = file.read(_BLOCK)
        if len(start) < _BLOCK:
            start += file.read(_BLOCK)  # a compressed stream may give less than was asked
        whole = len(start) < _BLOCK
        _refuse_archive(start)
        encoding = detect(start, whole=whole)
        if encoding != "utf-8":
            tally.note(encoding.upper())
        if whole:
            text = decode(start, encoding)
            _refuse_nul(text, encoding, 0)
            yield Document(text, source.path)
            return
        offset = 0
        for part in _parts(decode_pieces(_blocks(start, file), encoding)):
            _refuse_nul(part, encoding, offset)
            yield Document(part, source.path if offset == 0 else f"{source.path}:byte {offset}")
            offset += len(part.encode(encoding.removesuffix("-sig"), "surrogatepass"))


def _blocks(start: bytes, file: BinaryIO) -> Iterator[bytes]:
    yield start
    while block := file.read(_BLOCK):
        yield block


def _parts(pieces: Iterator[str]) -> Iterator[str]:
    """Join pieces into parts of at most PART characters."""
    held = ""
    for piece in pieces:
        held += piece
        while len(held) > PART:
            cut = last_break(held, PART - PART // 8, PART)
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def last_break(text: str, low: int, high: int) -> int:
    """Where to cut `text` in low..high: after a paragraph, else a line, a sentence or a word."""
    window = text[low:high]
    for pattern in _CUTS:
        end = 0
        for match in pattern.finditer(window):
            end = match.end()
        if end:
            return low + end
    return high


def _refuse_nul(text: str, encoding: str, offset: int) -> None:
    place = text.find("\0")
    if place >= 0:
        offset += len(text[:place].encode(encoding, "surrogatepass"))
        raise UserError(
            f"holds a NUL at byte {offset}", mend="remove it, or pass --skip-bad to leave this out"
        )


_ARCHIVES = {  # how files begin that hold text, but not as text
    b"PK\x03\x04": "a zip archive, or a document of an office program",
    b"BZh": "packed by bzip2",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\xd0\xcf\x11\xe0": "a document of an office program",
    b"{\\rtf": "a document in rich text format",
}


def _refuse_archive(start: bytes) -> None:
    for mark, what in _ARCHIVES.items():
        if start.startswith(mark):
            raise UserError(f"is {what}", mend="unpack it, or save it as text, and name that")
