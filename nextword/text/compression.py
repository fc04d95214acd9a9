"""Files as streams of bytes, unpacked on the way when compressed, never more than promised."""

from __future__ import annotations

import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from nextword.errors import UserError
from nextword.text.document import why
from nextword.text.limits import WHOLE_FILE

SUFFIXES = {".gz": "gz", ".zst": "zst", ".xz": "xz"}

_PIECE = 2**18  # bytes unpacked at once
_FREE = 2**26  # bytes before the ratio is looked at
_RATIO = 250  # text packs 3 to 20 times; beyond this it is a bomb
_MEMORY = 2**28  # bytes the decoder itself may take


def open_stream(path: str | Path, compression: str | None = None) -> BinaryIO:
    """The unpacked bytes of a file, read piece by piece.

    Reading raises UserError for a damaged or truncated archive and for a decompression bomb.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed by whoever reads it)
    except OSError as error:
        raise UserError(f"cannot be opened ({error.strerror})", where=path) from None
    if compression is None:
        return file
    pieces = _bounded(_UNPACK[compression](file), file, path, compression)
    return io.BufferedReader(_Pieces(pieces), _PIECE)


def read_whole(path: str | Path, compression: str | None = None, limit: int = WHOLE_FILE) -> bytes:
    """All of a file whose format cannot be streamed. Raises UserError beyond `limit` bytes."""
    with open_stream(path, compression) as file:
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


class _Pieces(io.RawIOBase):
    """A raw file over an iterator of bytes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._pieces.close()  # type: ignore[attr-defined]
        super().close()


def _bounded(
    pieces: Iterator[bytes], file: BinaryIO, path: str | Path, kind: str
) -> Iterator[bytes]:
    total = 0
    with file:
        try:
            for piece in pieces:
                total += len(piece)
                if total > _FREE and total > _RATIO * max(file.tell(), 1):
                    raise UserError(
                        f"unpacks to over {_RATIO} times its size (a decompression bomb?)",
                        where=path,
                        mend="unpack it yourself if you trust it",
                    )
                yield piece
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"is not a whole .{kind} file ({why(error)})", where=path) from None


class _Damaged(Exception):
    pass


def _unpack_gz(file: BinaryIO) -> Iterator[bytes]:
    return _members(file, lambda: _Inflate())


def _unpack_xz(file: BinaryIO) -> Iterator[bytes]:
    return _members(file, lambda: lzma.LZMADecompressor(memlimit=_MEMORY))


class _Inflate:
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


def _members(file: BinaryIO, new: Callable[[], Any]) -> Iterator[bytes]:
    """One compressed stream after another, with zero padding allowed between them."""
    data = file.read(_PIECE)
    while True:
        decoder = new()
        while not decoder.eof:
            piece = decoder.decompress(data, _PIECE)
            if piece:
                yield piece
            data = b""
            if decoder.needs_input and not decoder.eof:
                data = file.read(_PIECE)
                if not data and not piece:
                    raise _Damaged("it ends too early")
        data = decoder.unused_data.lstrip(b"\0")
        while not data:
            block = file.read(_PIECE)
            if not block:
                return
            data = block.lstrip(b"\0")


def _unpack_zst(file: BinaryIO) -> Iterator[bytes]:
    import zstandard

    block = 2**8  # packed bytes at once: what comes of them is not bounded
    context = zstandard.ZstdDecompressor(max_window_size=2**27)
    data = file.read(block)
    while data:
        decoder = context.decompressobj()
        while not decoder.eof:
            if not data:
                raise _Damaged("it ends too early")
            piece = decoder.decompress(data)
            if piece:
                yield piece
            data = decoder.unused_data if decoder.eof else file.read(block)
        data = data or file.read(block)


_UNPACK: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {
    "gz": _unpack_gz,
    "xz": _unpack_xz,
    "zst": _unpack_zst,
}
