"""Batches from a split, in an order that is a pure function of (seed, epoch, index).

The stream of a split is read in a circle: each document ends with the end token, which serves as
the start of the next, and the last one's as the start of the first. So every stored token is a
target exactly once an epoch. Shuffling needs no state: any place of a permutation, and so any batch
of a run, is computed directly, whatever came before it.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nextword.errors import UserError
from nextword.tokens.joined_ids import PartedIds
from nextword.tokens.store import Split

IGNORE_INDEX = -100  # the target of a place that has none

Ids = NDArray[np.int64]
Samples = list[tuple[int, int]]  # (epoch, index) of each row

_ROUNDS = 6
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # of splitmix64
_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def derive_key(*parts: object) -> int:
    """Return 64 bits that depend on all the parts, the same on every machine."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def permute(index: ArrayLike, size: int, seed: int) -> Ids:
    """Return where `index` [any shape] goes in a random permutation of 0 ... size - 1.

    A Feistel network over the next even number of bits (Luby and Rackoff 1988); what falls
    outside goes through it again until it falls inside (Black and Rogaway 2002), fewer than
    four times on average. Raises IndexError for an index that is not below `size`.
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    keys = [np.uint64(derive_key(seed, number)) for number in range(_ROUNDS)]
    place = np.atleast_1d(np.asarray(index, np.uint64)).copy()
    if place.size and int(place.max()) >= size:
        raise IndexError(f"{int(place.max())} is not below {size}")
    outside = np.ones(place.shape, np.bool_)
    while outside.any():
        place[outside] = _feistel(place[outside], half, keys)
        outside = place >= size
    return place.astype(np.int64).reshape(np.shape(index))


def _feistel(value: NDArray[np.uint64], half: int, keys: list[np.uint64]) -> NDArray[np.uint64]:
    bits, mask = np.uint64(half), np.uint64(2**half - 1)
    left, right = value >> bits, value & mask
    for round_key in keys:
        left, right = right, left ^ (_scramble(right ^ round_key) & mask)
    return (left << bits) | right


def _scramble(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply the output function of splitmix64 (Steele et al. 2014); products wrap around."""
    value = (value ^ (value >> np.uint64(30))) * _MIX[0]
    value = (value ^ (value >> np.uint64(27))) * _MIX[1]
    return value ^ (value >> np.uint64(31))


def shuffle(samples: Samples, size: int, seed: int) -> Ids:
    """Return where each sample goes, [samples], in its epoch's own order of 0 ... size - 1."""
    epochs, indices = np.array(samples, np.int64).reshape(-1, 2).T
    places = np.empty_like(indices)
    for epoch in np.unique(epochs):
        rows = epochs == epoch
        places[rows] = permute(indices[rows], size, derive_key(seed, epoch, "order"))
    return places


