"""Batches from a split, in an order that is a pure function of (seed, epoch, index).

The stream of a split is read in a circle: each document ends with the end token, which serves as
the start of the next, and the last one's as the start of the first. So every stored token is a
target exactly once an epoch, and any batch of a run is found at once, whatever came before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.errors import UserError
from nextword.tokens.permutation import key, permute
from nextword.tokens.store import Split

IGNORE = -100  # the target of a place that has none


@dataclass
class Batch:
    tokens: Tensor  # [batch, time] int64
    targets: Tensor  # [batch, time] int64, IGNORE where there is none
    documents: Tensor | None  # [batch, time] int32; None: each row is of one document
    positions: Tensor | None  # [batch, time] int64, from 0 in each document; None: 0 ... time - 1
    samples: list[tuple[int, int]]  # (epoch, index) of each row

    @property
    def target_count(self) -> int:
        return int((self.targets != IGNORE).sum())

    def to(self, device: torch.device | str) -> Batch:
        if torch.device(device).type == "cpu":
            return self
        moved = {
            name: tensor.to(device, non_blocking=True)
            for name in ("tokens", "targets", "documents", "positions")
            if (tensor := getattr(self, name)) is not None
        }
        return replace(self, **moved)


class Blocks:
    """A circle of `size` places cut into stretches of `length`, shuffled anew each epoch and cut
    at another offset. Samples are numbered on through the epochs."""

    def __init__(self, split: Split, size: int, length: int, seed: int) -> None:
        """Raises UserError where the split, of `size` places, has no `length`."""
        if size < length:
            raise UserError(
                f"the {split.name} text needs at least {length:,} tokens, has {size:,}",
                where=split.path,
                mend=f"add text, or lower --context-length to {max(8, size)} or less",
            )
        self.size, self.length, self.seed = size, length, seed
        self.count = -(-size // length)  # an epoch's

    def samples(self, first: int, count: int) -> list[tuple[int, int]]:
        """(epoch, index) of the samples numbered from `first` on."""
        return [divmod(number, self.count) for number in range(first, first + count)]

    def places(self, samples: list[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Each sample's first place, and how many of its first are not for it, each [samples].

        The blocks of an epoch follow one another from its offset on. The last would reach into
        the first: it begins earlier instead, and what the one before it had is not for it.
        """
        found = []
        for epoch, index in samples:
            seed, offset = _order(self.seed, epoch, self.size)
            start = int(permute(index, self.count, seed)) * self.length
            overhang = max(0, start + self.length - self.size)
            found.append(((offset + start - overhang) % self.size, overhang))
        starts, skipped = np.array(found, np.int64).reshape(-1, 2).T
        return starts, skipped


class BlockLoader:
    """Blocks of `context_length` tokens, each of which is to be predicted from those before it."""

    def __init__(self, split: Split, context_length: int, seed: int) -> None:
        self.split, self.context_length, self.seed = split, context_length, seed
        self._blocks = Blocks(split, len(split), context_length, seed)

    @property
    def blocks(self) -> int:
        """An epoch's."""
        return self._blocks.count

    def batch(self, first: int, count: int) -> Batch:
        """`count` rows: the samples numbered from `first`, counted on through the epochs."""
        samples = self._blocks.samples(first, count)
        starts, skipped = self._blocks.places(samples)
        return make_batch(self.split, starts, skipped, self.context_length, samples)

    def epoch_of(self, sample: int) -> float:
        return sample / self.blocks

    def documents(self, first: int, count: int) -> list[str]:
        """Where the documents in `count` samples from `first` on came from."""
        starts, _ = self._blocks.places(self._blocks.samples(first, count))
        places = (starts[:, None] + np.arange(self.context_length)) % len(self.split)
        numbers = np.unique(np.searchsorted(self.split.starts, places, side="right") - 1)
        return self.split.sources(numbers)


@lru_cache(maxsize=64)
def _order(seed: int, epoch: int, size: int) -> tuple[int, int]:
    """(seed of an epoch's shuffle, its offset)."""
    return key(seed, epoch, "order"), key(seed, epoch, "offset") % size


