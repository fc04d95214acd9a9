"""Files as streams of bytes, decompressed on the way, with bounds against decompression bombs."""

from __future__ import annotations

import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from nextword.errors import UserError
from nextword.text.document import short_reason

SUFFIXES = {".gz": "gz", ".zst": "zst", ".xz": "xz"}
MAX_FILE_BYTES = 2**30  # of a format that has to be held in memory at once

_CHUNK = 2**18  # bytes decompressed at once
_ZST_CHUNK = 2**8  # compressed bytes at once: what they decompress to is not bounded
_UNCHECKED_BYTES = 2**26  # before the ratio is looked at
_MAX_RATIO = 250  # text compresses 3 to 20 times; beyond this it is a bomb
_DECODER_BYTES = 2**28  # of memory that a decoder itself may take


def open_decompressed(path: str | Path, compression: str | None = None) -> BinaryIO:
    """Return a stream of the decompressed bytes of a file.

    Raises UserError if it cannot be opened. Reading raises UserError for a damaged or truncated
    archive and for a decompression bomb.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed by whoever reads it)
    except OSError as error:
        raise UserError(f"cannot be opened ({error.strerror})", where=path) from None
    if compression is None:
        return file
    chunks = _bounded(_DECOMPRESSORS[compression](file), file, path, compression)
    return io.BufferedReader(_ChunkReader(chunks), _CHUNK)


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
    with file:
        try:
            for chunk in chunks:
                total += len(chunk)
                if total > _UNCHECKED_BYTES and total > _MAX_RATIO * max(file.tell(), 1):
                    raise UserError(
                        f"unpacks to over {_MAX_RATIO} times its size (a decompression bomb?)",
                        where=path,
                        mend="unpack it yourself if you trust it",
                    )
                yield chunk
        except UserError:
            raise
        except Exception as error:
            reason = short_reason(error)
            raise UserError(f"is not a whole .{kind} file ({reason})", where=path) from None


class _GzipDecompressor:
    """zlib with the interface of lzma's decompressor."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)

    def decompress(self, data: bytes, size: int) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, size)

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data


def _decompress(file: BinaryIO, new: Callable[[], Any]) -> Iterator[bytes]:
    """Decompress one stream after another, with zero padding allowed between them."""
    data = file.read(_CHUNK)
    while True:
        decoder = new()
        while not decoder.eof:
            chunk = decoder.decompress(data, _CHUNK)
            if chunk:
                yield chunk
            data = b""
            if decoder.needs_input and not decoder.eof:
                data = file.read(_CHUNK)
                if not data and not chunk:
                    raise EOFError("it ends too early")
        data = decoder.unused_data.lstrip(b"\0")
        while not data:
            block = file.read(_CHUNK)
            if not block:
                return
            data = block.lstrip(b"\0")


def _decompress_zst(file: BinaryIO) -> Iterator[bytes]:
    # By hand: the library's own reader takes a truncated file for a whole one.
    import zstandard

    context = zstandard.ZstdDecompressor(max_window_size=2**27)
    data = file.read(_ZST_CHUNK)
    while data:
        decoder = context.decompressobj()
        while not decoder.eof:
            if not data:
                raise EOFError("it ends too early")
            chunk = decoder.decompress(data)
            if chunk:
                yield chunk
            data = decoder.unused_data if decoder.eof else file.read(_ZST_CHUNK)
        data = data or file.read(_ZST_CHUNK)


_DECOMPRESSORS: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {
    "gz": lambda file: _decompress(file, _GzipDecompressor),
    "xz": lambda file: _decompress(file, lambda: lzma.LZMADecompressor(memlimit=_DECODER_BYTES)),
    "zst": _decompress_zst,
}
