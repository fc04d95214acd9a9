"""Files as streams of bytes, decompressed on the way, with bounds against decompression bombs."""

from __future__ import annotations

import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from nextword.addresses import is_address, open_address
from nextword.errors import UserError
from nextword.text.document import explaining

SUFFIXES = {".gz": "gz", ".zst": "zst", ".xz": "xz"}
MAX_FILE_BYTES = 2**30  # of a format that has to be held in memory at once

_BUFFER = 2**18  # decompressed bytes
_BLOCK = 2**8  # compressed bytes at once: what they decompress to is not bounded
_UNCHECKED_BYTES = 2**26  # before the ratio is looked at
_MAX_RATIO = 250  # text compresses 3 to 20 times; beyond this it is a bomb
_DECODER_BYTES = 2**28  # of memory that a decoder itself may take


def open_decompressed(path: str | Path, compression: str | None = None) -> BinaryIO:
    """Return a stream of the decompressed bytes of a file.

    Raises UserError if it cannot be opened. Reading raises UserError for a damaged or truncated
    archive and for a decompression bomb.
    """
    if is_address(path):
        file = open_address(str(path))
    else:
        try:
            file = open(path, "rb")  # noqa: SIM115 (closed by whoever reads it)
        except OSError as error:
            raise UserError(f"cannot be opened ({error.strerror})", where=path) from None
    if compression is None:
        return file
    chunks = _bounded(_DECOMPRESSORS[compression](file), file, path, compression)
    return io.BufferedReader(_ChunkReader(chunks), _BUFFER)


def read_file(
    path: str | Path, compression: str | None = None, limit: int = MAX_FILE_BYTES
) -> bytes:
    """Return all of a file whose format cannot be streamed.

    Raises UserError beyond `limit` bytes, and as `open_decompressed` does.
    """
    with open_decompressed(path, compression) as file:
        try:
            content = file.read(limit + 1)
        except OSError as error:
            raise UserError(f"cannot be read ({error.strerror})", where=path) from None
    if len(content) > limit:
        raise UserError(
            f"is larger than {limit / 2**20:,.0f} MiB, the most read of a file of this kind",
            where=path,
            mend="split it into smaller files",
        )
    return content


class _ChunkReader(io.RawIOBase):
    """A raw file over an iterator of bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._chunks.close()  # type: ignore[attr-defined]
        super().close()


def _bounded(
    chunks: Iterator[bytes], file: BinaryIO, path: str | Path, kind: str
) -> Iterator[bytes]:
    """Yield the chunks while they stay in proportion to what was read of the file."""
    total = 0
    with file, explaining(path, f"is not a whole .{kind} file ({{reason}})"):
        for chunk in chunks:
            total += len(chunk)
            if total > _UNCHECKED_BYTES and total > _MAX_RATIO * max(file.tell(), 1):
                raise UserError(
                    f"unpacks to over {_MAX_RATIO} times its size (a decompression bomb?)",
                    where=path,
                    mend="unpack it yourself if you trust it",
                )
            yield chunk


def _decompress(file: BinaryIO, new: Callable[[], Any]) -> Iterator[bytes]:
    """Decompress one stream after another, with zero padding allowed between them."""
    data = file.read(_BLOCK)
    while True:
        decoder = new()
        while not decoder.eof:
            if not data:
                raise EOFError("it ends too early")
            if chunk := decoder.decompress(data):
                yield chunk
            data = decoder.unused_data if decoder.eof else file.read(_BLOCK)
        while not (data := data.lstrip(b"\0")):
            data = file.read(_BLOCK)
            if not data:
                return


def _decompress_zst(file: BinaryIO) -> Iterator[bytes]:
    # By hand: the library's own reader takes a truncated file for a whole one.
    import zstandard

    context = zstandard.ZstdDecompressor(max_window_size=2**27)
    data = file.read(_BLOCK)
    while data:
        decoder = context.decompressobj()
        while not decoder.eof:
            if not data:
                raise EOFError("it ends too early")
            if chunk := decoder.decompress(data):
                yield chunk
            data = decoder.unused_data if decoder.eof else file.read(_BLOCK)
        data = data or file.read(_BLOCK)


_DECOMPRESSORS: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {
    "gz": lambda file: _decompress(file, lambda: zlib.decompressobj(wbits=31)),
    "xz": lambda file: _decompress(file, lambda: lzma.LZMADecompressor(memlimit=_DECODER_BYTES)),
    "zst": _decompress_zst,
}
