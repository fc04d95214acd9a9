"""Examples of different length laid side by side into rows, so that next to nothing is padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.tokens.loader import IGNORE, Batch
from nextword.tokens.pairs import PairBatch, pairs
from nextword.tokens.permutation import key, permute

ROW = 128  # tokens in a row at least, where there are so many: longer rows cost more attention


@dataclass(frozen=True)
class Example:
    """`ids` [tokens] of one example; `scored` [tokens] says which of them are to be learnt, none
    where the example has a label instead. `source` is its place, `file:line`; `types` [tokens] are
    those of the tokens, 0 if not given."""

    ids: NDArray[np.int64]
    scored: NDArray[np.bool_]
    source: str = ""
    types: NDArray[np.int64] | None = None

    @property
    def inputs(self) -> int:
        """Tokens that the model reads: the last one of a text to be learnt is only a target."""
        return len(self.ids) - bool(self.scored.any())

    @property
    def pair(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What comes before the first token to be learnt, and what follows from there."""
        begin = int(self.scored.argmax())
        return self.ids[:begin], self.ids[begin:]


@dataclass(frozen=True)
class Packed:
    """`tokens`, `documents`, `positions`, `types` and `targets` [rows, time]; `places` says which
    row and column each example begins at."""

    tokens: Tensor
    documents: Tensor
    positions: Tensor
    types: Tensor
    targets: Tensor
    places: list[tuple[int, int]]


def rows_of(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Which examples share a row of at most `room` tokens, or as long as the longest of them: in as
    few rows as first fit needs, and these as short as it finds (Multifit, Coffman et al. 1978)."""
    longest = max(lengths)
    room = max(room, longest)
    rows = _first_fit(lengths, room)
    low = max(longest, -(-sum(lengths) // len(rows)))
    while low < room:
        middle = (low + room) // 2
        tried = _first_fit(lengths, middle)
        if len(tried) > len(rows):
            low = middle + 1
        else:
            rows, room = tried, middle
    return rows


def _first_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """The longest first, each where it still fits (first-fit decreasing, Johnson 1973)."""
    rows: list[list[int]] = []
    left: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        row = next((r for r, space in enumerate(left) if space >= lengths[index]), None)
        if row is None:
            rows.append([])
            left.append(room)
            row = len(rows) - 1
        rows[row].append(index)
        left[row] -= lengths[index]
    return rows


def pack(examples: Sequence[Example], room: int = ROW) -> Packed:
    """Lay examples into rows; each is a document of its own, with positions from 0.

    What is left of a row is a document too, of token 0 at position 0, with nothing to learn.
    """
    lengths = [example.inputs for example in examples]
    rows = rows_of(lengths, room)
    time = max(sum(lengths[index] for index in row) for row in rows)
    tokens = np.zeros((len(rows), time), np.int64)
    targets = np.full((len(rows), time), IGNORE, np.int64)
    documents = np.zeros((len(rows), time), np.int32)
    positions = np.zeros((len(rows), time), np.int64)
    types = np.zeros((len(rows), time), np.int64)
    places = [(0, 0)] * len(examples)
    for number, row in enumerate(rows):
        begin = 0
        for order, index in enumerate(row, start=1):
            example, span = examples[index], slice(begin, begin + lengths[index])
            tokens[number, span] = example.ids[: lengths[index]]
            documents[number, span] = order
            positions[number, span] = np.arange(lengths[index])
            if example.types is not None:
                types[number, span] = example.types[: lengths[index]]
            if example.scored.any():
                wanted = np.where(example.scored[1:], example.ids[1:], IGNORE)
                targets[number, span] = wanted
            places[index] = (number, begin)
            begin += lengths[index]
    return Packed(
        torch.from_numpy(tokens),
        torch.from_numpy(documents),
        torch.from_numpy(positions),
        torch.from_numpy(types),
        torch.from_numpy(targets),
        places,
    )


def rows_for(examples: Sequence[Example], room: int, start_id: int | None) -> list[list[int]]:
    """Which examples share a row of what `completions` makes of them, in order."""
    if start_id is None:
        return rows_of([example.inputs for example in examples], room)
    return rows_of([max(map(len, example.pair)) for example in examples], room)


def completions(
    examples: Sequence[Example],
    samples: list[tuple[int, int]],
    room: int = ROW,
    start_id: int | None = None,
) -> Batch | PairBatch:
    """A batch for next-token prediction, where only what is `scored` is a target.

    With the `start_id` of an encoder–decoder, what is before that is its source.
    """
    if start_id is not None:
        rows = rows_for(examples, room, start_id)
        return pairs([[examples[i].pair for i in row] for row in rows], start_id, samples)
    packed = pack(examples, room)
    return Batch(packed.tokens, packed.targets, packed.documents, packed.positions, samples)


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
        samples = [divmod(sample, len(self.sources)) for sample in range(first, first + count)]
        return self._collate(self._numbers(first, count), samples)

    def documents(self, first: int, count: int) -> list[str]:
        """The places of these examples."""
        return [self.sources[number] for number in self._numbers(first, count)]

    def _numbers(self, first: int, count: int) -> list[int]:
        size = len(self.sources)
        numbers = []
        for sample in range(first, first + count):
            epoch, index = divmod(sample, size)
            numbers.append(int(permute(index, size, key(self.seed, epoch, "order"))))
        return numbers
