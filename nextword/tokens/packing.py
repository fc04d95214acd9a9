"""Examples of different lengths laid side by side into rows, so that hardly anything is padding.

A decoder's batch is rows of documents; an encoder–decoder's is rows of pairs, what is read and what
is to be written.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from nextword.tokens.loader import IGNORE_INDEX, AnyBatch, Batch, Ids, Samples, shuffle

ROW_LENGTH = 128  # tokens at least, where there are so many: longer rows cost more attention


@dataclass(frozen=True)
class Example:
    """The ids of one example, [tokens], and what is to be learned of them.

    `scored` [tokens] says which are targets: none where the example has a label instead. `source`
    is its place, `file:line`; `types` [tokens] are the token types, all 0 if None.
    """

    ids: Ids
    scored: NDArray[np.bool_]
    source: str = ""
    types: Ids | None = None

    @property
    def inputs(self) -> int:
        """The number of tokens that the model reads: the last one of a text is only a target."""
        return len(self.ids) - bool(self.scored.any())

    @property
    def targets(self) -> Ids:
        """What follows each token that the model reads, IGNORE_INDEX if not scored, [inputs]."""
        if not self.scored.any():
            return np.full(len(self.ids), IGNORE_INDEX)
        return np.where(self.scored[1:], self.ids[1:], IGNORE_INDEX)

    @property
    def pair(self) -> tuple[Ids, Ids]:
        """The ids before the first target, and those from there on."""
        begin = int(self.scored.argmax())
        return self.ids[:begin], self.ids[begin:]


@dataclass(frozen=True)
class PackedRows:
    """Examples in rows; `places` says which row and column each example begins at."""

    tokens: Tensor  # [rows, time]
    documents: Tensor  # [rows, time]
    positions: Tensor  # [rows, time]
    types: Tensor  # [rows, time]
    targets: Tensor  # [rows, time]
    places: list[tuple[int, int]]


@dataclass
class Seq2SeqBatch(AnyBatch):
    """What an encoder–decoder reads and writes.

    A token of the target attends to the source of its own document. Padding at the end of a row
    is a document too, with no targets.
    """

    source: Tensor  # [batch, source time] int64
    source_documents: Tensor  # [batch, source time] int32
    source_positions: Tensor  # [batch, source time] int64, from 0 in each document
    tokens: Tensor  # [batch, time] int64: the start token, then all targets but the last
    targets: Tensor  # [batch, time] int64, IGNORE_INDEX where there is none
    documents: Tensor  # [batch, time] int32
    positions: Tensor  # [batch, time] int64
    samples: Samples


def bin_pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return which items share a row of at most `capacity` tokens, or as long as the longest.

    The rows are as few as first fit needs, and as short as it finds (Multifit, Coffman et al.
    1978).
    """
    longest = max(lengths)
    capacity = max(capacity, longest)
    rows = _first_fit(lengths, capacity)
    low = max(longest, -(-sum(lengths) // len(rows)))
    while low < capacity:
        middle = (low + capacity) // 2
        candidate = _first_fit(lengths, middle)
        if len(candidate) > len(rows):
            low = middle + 1
        else:
            rows, capacity = candidate, middle
    return rows


def _first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Place the longest first, each where it still fits (first-fit decreasing, Johnson 1973)."""
    rows: list[list[int]] = []
    space: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        row = next((r for r, left in enumerate(space) if left >= lengths[index]), None)
        if row is None:
            rows.append([])
            space.append(capacity)
            row = len(rows) - 1
        rows[row].append(index)
        space[row] -= lengths[index]
    return rows


def pack(examples: Sequence[Example], room: int = ROW_LENGTH) -> PackedRows:
    """Lay examples into rows of `room` tokens; each is a document of its own, positions from 0.

    Padding at the end of a row is a document too, of token 0 at position 0, with no targets.
    """
    lengths = [example.inputs for example in examples]
    rows = bin_pack(lengths, room)
    places = [(0, 0)] * len(examples)
    for number, row in enumerate(rows):
        ends = itertools.accumulate(lengths[index] for index in row)
        for index, end in zip(row, ends, strict=True):
            places[index] = number, end - lengths[index]
    laid = [[examples[index] for index in row] for row in rows]
    no_types = np.zeros(max(lengths), np.int64)
    tokens, documents, positions = _side_by_side(
        [[example.ids[: example.inputs] for example in row] for row in laid], padding=0
    )
    types = [[(no_types if e.types is None else e.types)[: e.inputs] for e in row] for row in laid]
    targets = [[example.targets for example in row] for row in laid]
    return PackedRows(
        tokens, documents, positions, _lay(types, 0), _lay(targets, IGNORE_INDEX), places
    )


def assign_rows(examples: Sequence[Example], room: int, start_id: int | None) -> list[list[int]]:
    """Return which examples share a row in the batch that `collate_examples` makes, in order."""
    if start_id is None:
        return bin_pack([example.inputs for example in examples], room)
    return bin_pack([max(map(len, example.pair)) for example in examples], room)


def collate_examples(
    examples: Sequence[Example],
    samples: Samples,
    room: int = ROW_LENGTH,
    start_id: int | None = None,
) -> Batch | Seq2SeqBatch:
    """Return a batch for next-token prediction, in which only what is `scored` is a target.

    With the `start_id` of an encoder–decoder, what stands before that is its source.
    """
    if start_id is not None:
        rows = assign_rows(examples, room, start_id)
        return collate_pairs([[examples[i].pair for i in row] for row in rows], start_id, samples)
    packed = pack(examples, room)
    return Batch(packed.tokens, packed.targets, packed.documents, packed.positions, samples)


def collate_pairs(
    rows: list[list[tuple[Ids, Ids]]], start_id: int, samples: Samples
) -> Seq2SeqBatch:
    """Return a batch of rows of documents, each (what is read, what is to be written)."""
    source = _side_by_side([[read for read, _ in row] for row in rows], start_id)
    written, documents, positions = _side_by_side(
        [[written for _, written in row] for row in rows], start_id
    )
    tokens = written.roll(1, dims=1).masked_fill(positions == 0, start_id)
    targets = written.masked_fill(documents == 0, IGNORE_INDEX)
    return Seq2SeqBatch(*source, tokens, targets, documents, positions, samples)


def _side_by_side(rows: list[list[Ids]], padding: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, documents (from 1, 0 is padding) and positions, each [rows, time]."""
    documents = [
        [np.full(len(ids), number, np.int32) for number, ids in enumerate(row, start=1)]
        for row in rows
    ]
    positions = [[np.arange(len(ids)) for ids in row] for row in rows]
    return _lay(rows, padding), _lay(documents, 0), _lay(positions, 0)


def _lay(rows: Sequence[Sequence[NDArray[Any]]], padding: int) -> Tensor:
    """Return each row's arrays one after another, padded at the end, [rows, time]."""
    joined = [torch.from_numpy(np.concatenate(row)) for row in rows]
    return pad_sequence(joined, batch_first=True, padding_value=padding)


class ExampleLoader:
    """Batches of examples, shuffled anew each epoch: a pure function of (seed, epoch, index).

    `collate` makes a batch of examples' numbers and their samples, (epoch, index) of each.
    """

    def __init__(
        self, sources: Sequence[str], seed: int, collate: Callable[[list[int], Samples], Any]
    ) -> None:
        self.sources, self.seed, self._collate = sources, seed, collate

    def batch(self, first: int, count: int) -> Any:
        """Return a batch of `count` examples: the samples numbered from `first` on."""
        samples = self._samples(first, count)
        return self._collate(shuffle(samples, len(self.sources), self.seed).tolist(), samples)

    def expect(self, first: int, count: int) -> None:
        """Do nothing: all examples are here."""

    def documents(self, first: int, count: int) -> list[str]:
        """Return the places of the examples in `count` samples from `first` on."""
        numbers = shuffle(self._samples(first, count), len(self.sources), self.seed)
        return [self.sources[number] for number in numbers]

    def _samples(self, first: int, count: int) -> Samples:
        return [divmod(sample, len(self.sources)) for sample in range(first, first + count)]
