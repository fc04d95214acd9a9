"""Batches from a token store, in an order that is a pure function of (seed, epoch, index).

A split is a ring of tokens: before a document's first token stands the end-of-document token of the
one before it, which serves as its start. A window of `context_length` consecutive targets is a
sample; its inputs are the same tokens one place earlier. The ring is cut at another place every
epoch, and its windows are shuffled by a permutation that is computed, never stored.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.tokens.store import Split

if TYPE_CHECKING:
    import torch

IGNORE = -100


@dataclass(frozen=True)
class Batch:
    """Tokens and what follows each of them.

    `documents` numbers the documents of each row, and `positions` counts from each one's start; both
    are None where every row is a single document.
    """

    tokens: torch.Tensor  # int64 [batch, time]
    targets: torch.Tensor  # int64 [batch, time], IGNORE where there is none
    documents: torch.Tensor | None = None  # int32 [batch, time]
    positions: torch.Tensor | None = None  # int64 [batch, time]
    samples: list[tuple[int, int]] = field(default_factory=list)  # (epoch, index) of each row

    def to(self, device: torch.device) -> Batch:
        if device == self.tokens.device:
            return self
        return replace(
            self,
            tokens=self.tokens.to(device),
            targets=self.targets.to(device),
            documents=None if self.documents is None else self.documents.to(device),
            positions=None if self.positions is None else self.positions.to(device),
        )


class BlockLoader:
    """Training samples of a split: every token is a target exactly once an epoch."""

    def __init__(self, split: Split, context_length: int, seed: int, end_id: int) -> None:
        tokens = len(split.tokens)
        if tokens <= context_length:
            raise UserError(
                f"a block of {context_length} tokens needs at least {context_length + 1:,} tokens, "
                f"the training text has {tokens:,}",
                mend="give more text, or a smaller --context-length",
            )
        self.split, self.context_length, self.seed, self.end_id = split, context_length, seed, end_id
        self.windows = -(-tokens // context_length)  # an epoch's samples

    def batch(self, first: int, count: int) -> Batch:
        """Samples number `first` to `first + count`, counted from the run's beginning."""
        samples = [divmod(number, self.windows) for number in range(first, first + count)]
        tokens = len(self.split.tokens)
        rows = np.empty((count, self.context_length), np.int64)  # the targets' places in the ring
        kept = np.ones((count, self.context_length), np.bool_)
        for row, (epoch, index) in enumerate(samples):
            window = permuted(index, self.windows, f"{self.seed}/{epoch}")
            offset = random.Random(f"offset/{self.seed}/{epoch}").randrange(tokens)
            begin = window * self.context_length
            rows[row] = (offset + begin + np.arange(self.context_length)) % tokens
            kept[row] = begin + np.arange(self.context_length) < tokens
        return _batch(self.split, rows, kept, self.end_id, samples)

    def documents(self, batches: Sequence[Batch]) -> list[int]:
        """The numbers of the documents that batches were drawn from, in order."""
        found: set[int] = set()
        for batch in batches:
            for epoch, index in batch.samples:
                window = permuted(index, self.windows, f"{self.seed}/{epoch}")
                offset = random.Random(f"offset/{self.seed}/{epoch}").randrange(len(self.split.tokens))
                begin = offset + window * self.context_length
                places = np.arange(begin, begin + self.context_length) % len(self.split.tokens)
                found.update(np.unique(_document_of(self.split, places)).tolist())
        return sorted(found)


class Windows:
    """A split's text in order, for evaluation: every token is a target exactly once.

    A window scores `stride` targets (the first one, up to `context_length`), seeing as many tokens
    before them as fit. Windows do not depend on the batch they are computed in.
    """

    def __init__(
        self, split: Split, context_length: int, end_id: int, stride: int | None = None
    ) -> None:
        self.split, self.context_length, self.end_id = split, context_length, end_id
        self.stride = min(stride or context_length, context_length)

    def __len__(self) -> int:
        tokens = len(self.split.tokens)
        if tokens == 0:
            return 0
        return 1 + max(0, -(-(tokens - self.context_length) // self.stride))

    def batch(self, numbers: Sequence[int]) -> Batch:
        tokens, time = len(self.split.tokens), self.context_length
        begins = np.asarray(numbers, np.int64)[:, None] * self.stride
        rows = begins + np.arange(time)
        kept = rows < tokens
        kept &= (begins == 0) | (np.arange(time) >= time - self.stride)
        return _batch(self.split, np.minimum(rows, tokens - 1), kept, self.end_id, [])


def _batch(
    split: Split,
    places: NDArray[np.int64],
    kept: NDArray[np.bool_],
    end_id: int,
    samples: list[tuple[int, int]],
) -> Batch:
    """Rows of targets at `places` of the ring, [batch, time], those not kept being no targets."""
    import torch

    targets = split.tokens[places].astype(np.int64)
    tokens = split.tokens[places - 1].astype(np.int64)  # the ring's place -1 is its last token
    owners = _document_of(split, places)
    tokens[places == split.starts[owners]] = end_id
    targets[~kept] = IGNORE
    documents = positions = None
    begins = np.ones(places.shape, np.bool_)  # where a document begins in its row
    begins[:, 1:] = (owners[:, 1:] != owners[:, :-1]) | (places[:, 1:] == split.starts[owners[:, 1:]])
    if begins[:, 1:].any():
        time = np.arange(places.shape[1])
        numbers = np.cumsum(begins, axis=1)
        documents = torch.from_numpy(numbers.astype(np.int32))
        first = np.maximum.accumulate(np.where(begins, time, 0), axis=1)
        positions = torch.from_numpy(time - first)
    return Batch(
        torch.from_numpy(tokens), torch.from_numpy(targets), documents, positions, samples
    )


def _document_of(split: Split, places: NDArray[np.int64]) -> NDArray[Any]:
    return np.searchsorted(split.starts, places, side="right") - 1


def permuted(index: int, count: int, key: str) -> int:
    """Where `index` goes in a shuffle of range(count): a Feistel network with cycle walking.

    Luby and Rackoff 1988; Black and Rogaway 2002 for domains that are no power of four.
    """
    if not 0 <= index < count:
        raise IndexError(index)
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    keys = [random.Random(f"{key}/{turn}").getrandbits(64) for turn in range(4)]
    while True:
        left, right = index >> half, index & mask
        for word in keys:
            mixed = ((right ^ word) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
            mixed ^= mixed >> 29
            mixed = (mixed * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
            left, right = right, left ^ ((mixed ^ mixed >> 32) & mask)
        index = left << half | right
        if index < count:
            return index
