"""Batches for span denoising (Raffel et al. 2020, 3.1.4): spans of a text become one sentinel each,
and what is learnt is those spans. A pure function of (seed, epoch, index)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.settings import MaskSettings
from nextword.tokens.loader import Blocks, check_ids
from nextword.tokens.pairs import Ids, PairBatch, pairs
from nextword.tokens.permutation import key, uniform
from nextword.tokens.specials import SENTINELS, check_controls
from nextword.tokens.store import Split
from nextword.tokens.tokenizer import Tokenizer

NOISE_RATE = 0.15


@dataclass(frozen=True)
class Corruption:
    """`rate` of the tokens are in spans of `span_length` tokens on average. `sentinels` stand for
    them in order; both texts end with `end_id`, the one to write begins with `start_id`."""

    rate: float
    span_length: float
    sentinels: Ids
    end_id: int
    start_id: int


def corruption_of(tokenizer: Tokenizer, settings: MaskSettings) -> Corruption:
    """Raises UserError where the tokenizer lacks the control tokens that it takes."""
    check_controls(tokenizer, "denoise")
    sentinels = [tokenizer.special_id(name) for name in SENTINELS]
    assert tokenizer.pad_id is not None
    return Corruption(
        rate=settings.mask_rate or NOISE_RATE,
        span_length=settings.span_length,
        sentinels=np.array(sentinels, np.int64),
        end_id=tokenizer.end_id,
        start_id=tokenizer.pad_id,
    )


def noise_counts(length: int, rate: float, span_length: float, most: int) -> tuple[int, int]:
    """How many of `length` tokens are noise, and in how many spans, no more than `most`."""
    noise = min(max(round(length * rate), 1), length - 1)
    spans = min(max(round(noise / span_length), 1), length - noise, most)
    return (noise, spans) if length > 1 else (0, 0)


def noise_mask(
    length: int, corruption: Corruption, draws: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which tokens are noise, [length]: text and noise alternate, text first, and all ways to cut
    each of them into as many spans are equally likely. `draws` [2, length] is the chance used."""
    noise, spans = noise_counts(
        length, corruption.rate, corruption.span_length, len(corruption.sentinels)
    )
    if not spans:
        return np.zeros(length, np.bool_)
    lengths = np.empty(2 * spans, np.int64)
    lengths[0::2] = _cut(length - noise, spans, draws[0])
    lengths[1::2] = _cut(noise, spans, draws[1])
    return np.repeat(np.arange(2 * spans) % 2 == 1, lengths)


def _cut(items: int, parts: int, draws: NDArray[np.float64]) -> NDArray[np.int64]:
    """The lengths of `parts` parts, none empty, of `items`."""
    cuts = 1 + np.sort(np.argsort(draws[: items - 1])[: parts - 1])
    return np.diff(cuts, prepend=0, append=items)


def corrupt(ids: Ids, noise: NDArray[np.bool_], corruption: Corruption) -> tuple[Ids, Ids]:
    """What is read and what is to be written, of `ids` [tokens] and which of them are noise."""
    begins = noise & ~np.concatenate(([False], noise[:-1]))
    read = ids.copy()
    read[begins] = corruption.sentinels[: int(begins.sum())]
    written = np.insert(ids, np.flatnonzero(begins), read[begins])
    kept = np.insert(noise, np.flatnonzero(begins), True)
    end = [corruption.end_id]
    return np.append(read[~noise | begins], end), np.append(written[kept], end)


def text_length(source_length: int, corruption: Corruption) -> int:
    """The longest text that takes no more than `source_length` tokens once its spans are hidden."""
    length = source_length
    while True:
        noise, spans = noise_counts(
            length + 1, corruption.rate, corruption.span_length, len(corruption.sentinels)
        )
        if length + 1 - noise + spans + 1 > source_length:
            return length
        length += 1


def target_share(corruption: Corruption) -> float:
    """Tokens to write for each token of a long text's source."""
    spans = corruption.rate / corruption.span_length
    return (corruption.rate + spans) / (1 - corruption.rate + spans)


class DenoisingLoader:
    """Blocks of text with spans hidden, other ones each epoch; each document is corrupted alone.

    A row of one document has `context_length` tokens of source; several take a few more.
    """

    def __init__(
        self, split: Split, context_length: int, seed: int, corruption: Corruption
    ) -> None:
        self.split, self.seed, self.corruption = split, seed, corruption
        length = text_length(context_length, corruption)
        self._blocks = Blocks(split, len(split), length, seed)

    @property
    def length(self) -> int:
        """Tokens of text in a row, before they are corrupted."""
        return self._blocks.length

    def batch(self, first: int, count: int) -> PairBatch:
        """`count` rows: the samples numbered from `first`, counted on through the epochs."""
        samples = self._blocks.samples(first, count)
        starts, skipped = self._blocks.places(samples)
        keys = [key(self.seed, epoch, index, "noise") for epoch, index in samples]
        return self.rows(starts, skipped, keys, samples)

    def rows(
        self,
        starts: NDArray[np.int64],
        skipped: NDArray[np.int64],
        keys: list[int],
        samples: list[tuple[int, int]],
    ) -> PairBatch:
        """Rows from the places `starts` [batch] on, without the first `skipped` [batch] of them;
        `keys` [batch] fix the spans."""
        draws = uniform(keys, 2 * self.length).reshape(len(keys), 2, -1)
        rows = []
        for start, skip, drawn in zip(starts, skipped, draws, strict=True):
            row = []
            for begin, ids in self._pieces(int(start), int(skip)):
                mask = noise_mask(
                    len(ids), self.corruption, drawn[:, begin : begin + max(len(ids), 1)]
                )
                row.append(corrupt(ids, mask, self.corruption))
            rows.append(row)
        return pairs(rows, self.corruption.start_id, samples)

    def _pieces(self, start: int, skip: int) -> Iterator[tuple[int, Ids]]:
        """(place in the row, ids without the end token) of each document of a row."""
        split, length = self.split, self.length
        places = (start + np.arange(length)) % len(split)
        ids = split.tokens[places].astype(np.int64)
        check_ids(split, ids)
        begins = split.starts[np.searchsorted(split.starts, places)] == places
        cuts = [skip, *(skip + 1 + np.flatnonzero(begins[skip + 1 :])), length]
        for begin, stop in itertools.pairwise(cuts):
            piece = ids[begin:stop]
            yield begin, piece[: len(piece) - (piece[-1] == split.end_id)]

    def epoch_of(self, sample: int) -> float:
        return sample / self._blocks.count

    def documents(self, first: int, count: int) -> list[str]:
        """Where the documents in `count` samples from `first` on came from."""
        starts, _ = self._blocks.places(self._blocks.samples(first, count))
        places = (starts[:, None] + np.arange(self.length)) % len(self.split)
        return self.split.sources(
            np.unique(np.searchsorted(self.split.starts, places, side="right") - 1)
        )
