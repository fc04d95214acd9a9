"""Batches for span corruption (Raffel et al. 2020, 3.1.4): spans of a text become one sentinel
each, and those spans are to be written. A pure function of (seed, epoch, index)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.settings import MaskSettings
from nextword.tokens.control_tokens import SENTINELS
from nextword.tokens.loader import (
    Ids,
    Samples,
    ShuffledBlocks,
    find_documents,
    read_ids,
    uniform,
)
from nextword.tokens.packing import Seq2SeqBatch, collate_pairs
from nextword.tokens.store import Split
from nextword.tokens.tokenizer import Tokenizer

NOISE_RATE = 0.15


@dataclass(frozen=True)
class SpanCorruption:
    """What is hidden and how: `rate` of the tokens, in spans of `span_length` on average.

    `sentinels` [spans at most] stand for the spans in order. Both texts end with `end_id`; the one
    to write begins with `start_id`.
    """

    rate: float
    span_length: float
    sentinels: Ids
    end_id: int
    start_id: int

    def span_counts(self, length: int) -> tuple[int, int]:
        """Return how many of `length` tokens are noise, and in how many spans."""
        if length <= 1:
            return 0, 0
        noise = min(max(round(length * self.rate), 1), length - 1)
        spans = max(round(noise / self.span_length), 1)
        return noise, min(spans, length - noise, len(self.sentinels))


def span_corruption_for(tokenizer: Tokenizer, settings: MaskSettings) -> SpanCorruption:
    """Return the corruption that settings describe.

    Raises UserError where the tokenizer lacks the control tokens that it needs.
    """
    tokenizer.require_control_tokens("denoise")
    sentinels = [tokenizer.special_id(name) for name in SENTINELS]
    assert tokenizer.pad_id is not None
    return SpanCorruption(
        rate=settings.mask_rate or NOISE_RATE,
        span_length=settings.span_length,
        sentinels=np.array(sentinels, np.int64),
        end_id=tokenizer.end_id,
        start_id=tokenizer.pad_id,
    )


def noise_mask(
    length: int, corruption: SpanCorruption, draws: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which tokens are noise, [length].

    Text and noise alternate, text first, and all ways to cut each of them into as many spans are
    equally likely. `draws` [2, length], in [0, 1), decide which.
    """
    noise, spans = corruption.span_counts(length)
    if not spans:
        return np.zeros(length, np.bool_)
    lengths = np.empty(2 * spans, np.int64)
    lengths[0::2] = _random_lengths(length - noise, spans, draws[0])
    lengths[1::2] = _random_lengths(noise, spans, draws[1])
    return np.repeat(np.arange(2 * spans) % 2 == 1, lengths)


def _random_lengths(items: int, parts: int, draws: NDArray[np.float64]) -> Ids:
    """Cut `items` into parts, none empty, and return their lengths, [parts]."""
    cuts = 1 + np.sort(np.argsort(draws[: items - 1])[: parts - 1])
    return np.diff(cuts, prepend=0, append=items)


def corrupt(ids: Ids, noise: NDArray[np.bool_], corruption: SpanCorruption) -> tuple[Ids, Ids]:
    """Return what is read and what is to be written, of `ids` [tokens] and which are noise."""
    begins = noise & ~np.concatenate(([False], noise[:-1]))
    read = ids.copy()
    read[begins] = corruption.sentinels[: int(begins.sum())]
    written = np.insert(ids, np.flatnonzero(begins), read[begins])
    is_written = np.insert(noise, np.flatnonzero(begins), True)
    end = [corruption.end_id]
    return np.append(read[~noise | begins], end), np.append(written[is_written], end)


def uncorrupted_length(source_length: int, corruption: SpanCorruption) -> int:
    """Return the length of the longest text whose source has at most `source_length` tokens."""
    length = source_length
    while True:
        noise, spans = corruption.span_counts(length + 1)
        if length + 1 - noise + spans + 1 > source_length:
            return length
        length += 1


def target_ratio(corruption: SpanCorruption) -> float:
    """Return how many tokens are written for each token of a long text's source."""
    spans = corruption.rate / corruption.span_length
    return (corruption.rate + spans) / (1 - corruption.rate + spans)


class DenoisingLoader(ShuffledBlocks):
    """Blocks of text with spans hidden, other ones each epoch; each document is corrupted alone.

    A row of one document has `context_length` tokens of source; several take a few more. `length`
    is the number of tokens of text in a row, before they are corrupted.
    """

    def __init__(
        self, split: Split, context_length: int, seed: int, corruption: SpanCorruption
    ) -> None:
        self.corruption = corruption
        length = uncorrupted_length(context_length, corruption)
        super().__init__(split, len(split), length, seed)

    def batch(self, first: int, count: int) -> Seq2SeqBatch:
        """Return `count` rows: the samples numbered from `first`, counted on through the epochs."""
        samples = self.samples(first, count)
        return self.rows(*self.places(samples), self.keys(samples, "noise"), samples)

    def rows(self, starts: Ids, skipped: Ids, keys: list[int], samples: Samples) -> Seq2SeqBatch:
        """Return rows from the places `starts` [batch] on, without their first `skipped` [batch].

        `keys` [batch] fix the spans. Raises UserError for ids that the vocabulary does not have.
        """
        draws = uniform(keys, 2 * self.length).reshape(len(keys), 2, -1)
        rows = []
        for start, skip, row_draws in zip(starts, skipped, draws, strict=True):
            row = []
            for begin, ids in self._documents(int(start), int(skip)):
                document_draws = row_draws[:, begin : begin + max(len(ids), 1)]
                noise = noise_mask(len(ids), self.corruption, document_draws)
                row.append(corrupt(ids, noise, self.corruption))
            rows.append(row)
        return collate_pairs(rows, self.corruption.start_id, samples)

    def _documents(self, start: int, skip: int) -> Iterator[tuple[int, Ids]]:
        """Yield (place in the row, ids without the end token) of each document of a row."""
        places = (start + np.arange(self.length)) % len(self.split)
        ids, at = read_ids(self.split, places), np.array([start])
        _, begins = find_documents(self.split.starts, at, self.length, len(self.split))
        cuts = [skip, *(skip + 1 + np.flatnonzero(begins[0, skip + 1 :])), self.length]
        for begin, stop in itertools.pairwise(cuts):
            document = ids[begin:stop]
            yield begin, document[: len(document) - (document[-1] == self.split.end_id)]
