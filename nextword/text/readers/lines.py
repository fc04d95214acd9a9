"""The lines of a file, each decoded on its own so that a damaged one costs no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from nextword.errors import UserError
from nextword.text.compression import open_stream
from nextword.text.document import Bad, Source, Tally
from nextword.text.encoding import decode, decode_pieces, detect
from nextword.text.limits import RECORD

_START = 2**20  # bytes that the encoding is told from


def read_lines(source: Source, tally: Tally) -> Iterator[tuple[int, str | Bad]]:
    """Line numbers from 1 and lines with their ends."""
    with open_stream(source.path, source.compression) as file:
        start = file.read(_START)
    encoding = detect(start, whole=len(start) < _START)
    if encoding != "utf-8":
        tally.note(encoding.upper())
    with open_stream(source.path, source.compression) as file:
        if encoding.startswith(("utf-16", "utf-32")):  # a line end is more than one byte there
            yield from enumerate(_wide_lines(file, encoding, source.path), 1)
            return
        offset = 0
        for number, line in enumerate(iter(lambda: file.readline(RECORD), b""), 1):
            where = f"{source.path}:{number}"
            if len(line) == RECORD:
                raise UserError(f"is a line over {RECORD // 2**20} MiB", where=where)
            try:
                yield number, decode(line, encoding, offset)
            except UserError as error:
                content = line.decode(encoding, "backslashreplace")
                yield number, Bad(error.what, where, content, f"not {encoding.upper()}", error.mend)
            offset += len(line)


def _wide_lines(file: BinaryIO, encoding: str, path: str) -> Iterator[str]:
    held = ""
    number = 1
    for piece in decode_pieces(iter(lambda: file.read(_START), b""), encoding):
        *lines, held = (held + piece).split("\n")
        for line in lines:
            yield line + "\n"
        number += len(lines)
        if len(held) > RECORD:
            where = f"{path}:{number}"
            raise UserError(f"is a line over {RECORD // 2**20} M characters", where=where)
    if held:
        yield held
