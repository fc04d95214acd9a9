"""Batches for masked language modelling (Devlin et al. 2018): some tokens are hidden, and are the
only targets. What is hidden is a pure function of (seed, epoch, index).

Each row, and each document within it, is framed as the tokenizer frames a text: [CLS] … [SEP].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nextword.settings import MaskSettings
from nextword.tokens.loader import IGNORE, Batch, Blocks, check_ids, documents_and_positions
from nextword.tokens.permutation import key, uniform
from nextword.tokens.specials import check_controls
from nextword.tokens.store import Split
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.words import Words, words_of

MASK_RATE = 0.3  # Warner et al. 2024 (ModernBERT), after Wettig et al. 2023


@dataclass(frozen=True)
class Masking:
    """What is hidden and how. `rate` of the tokens are targets; of these `keep` are left as they
    are and `random` become another token of `text_ids`, the ids that text is made of."""

    rate: float
    keep: float
    random: float
    cls_id: int
    sep_id: int
    mask_id: int
    text_ids: NDArray[np.int64]
    words: Words | None = None  # to hide words as a whole


def masking_of(tokenizer: Tokenizer, settings: MaskSettings) -> Masking:
    """Raises UserError where the tokenizer lacks the control tokens that it takes."""
    check_controls(tokenizer, "masked")
    ids = {role: tokenizer.id_of(f"{role}_token") for role in ("cls", "sep", "mask")}
    is_text = np.ones(tokenizer.vocab_size, np.bool_)
    is_text[sorted(tokenizer.special_ids)] = False
    return Masking(
        rate=settings.mask_rate or MASK_RATE,
        keep=settings.mask_keep,
        random=settings.mask_random,
        **{f"{role}_id": id for role, id in ids.items() if id is not None},
        text_ids=np.flatnonzero(is_text),
        words=words_of(tokenizer) if settings.whole_words else None,
    )


class MaskedRows:
    """Rows of a split with some tokens hidden. Places are counted through all documents one after
    another, each of which has a [CLS] before its tokens; its end token becomes [SEP]."""

    def __init__(self, split: Split, context_length: int, masking: Masking) -> None:
        self.split, self.masking, self.context_length = split, masking, context_length
        self._firsts = split.starts[:-1] + np.arange(len(split.starts) - 1)
        self._is_text = np.zeros(split.vocab_size, np.bool_)
        self._is_text[masking.text_ids] = True
        self.size = len(split) + len(self._firsts)
        self.stretch = context_length - 2  # places of a row, between its own [CLS] and [SEP]

    def batch(
        self,
        starts: NDArray[np.int64],
        skipped: NDArray[np.int64],
        keys: list[int],
        samples: list[tuple[int, int]],
    ) -> Batch:
        """Rows from the places `starts` [batch] on, in the circle; of the first `skipped` [batch]
        places none is a target. `keys` [batch] fix what is hidden."""
        masking, steps = self.masking, np.arange(self.context_length)
        tokens, begins = self.framed(starts)
        chance, fate, choice, joined = np.moveaxis(
            uniform(keys, 4 * self.context_length).reshape(len(keys), 4, -1), 1, 0
        )  # each [batch, time]
        if masking.words is not None:
            chance = np.take_along_axis(chance, masking.words.firsts(tokens, joined), axis=1)
        hideable = self._is_text[tokens] & (steps > skipped[:, None])
        chance = np.where(hideable, chance, 2.0)
        least = chance.min(axis=1, keepdims=True)  # a row always has a target
        hidden = hideable & ((chance < masking.rate) | (chance == least))
        targets = np.where(hidden, tokens, IGNORE)
        other = masking.text_ids[(choice * len(masking.text_ids)).astype(np.int64)]
        shown = np.where(fate < masking.random, other, masking.mask_id)
        shown = np.where(fate >= 1 - masking.keep, tokens, shown)
        tokens = np.where(hidden, shown, tokens)
        return Batch(
            torch.from_numpy(tokens),
            torch.from_numpy(targets),
            *documents_and_positions(begins),
            samples,
        )

    def sources(self, starts: NDArray[np.int64]) -> list[str]:
        """Where the documents of the rows from `starts` on came from."""
        places = (starts[:, None] + np.arange(self.stretch)) % self.size
        numbers = np.unique(np.searchsorted(self._firsts, places, side="right") - 1)
        return self.split.sources(numbers)

    def framed(self, starts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Tokens of rows, and where documents begin in them, each [batch, time]."""
        split, masking = self.split, self.masking
        places = (starts[:, None] + np.arange(self.stretch)) % self.size
        document = np.searchsorted(self._firsts, places, side="right") - 1
        offset = places - self._firsts[document]
        ids = split.tokens[np.maximum(split.starts[document] + offset - 1, 0)].astype(np.int64)
        check_ids(split, ids)
        ids = np.where(ids == split.end_id, masking.sep_id, ids)
        ids = np.where(offset == 0, masking.cls_id, ids)
        shape = len(starts), self.context_length
        tokens = np.full(shape, masking.cls_id, np.int64)
        tokens[:, 1:-1], tokens[:, -1] = ids, masking.sep_id
        begins = np.zeros(shape, np.bool_)
        begins[:, 0], begins[:, 1:-1] = True, offset == 0
        begins[:, -1] = ids[:, -1] == masking.sep_id  # what ends a row is then no part of it
        return tokens, begins


class MaskedLoader:
    """Blocks of `context_length` tokens with some hidden, other ones each epoch."""

    def __init__(self, split: Split, context_length: int, seed: int, masking: Masking) -> None:
        self.rows, self.seed = MaskedRows(split, context_length, masking), seed
        self._blocks = Blocks(split, self.rows.size, self.rows.stretch, seed)

    def batch(self, first: int, count: int) -> Batch:
        """`count` rows: the samples numbered from `first`, counted on through the epochs."""
        samples = self._blocks.samples(first, count)
        keys = [key(self.seed, epoch, index, "mask") for epoch, index in samples]
        return self.rows.batch(*self._blocks.places(samples), keys, samples)

    def epoch_of(self, sample: int) -> float:
        return sample / self._blocks.count

    def documents(self, first: int, count: int) -> list[str]:
        """Where the documents in `count` samples from `first` on came from."""
        starts, _ = self._blocks.places(self._blocks.samples(first, count))
        return self.rows.sources(starts)