def uniform(keys: ArrayLike, count: int) -> NDArray[np.float64]:
    """Return `count` numbers in [0, 1) for each key, [keys, count]: splitmix64 seeded by it."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GAMMA
    bits = _scramble(np.asarray(keys, np.uint64)[:, None] + steps)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


class AnyBatch:
    """What batches have in common. The loss of one is a sum over its `target_count` targets."""

    targets: Tensor

    @property
    def target_count(self) -> int:
        places = self.target_places
        return self.targets.numel() if places is None else len(places)

    @cached_property
    def target_places(self) -> Tensor | None:
        """Where the targets are, counted through all rows, int64 [targets]; None if everywhere."""
        is_target = self.targets.flatten() != IGNORE_INDEX
        return None if bool(is_target.all()) else is_target.nonzero().squeeze(1)

    def to(self, device: torch.device | str) -> Self:
        """Return the batch on a device. Its targets are counted before: nobody waits for that."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Self:
        """Return the batch in memory that a GPU copies from while the CPU goes on."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        if hasattr(self, "targets"):
            self.target_places  # noqa: B018 - found here, not on the device
        made = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(made, name, change(value))
        return made


@dataclass
class Batch(AnyBatch):
    """Rows of tokens, each with the target to predict from it and those before it."""

    tokens: Tensor  # [batch, time] int64
    targets: Tensor  # [batch, time] int64, IGNORE_INDEX where there is none
    documents: Tensor | None  # [batch, time] int32; None: each row is of one document
    positions: Tensor | None  # [batch, time] int64, from 0 in each document; None: 0 ... time - 1
    samples: Samples


class ShuffledBlocks:
    """A circle of `size` places cut into blocks of `length`, shuffled anew each epoch.

    Each epoch cuts it at another offset. Samples are numbered on through the epochs. What loads
    batches of a split inherits from this.
    """

    def __init__(self, split: Split, size: int, length: int, seed: int) -> None:
        """Raise UserError where the split, of `size` places, is shorter than `length`."""
        if size < length:
            raise UserError(
                f"the {split.name} text needs at least {length:,} tokens, has {size:,}",
                where=split.path,
                mend=f"add text, or lower --context-length to {max(8, size)} or less",
            )
        self.split, self.size, self.length, self.seed = split, size, length, seed
        self.blocks = -(-size // length)  # in an epoch

    def samples(self, first: int, count: int) -> Samples:
        """Return (epoch, index) of the samples numbered from `first` on."""
        return [divmod(number, self.blocks) for number in range(first, first + count)]

    def places(self, samples: Samples) -> tuple[Ids, Ids]:
        """Return each sample's first place, and how many of its places to skip, each [samples].

        The blocks of an epoch follow one another from its offset on. The last would reach into
        the first: it begins earlier instead, and skips what the block before it has.
        """
        starts = shuffle(samples, self.blocks, self.seed) * self.length
        skipped = np.maximum(0, starts + self.length - self.size)
        offsets = [derive_key(self.seed, epoch, "offset") % self.size for epoch, _ in samples]
        return (starts + offsets - skipped) % self.size, skipped

    def expect(self, first: int, count: int) -> None:
        """Have what `count` samples from `first` on need brought here, where it is elsewhere."""
        if isinstance(self.split.tokens, PartedIds):
            starts = self.places(self.samples(first, count))[0]
            self.split.expect(self.tokens_at(starts), self.length)

    def tokens_at(self, places: Ids) -> Ids:
        """Return where in the split the tokens at places of the circle are, or just before."""
        return places

    def keys(self, samples: Samples, purpose: str) -> list[int]:
        """Return the key of the random numbers that each sample takes for a purpose."""
        return [derive_key(self.seed, epoch, index, purpose) for epoch, index in samples]

    def documents(self, first: int, count: int) -> list[str]:
        """Return where the documents in `count` samples from `first` on came from."""
        return self.sources(self.places(self.samples(first, count))[0])

    def sources(self, starts: Ids) -> list[str]:
        """Return where the documents of the rows from `starts` [rows] on came from."""
        return self.split.sources_of_rows(starts, self.length)


class BlockLoader(ShuffledBlocks):
    """Blocks of `context_length` tokens, each of which is to be predicted from those before it."""

    def __init__(self, split: Split, context_length: int, seed: int) -> None:
        super().__init__(split, len(split), context_length, seed)

    def batch(self, first: int, count: int) -> Batch:
        """Return `count` rows: the samples numbered from `first`, counted on through the epochs."""
        samples = self.samples(first, count)
        return make_batch(self.split, *self.places(samples), self.length, samples)


def evaluation_windows(
    split: Split,
    context_length: int,
    stride: int | None = None,
    batch_size: int = 16,
    max_tokens: int | None = None,
) -> Iterator[Batch]:
    """Yield the split from its start, for evaluation: each token is a target at most once.

    The first window scores all its targets, each later one its last `stride`, having seen what
    is before them; without a stride windows do not overlap. `window_bounds` says which ones there
    are, whatever `batch_size` is. A sample's index is the window's number. Raises UserError for
    an empty split.
    """
    starts, stops = window_bounds(len(split), context_length, stride, max_tokens)
    if not len(stops):
        raise UserError("there is no held-out text to measure on", where=split.path)
    length = min(context_length, len(split), max_tokens or len(split))
    for first in range(0, len(stops), batch_size):
        ends = stops[first : first + batch_size]
        scored = ends - starts[first : first + batch_size]
        samples = [(0, first + row) for row in range(len(ends))]
        yield make_batch(split, ends - length, length - scored, length, samples)


def window_bounds(
    size: int, context_length: int, stride: int | None = None, max_tokens: int | None = None
) -> tuple[Ids, Ids]:
    """Return where the targets that each window scores start and stop, each [windows].

    Together they are all `size` targets; or, where that is more than `max_tokens`, those of
    windows at equal distances, as many as stay below it.
    """
    length = min(context_length, size, max_tokens or size)
    stride = min(stride or context_length, length)
    if not length:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    stops = np.append(np.arange(length, size, stride), size)
    starts = np.append(0, stops[:-1])
    if max_tokens is not None and max_tokens < size:
        count = 1 + (max_tokens - length) // stride
        chosen = ((np.arange(count) + 0.5) * len(stops) / count).astype(np.int64)
        starts, stops = starts[chosen], stops[chosen]
    return starts, stops


def make_batch(split: Split, starts: Ids, skipped: Ids, length: int, samples: Samples) -> Batch:
    """Return the batch of the rows that `read_rows` returns."""
    return to_batch(*read_rows(split, starts, skipped, length), samples)


def read_rows(
    split: Split, starts: Ids, skipped: Ids, length: int
) -> tuple[Ids, Ids, NDArray[np.bool_]]:
    """Return rows of `length` targets from `starts` [batch] on, in the circle: their tokens, their
    targets and where documents begin, each [batch, time].

    The first `skipped` [batch] of each row are read but are no targets. Raises UserError for ids
    that the vocabulary does not have.
    """
    steps = np.arange(length)
    places = (starts[:, None] + np.arange(-1, length)) % len(split)  # [batch, time + 1]
    stream = read_ids(split, places)
    tokens, targets = stream[:, :-1], stream[:, 1:].copy()
    targets[steps < skipped[:, None]] = IGNORE_INDEX
    # By where documents lie, not by their ids: what others encoded may lack the end token.
    _, begins = find_documents(split.starts, starts, length, len(split))
    return np.where(begins, split.end_id, tokens), targets, begins


def find_documents(
    documents: Ids, starts: Ids, length: int, size: int
) -> tuple[Ids, NDArray[np.bool_]]:
    """Return the document of each place of rows, and where documents begin, each [batch, length].

    Rows go on from their `starts` [batch] in a circle of `size` places, no more than once around;
    `documents` says where each of them begins, in order, and may hold the end. Only the ends of
    rows are searched for: there may be millions of documents.
    """
    first = np.searchsorted(documents, starts, side="right") - 1
    last = np.searchsorted(documents, np.minimum(starts + length, size))
    again = np.where(starts + length > size, np.searchsorted(documents, starts + length - size), 0)
    counts = np.stack((last - first - 1, again), axis=1)  # that begin within a row: two stretches
    rows = np.repeat(np.arange(len(starts)), counts.sum(1))
    heads = np.stack((first + 1, np.zeros_like(first)), axis=1).ravel()
    counts = counts.ravel()
    nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    within = documents[np.repeat(heads, counts) + nth] - starts[rows]
    marks = np.zeros((len(starts), length), np.int64)
    np.add.at(marks, (rows, within % size), 1)
    numbers = first[:, None] + np.cumsum(marks, axis=1)
    everything = np.searchsorted(documents, size)
    numbers[starts[:, None] + np.arange(length) >= size] -= everything  # counted anew
    begins = marks > 0
    begins[:, 0] = documents[first] == starts
    return numbers, begins


def to_batch(tokens: Ids, targets: Ids, begins: NDArray[np.bool_], samples: Samples) -> Batch:
    """Return a batch of arrays [batch, time]; `begins` says where documents begin.

    Its documents and positions are None where each row holds a single document.
    """
    documents = positions = None
    if begins[:, 1:].any():
        steps = np.arange(begins.shape[1])
        last = np.maximum.accumulate(np.where(begins, steps, 0), axis=1)
        documents = torch.from_numpy(np.cumsum(begins, axis=1, dtype=np.int32))
        positions = torch.from_numpy(steps - last)
    return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), documents, positions, samples)


def read_ids(split: Split, places: Ids) -> Ids:
    """Return the ids at places. Raises UserError for some that the vocabulary does not have."""
    ids: Ids = split.tokens[places].astype(np.int64)
    if not 0 <= int(ids.min()) <= int(ids.max()) < split.vocab_size:
        raise UserError(
            f"holds id {int(ids.max())}, but the tokenizer has {split.vocab_size:,} tokens",
            where=split.path,
            mend="prepare the store again",
        )
    return ids
