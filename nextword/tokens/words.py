"""Which tokens begin a word: so that a word of several tokens can be hidden as a whole.

Chinese writes no spaces. Its characters are joined at random into runs, as long as its words are
on average: hiding those is nearly as good as hiding words that a dictionary found, and needs none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.tokens.tokenizer import Tokenizer

BEGINS, CONTINUES, LETTERS, HAN = range(4)
JOINED = 0.4  # of Chinese characters to the one before: runs of 1.67 on average


@dataclass(frozen=True)
class Words:
    """Of each token of the vocabulary: `kind`, what its first character says about where words
    begin, and `is_open`, whether its last one is of a word that may go on. Each [vocabulary]."""

    kind: NDArray[np.uint8]
    is_open: NDArray[np.bool_]

    def firsts(self, tokens: NDArray[np.int64], chance: NDArray[np.float64]) -> NDArray[np.int64]:
        """The place of the first token of each token's word; all arrays are [batch, time].

        `chance`, from 0 to 1, decides which Chinese characters are joined.
        """
        kind, before = self.kind[tokens], np.roll(self.is_open[tokens], 1, axis=1)
        goes_on = (kind == LETTERS) | ((kind == HAN) & (chance < JOINED))
        goes_on = (kind == CONTINUES) | (goes_on & before)
        steps = np.arange(tokens.shape[1])
        found: NDArray[np.int64] = np.maximum.accumulate(np.where(goes_on, 0, steps), axis=1)
        return found


def words_of(tokenizer: Tokenizer) -> Words:
    """As the tokenizer's own pieces tell it: by the space they begin with, or a mark such as ##."""
    kind = np.zeros(tokenizer.vocab_size, np.uint8)
    is_open = np.zeros(tokenizer.vocab_size, np.bool_)
    prefix = tokenizer.continuing_prefix
    for id in range(tokenizer.vocab_size):
        piece = tokenizer.token_bytes(id)
        if not piece:
            continue
        if prefix is not None:
            text = piece.decode("utf-8", "replace")
            marked = text.startswith(prefix)
            kind[id] = CONTINUES if marked else HAN if _is_han(text[0]) else BEGINS
            is_open[id] = _is_han(text[-1])
        else:
            kind[id], is_open[id] = _kind(piece), _is_open(piece)
    return Words(kind, is_open)


def _kind(piece: bytes) -> int:
    if 0x80 <= piece[0] < 0xC0:  # inside of a character
        return CONTINUES
    first = piece.decode("utf-8", "replace")[0]
    if first == "\N{REPLACEMENT CHARACTER}":  # a character's first bytes: all but Han are spaced
        return HAN if 0xE3 <= piece[0] <= 0xE9 or piece[0] == 0xF0 else LETTERS
    if _is_han(first):
        return HAN
    return LETTERS if first.isalpha() else BEGINS


def _is_open(piece: bytes) -> bool:
    last = piece.decode("utf-8", "replace")[-1]
    return last.isalpha() or last == "\N{REPLACEMENT CHARACTER}"


def _is_han(character: str) -> bool:
    """Chinese characters and Japanese kana."""
    point = ord(character)
    return (
        0x3040 <= point < 0x3100
        or 0x3400 <= point < 0xA000
        or 0xF900 <= point < 0xFB00
        or 0x20000 <= point < 0x40000
    )
