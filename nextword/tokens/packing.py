"""Examples of different lengths laid side by side into rows, so that hardly anything is padding.

A decoder's batch is rows of documents; an encoder–decoder's is rows of pairs, what is read and what
is to be written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.tokens.loader import IGNORE_INDEX, Batch, Ids, derive_key, permute

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
class Seq2SeqBatch:
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
    samples: list[tuple[int, int]]  # (epoch, index) of each row

    @property
    def target_count(self) -> int:
        return int((self.targets != IGNORE_INDEX).sum())

    def to(self, device: torch.device | str) -> Seq2SeqBatch:
        """Return the batch on a device."""
        if torch.device(device).type == "cpu":
            return self
        tensors: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


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
    time = max(sum(lengths[index] for index in row) for row in rows)
    tokens, positions, types = np.zeros((3, len(rows), time), np.int64)
    targets = np.full((len(rows), time), IGNORE_INDEX, np.int64)
    documents = np.zeros((len(rows), time), np.int32)
    places = [(0, 0)] * len(examples)
    for number, row in enumerate(rows):
        begin = 0
        for document, index in enumerate(row, start=1):
            example, length = examples[index], lengths[index]
            span = slice(begin, begin + length)
            tokens[number, span] = example.ids[:length]
            documents[number, span] = document
            positions[number, span] = np.arange(length)
            if example.types is not None:
                types[number, span] = example.types[:length]
            if example.scored.any():
                targets[number, span] = np.where(example.scored[1:], example.ids[1:], IGNORE_INDEX)
            places[index] = (number, begin)
            begin += length
    return PackedRows(
        torch.from_numpy(tokens),
        torch.from_numpy(documents),
        torch.from_numpy(positions),
        torch.from_numpy(types),
        torch.from_numpy(targets),
        places,
    )


def assign_rows(examples: Sequence[Example], room: int, start_id: int | None) -> list[list[int]]:
    """Return which examples share a row in the batch that `collate_examples` makes, in order."""
    if start_id is None:
        return bin_pack([example.inputs for example in examples], room)
    return bin_pack([max(map(len, example.pair)) for example in examples], room)


def collate_examples(
    examples: Sequence[Example],
    samples: list[tuple[int, int]],
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
    rows: list[list[tuple[Ids, Ids]]], start_id: int, samples: list[tuple[int, int]]
) -> Seq2SeqBatch:
    """Return a batch of rows of documents, each (what is read, what is to be written)."""
    source, source_documents, source_positions = _side_by_side(
        [[read for read, _ in row] for row in rows], start_id
    )
    written, documents, positions = _side_by_side(
        [[written for _, written in row] for row in rows], start_id
    )
    before = np.roll(written, 1, axis=1)
    return Seq2SeqBatch(
        source=torch.from_numpy(source),
        source_documents=torch.from_numpy(source_documents),
        source_positions=torch.from_numpy(source_positions),
        tokens=torch.from_numpy(np.where(positions == 0, start_id, before)),
        targets=torch.from_numpy(np.where(documents > 0, written, IGNORE_INDEX)),
        documents=torch.from_numpy(documents),
        positions=torch.from_numpy(positions),
        samples=samples,
    )


def _side_by_side(rows: list[list[Ids]], pad_id: int) -> tuple[Ids, NDArray[np.int32], Ids]:
    """Return ids, documents (from 1, 0 is padding) and positions, each [rows, time]."""
    time = max(sum(map(len, row)) for row in rows)
    ids = np.full((len(rows), time), pad_id, np.int64)
    documents = np.zeros((len(rows), time), np.int32)
    positions = np.zeros((len(rows), time), np.int64)
    for number, row in enumerate(rows):
        lengths = [len(document) for document in row]
        end = sum(lengths)
        ids[number, :end] = np.concatenate(row)
        documents[number, :end] = np.repeat(np.arange(1, len(row) + 1), lengths)
        positions[number, :end] = np.concatenate([np.arange(length) for length in lengths])
    return ids, documents, positions


class ExampleLoader:
    """Batches of examples, shuffled anew each epoch: a pure function of (seed, epoch, index).

    `collate` makes a batch of examples' numbers and their samples, (epoch, index) of each.
    """

    def __init__(
        self,
        sources: Sequence[str],
        seed: int,
        collate: Callable[[list[int], list[tuple[int, int]]], Any],
    ) -> None:
        self.sources, self.seed, self._collate = sources, seed, collate

    def batch(self, first: int, count: int) -> Any:
        """Return a batch of `count` examples: the samples numbered from `first` on."""
        samples = [divmod(sample, len(self.sources)) for sample in range(first, first + count)]
        return self._collate(self._numbers(samples), samples)

    def documents(self, first: int, count: int) -> list[str]:
        """Return the places of the examples in `count` samples from `first` on."""
        samples = [divmod(sample, len(self.sources)) for sample in range(first, first + count)]
        return [self.sources[number] for number in self._numbers(samples)]

    def _numbers(self, samples: list[tuple[int, int]]) -> list[int]:
        size = len(self.sources)
        return [
            int(permute(index, size, derive_key(self.seed, epoch, "order")))
            for epoch, index in samples
        ]
