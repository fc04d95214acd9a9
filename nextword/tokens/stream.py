"""Text as it is generated, token by token, never half a character."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nextword.tokens.tokenizer import Tokenizer

_REPLACEMENT = "\ufffd"  # what an unfinished character decodes to
_LONGEST_CHARACTER = 4  # tokens: a character has at most 4 bytes


class TextStream:
    """`feed` each id as it comes; the pieces returned join to what `decode` gives at once.

    A character whose bytes are spread over several tokens is held back until it is whole; bytes
    that never become one come out as U+FFFD, as in `decode`.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._pieces: _Bytes | _Texts
        self._pieces = _Bytes(tokenizer) if tokenizer.is_byte_level else _Texts(tokenizer)

    def feed(self, id: int) -> str:
        """The text that this token completes; "" while a character is unfinished."""
        return self._pieces.feed(id)

    def flush(self) -> str:
        """What is left at the end, unfinished characters as U+FFFD."""
        return self._pieces.flush()


class _Bytes:
    """Tokens are bytes: UTF-8 is decoded as far as it goes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, id: int) -> str:
        return self._utf8.decode(self._tokenizer.token_bytes(id) or b"")

    def flush(self) -> str:
        return self._utf8.decode(b"", final=True)


class _Texts:
    """Tokens whose text depends on those before: the last few are decoded again with each."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
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
        before = self._tokenizer.decode(self._ids[: self._done])
        return before, self._tokenizer.decode(self._ids)
