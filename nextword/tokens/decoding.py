"""Ids decoded one by one as they are generated, never to half a character."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

_REPLACEMENT = "\ufffd"  # what an unfinished character decodes to
_LONGEST_CHARACTER = 4  # tokens: a character has at most 4 bytes


class CharacterStream:
    """Text as it is generated, token by token, never half a character.

    The pieces that `feed` and `flush` return join to what `decode` gives at once. A character whose
    bytes are spread over several tokens is held back until it is whole; bytes that never become
    one come out as U+FFFD. The last few tokens are decoded again with each new one, as their text
    may depend on those before.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._done = 0  # of these ids, whose text is out already

    def feed(self, id: int) -> str:
        """Return the text that this token completes; "" while a character is unfinished."""
        self._ids.append(id)
        before, whole = self._decoded()
        if whole.endswith(_REPLACEMENT) and len(self._ids) - self._done < _LONGEST_CHARACTER:
            return ""
        text = whole[len(before) :]
        if not text:  # a control token; without any text before it the next space would be lost
            self._done = len(self._ids)
            return ""
        self._ids, self._done = self._ids[self._done :], len(self._ids) - self._done
        return text

    def flush(self) -> str:
        """Return what is left at the end, unfinished characters as U+FFFD."""
        before, whole = self._decoded()
        self._ids, self._done = [], 0
        return whole[len(before) :]

    def _decoded(self) -> tuple[str, str]:
        return self._decode(self._ids[: self._done]), self._decode(self._ids)


class ByteStream:
    """A CharacterStream for tokens that stand for the same bytes wherever they are."""

    def __init__(self, bytes_of: Callable[[int], bytes | None]) -> None:
        self._bytes_of = bytes_of
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, id: int) -> str:
        """Return the text that this token completes; "" while a character is unfinished."""
        return self._utf8.decode(self._bytes_of(id) or b"")

    def flush(self) -> str:
        """Return what is left at the end, unfinished characters as U+FFFD."""
        return self._utf8.decode(b"", final=True)
