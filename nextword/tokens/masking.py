"""Batches for masked language modeling (Devlin et al. 2018): some tokens are hidden, and are the
only targets. What is hidden is a pure function of (seed, epoch, index).

Each row, and each document within it, is framed as the tokenizer frames a text: [CLS] … [SEP].
Words of several tokens can be hidden as a whole. Chinese writes no spaces: its characters are
joined at random into runs, as long as its words are on average. Hiding those is nearly as good as
hiding words that a dictionary found, and needs none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.settings import MaskSettings
from nextword.tokens import loader
from nextword.tokens.loader import IGNORE_INDEX, Batch, Ids, Samples, ShuffledBlocks
from nextword.tokens.store import Split
from nextword.tokens.tokenizer import Tokenizer

MASK_RATE = 0.3  # Warner et al. 2024 (ModernBERT), after Wettig et al. 2023

_BEGINS, _CONTINUES, _LETTERS, _HAN = range(4)  # what a token says about where words begin
_HAN_OR_KANA = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_JOINED = 0.4  # of Chinese characters to the one before: runs of 1.67 on average


@dataclass(frozen=True)
class WordBoundaries:
    """Where words begin, told by the tokens of the vocabulary.

    `kind` [vocabulary] is what a token's first character says, `is_open` [vocabulary] whether its
    last one belongs to a word that may go on.
    """

    kind: NDArray[np.uint8]
    is_open: NDArray[np.bool_]

    def firsts(self, tokens: Ids, draws: NDArray[np.float64]) -> Ids:
        """Return the place of the first token of each token's word; all arrays are [batch, time].

        `draws` in [0, 1) decide which Chinese characters are joined.
        """
        kind, before = self.kind[tokens], np.roll(self.is_open[tokens], 1, axis=1)
        goes_on = (kind == _LETTERS) | ((kind == _HAN) & (draws < _JOINED))
        goes_on = (kind == _CONTINUES) | (goes_on & before)
        steps = np.arange(tokens.shape[1])
        places: Ids = np.maximum.accumulate(np.where(goes_on, 0, steps), axis=1)
        return places


def word_boundaries(tokenizer: Tokenizer) -> WordBoundaries:
    """Read word boundaries off a vocabulary: off leading spaces, or a mark such as "##"."""
    kind = np.zeros(tokenizer.vocab_size, np.uint8)
    is_open = np.zeros(tokenizer.vocab_size, np.bool_)
    prefix = tokenizer.continuing_prefix
    for id in range(tokenizer.vocab_size):
        piece = tokenizer.token_bytes(id)
        if not piece:
            continue
        text = piece.decode("utf-8", "replace")
        if prefix is None:
            kind[id], is_open[id] = _first_kind(piece, text[0]), _may_go_on(text[-1])
        else:
            other = _HAN if _is_han(text[0]) else _BEGINS
            kind[id] = _CONTINUES if text.startswith(prefix) else other
            is_open[id] = _is_han(text[-1])
    return WordBoundaries(kind, is_open)


def _first_kind(piece: bytes, first: str) -> int:
    if 0x80 <= piece[0] < 0xC0:  # inside of a character
        return _CONTINUES
    if first == "\N{REPLACEMENT CHARACTER}":  # a character's first bytes: all but Han are spaced
        return _HAN if 0xE3 <= piece[0] <= 0xE9 or piece[0] == 0xF0 else _LETTERS
    if _is_han(first):
        return _HAN
    return _LETTERS if first.isalpha() else _BEGINS


def _may_go_on(last: str) -> bool:
    return last.isalpha() or last == "\N{REPLACEMENT CHARACTER}"


def _is_han(character: str) -> bool:
    return _HAN_OR_KANA.match(character) is not None


@dataclass(frozen=True)
class Masking:
    """What is hidden and how.

    `rate` of the tokens are targets. Of these `keep` are left as they are, `random` become another
    token of `text_ids` (the ids that text is made of), and the others the mask token.
    """

    rate: float
    keep: float
    random: float
    cls_id: int
    sep_id: int
    mask_id: int
    text_ids: Ids
    words: WordBoundaries | None = None  # to hide words as a whole


def masking_for(tokenizer: Tokenizer, settings: MaskSettings) -> Masking:
    """Return the masking that settings describe.

    Raises UserError where the tokenizer lacks the control tokens that it needs.
    """
    tokenizer.require_control_tokens("masked")
    ids = {role: tokenizer.role_id(f"{role}_token") for role in ("cls", "sep", "mask")}
    is_text = np.ones(tokenizer.vocab_size, np.bool_)
    is_text[sorted(tokenizer.special_ids)] = False
    return Masking(
        rate=settings.mask_rate or MASK_RATE,
        keep=settings.mask_keep,
        random=settings.mask_random,
        **{f"{role}_id": id for role, id in ids.items() if id is not None},
        text_ids=np.flatnonzero(is_text),
        words=word_boundaries(tokenizer) if settings.whole_words else None,
    )


class MaskedRows:
    """Rows of a split with some tokens hidden.

    Places are counted through all documents one after another, each of which has a [CLS] before
    its tokens; its end token becomes [SEP].
    """

    def __init__(self, split: Split, context_length: int, masking: Masking) -> None:
        self.split, self.masking, self.context_length = split, masking, context_length
        self._firsts = split.starts[:-1] + np.arange(len(split.starts) - 1)
        self._is_text = np.zeros(split.vocab_size, np.bool_)
        self._is_text[masking.text_ids] = True
        self.size = len(split) + len(self._firsts)
        self.stretch = context_length - 2  # places of a row, between its own [CLS] and [SEP]

    def batch(self, starts: Ids, skipped: Ids, keys: list[int], samples: Samples) -> Batch:
        """Return rows from the places `starts` [batch] on, in the circle.

        Of the first `skipped` [batch] places none is a target. `keys` [batch] fix what is hidden.
        """
        masking, steps = self.masking, np.arange(self.context_length)
        tokens, begins = self.framed(starts)
        priority, fate, choice, joined = np.moveaxis(
            loader.uniform(keys, 4 * self.context_length).reshape(len(keys), 4, -1), 1, 0
        )  # each [batch, time]
        if masking.words is not None:
            firsts = masking.words.firsts(tokens, joined)
            priority = np.take_along_axis(priority, firsts, axis=1)
        hideable = self._is_text[tokens] & (steps > skipped[:, None])
        priority = np.where(hideable, priority, 2.0)
        least = priority.min(axis=1, keepdims=True)  # a row always has a target
        hidden = hideable & ((priority < masking.rate) | (priority == least))
        targets = np.where(hidden, tokens, IGNORE_INDEX)
        other = masking.text_ids[(choice * len(masking.text_ids)).astype(np.int64)]
        shown = np.where(fate < masking.random, other, masking.mask_id)
        shown = np.where(fate >= 1 - masking.keep, tokens, shown)
        return loader.to_batch(np.where(hidden, shown, tokens), targets, begins, samples)

    def sources(self, starts: Ids) -> list[str]:
        """Return where the documents of the rows from `starts` on came from."""
        return self.split.sources(np.unique(self._locate(starts)[0]))

    def tokens_at(self, places: Ids) -> Ids:
        """Return where in the split the tokens at places are, or the one before a [CLS]."""
        return np.maximum(places - np.searchsorted(self._firsts, places, side="right"), 0)

    def _locate(self, starts: Ids) -> tuple[Ids, Ids]:
        """Return which document each place of the rows is of, and where in it, [batch, stretch]."""
        places = (starts[:, None] + np.arange(self.stretch)) % self.size
        document, _ = loader.find_documents(self._firsts, starts, self.stretch, self.size)
        return document, places - self._firsts[document]

    def framed(self, starts: Ids) -> tuple[Ids, NDArray[np.bool_]]:
        """Return the tokens of rows, and where documents begin in them, each [batch, time]."""
        split, masking = self.split, self.masking
        document, offset = self._locate(starts)
        ids = loader.read_ids(split, np.maximum(split.starts[document] + offset - 1, 0))
        ids = np.where(ids == split.end_id, masking.sep_id, ids)
        ids = np.where(offset == 0, masking.cls_id, ids)
        around = (0, 0), (1, 1)  # a row's own [CLS] and [SEP]
        tokens = np.pad(ids, around, constant_values=(masking.cls_id, masking.sep_id))
        begins = np.pad(offset == 0, around, constant_values=True)
        begins[:, -1] = ids[:, -1] == masking.sep_id  # what ends a row is then no part of it
        return tokens, begins


class MaskedLoader(ShuffledBlocks):
    """Blocks of `context_length` tokens with some hidden, other ones each epoch."""

    def __init__(self, split: Split, context_length: int, seed: int, masking: Masking) -> None:
        self.rows = MaskedRows(split, context_length, masking)
        super().__init__(split, self.rows.size, self.rows.stretch, seed)

    def tokens_at(self, places: Ids) -> Ids:
        return self.rows.tokens_at(places)

    def batch(self, first: int, count: int) -> Batch:
        """Return `count` rows: the samples numbered from `first`, counted on through the epochs."""
        samples = self.samples(first, count)
        return self.rows.batch(*self.places(samples), self.keys(samples, "mask"), samples)

    def sources(self, starts: Ids) -> list[str]:
        """Return where the documents of the rows from `starts` [rows] on came from."""
        return self.rows.sources(starts)
