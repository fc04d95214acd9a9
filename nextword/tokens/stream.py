"""Text as it is generated, token by token, never half a character."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

_REPLACEMENT = "\ufffd"  # what an unfinished character decodes to
_LONGEST_CHARACTER = 4  # tokens: a character has at most 4 bytes


class TextStream:
    """`feed` each id as it comes; the pieces returned join to what `decode` gives at once.

    A character whose bytes are spread over several tokens is held back until it is whole; bytes
    that never become one come out as U+FFFD, as in `decode`. `bytes_of` gives the bytes of a token
    where each stands for the same ones wherever it is; else None.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        bytes_of: Callable[[int], bytes | None] | None = None,
    ) -> None:
        self._pieces = _Texts(decode) if bytes_of is None else _Bytes(bytes_of)

    def feed(self, id: int) -> str:
        """The text that this token completes; "" while a character is unfinished."""
        return self._pieces.feed(id)

    def flush(self) -> str:
        """What is left at the end, unfinished characters as U+FFFD."""
        return self._pieces.flush()


class _Bytes:
    """Tokens are bytes: UTF-8 is decoded as far as it goes."""

    def __init__(self, bytes_of: Callable[[int], bytes | None]) -> None:
        self._bytes_of = bytes_of
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, id: int) -> str:
        return self._utf8.decode(self._bytes_of(id) or b"")

    def flush(self) -> str:
        return self._utf8.decode(b"", final=True)


class _Texts:
    """Tokens whose text depends on those before: the last few are decoded again with each."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._done = 0  # of these ids, whose text is out already

    def feed(self, id: int) -> str:
        self._ids.append(id)
        before, whole = self._decoded()
        if whole.endswith(_REPLACEMENT) and len(self._ids) - self._done < _LONGEST_CHARACTER:
            return ""
        self._ids, self._done = self._ids[self._done :], len(self._ids) - self._done
        return whole[len(before) :]

    def flush(self) -> str:
        before, whole = self._decoded()
        self._ids, self._done = [], 0
        return whole[len(before) :]

    def _decoded(self) -> tuple[str, str]:
        before = self._decode(self._ids[: self._done])
        return before, self._decode(self._ids)