def windows(
    split: Split,
    context_length: int,
    stride: int | None = None,
    batch_size: int = 16,
    max_tokens: int | None = None,
) -> Iterator[Batch]:
    """The split from its start, for measuring: each token is a target at most once.

    The first window scores all its targets, each later one its last `stride`, having seen what
    is before them; without a stride windows do not overlap. They do not depend on `batch_size`.
    Which ones there are says `scored_by_windows`. A sample's index is the window's number.
    """
    starts, stops = scored_by_windows(len(split), context_length, stride, max_tokens)
    if not len(stops):
        where = split.path
        raise UserError("there is no held-out text to measure on", where=where)
    length = min(context_length, len(split), max_tokens or len(split))
    for first in range(0, len(stops), batch_size):
        ends = stops[first : first + batch_size]
        scored = ends - starts[first : first + batch_size]
        samples = [(0, first + row) for row in range(len(ends))]
        yield make_batch(split, ends - length, length - scored, length, samples)


def scored_by_windows(
    size: int, context_length: int, stride: int | None = None, max_tokens: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The stretches of `size` targets that windows score, from and to, each [windows].

    Together they are all of them; or, where that is more than `max_tokens`, windows at equal
    distances, as many as stay below it.
    """
    length = min(context_length, size, max_tokens or size)
    stride = min(stride or context_length, length)
    if not length:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    stops = np.append(np.arange(length, size, stride), size)
    starts = np.append(0, stops[:-1])
    if max_tokens is not None and max_tokens < size:
        count = 1 + (max_tokens - length) // stride
        kept = ((np.arange(count) + 0.5) * len(stops) / count).astype(np.int64)
        starts, stops = starts[kept], stops[kept]
    return starts, stops


def make_batch(
    split: Split,
    starts: NDArray[np.int64],
    skipped: NDArray[np.int64],
    length: int,
    samples: list[tuple[int, int]],
) -> Batch:
    """Rows of `length` targets from `starts` [batch] on, in the circle; the first `skipped`
    [batch] of each are read but not scored."""
    steps = np.arange(length)
    numbers = (starts[:, None] + steps) % len(split)  # [batch, time]
    rows = [_stretch(split, int(start), length + 1) for start in starts]
    stream = np.stack(rows).astype(np.int64)  # [batch, time + 1]
    check_ids(split, stream)
    tokens, targets = stream[:, :-1], stream[:, 1:].copy()
    targets[steps < skipped[:, None]] = IGNORE
    # By where documents lie, not by their ids: what others encoded may lack the end token.
    begins = split.starts[np.searchsorted(split.starts, numbers)] == numbers
    tokens = np.where(begins, split.end_id, tokens)
    return Batch(
        torch.from_numpy(tokens),
        torch.from_numpy(targets),
        *documents_and_positions(begins),
        samples,
    )


def documents_and_positions(begins: NDArray[np.bool_]) -> tuple[Tensor | None, Tensor | None]:
    """Of where a batch's documents begin, bool [batch, time]; None where rows hold one each."""
    if not begins[:, 1:].any():
        return None, None
    steps = np.arange(begins.shape[1])
    last = np.maximum.accumulate(np.where(begins, steps, 0), axis=1)
    documents = np.cumsum(begins, axis=1, dtype=np.int32)
    return torch.from_numpy(documents), torch.from_numpy(steps - last)


def check_ids(split: Split, ids: NDArray[np.int64]) -> None:
    """Raise UserError for ids that the split's vocabulary does not have."""
    if not 0 <= int(ids.min()) <= int(ids.max()) < split.vocab_size:
        raise UserError(
            f"holds id {int(ids.max())}, but the tokenizer has {split.vocab_size:,} tokens",
            where=split.path,
            mend="prepare the store again",
        )


def _stretch(split: Split, first_target: int, length: int) -> NDArray[np.int64]:
    """Ids from the one before a target on, around the circle as often as it takes."""
    start = (first_target - 1) % len(split)
    found = split.tokens[start : start + length]
    while len(found) < length:
        found = np.concatenate([found, split.tokens[: length - len(found)]])
    return found
