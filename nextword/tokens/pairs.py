"""Batches for an encoder–decoder: pairs of texts, what is read and what is to be written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.tokens.loader import IGNORE

Ids = NDArray[np.int64]


@dataclass
class PairBatch:
    """What an encoder–decoder reads and writes. A token of the target attends to the source of its
    own document; where a row has padding, it is a document too, with nothing to learn."""

    source: Tensor  # [batch, source time] int64
    source_documents: Tensor  # [batch, source time] int32
    source_positions: Tensor  # [batch, source time] int64, from 0 in each document
    tokens: Tensor  # [batch, time] int64: the start token, then all targets but the last
    targets: Tensor  # [batch, time] int64, IGNORE where there is none
    documents: Tensor  # [batch, time] int32
    positions: Tensor  # [batch, time] int64
    samples: list[tuple[int, int]]  # (epoch, index) of each row

    @property
    def target_count(self) -> int:
        return int((self.targets != IGNORE).sum())

    def to(self, device: torch.device | str) -> PairBatch:
        if torch.device(device).type == "cpu":
            return self
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def pairs(
    rows: list[list[tuple[Ids, Ids]]], start_id: int, samples: list[tuple[int, int]]
) -> PairBatch:
    """Rows of documents, each (what is read, what is to be written), laid side by side."""
    sides = []
    for side in (0, 1):
        time = max(sum(len(pair[side]) for pair in row) for row in rows)
        ids = np.full((len(rows), time), start_id, np.int64)
        documents = np.zeros((len(rows), time), np.int32)
        positions = np.zeros((len(rows), time), np.int64)
        for number, row in enumerate(rows):
            lengths = [len(pair[side]) for pair in row]
            end = sum(lengths)
            ids[number, :end] = np.concatenate([pair[side] for pair in row])
            documents[number, :end] = np.repeat(np.arange(1, len(row) + 1), lengths)
            positions[number, :end] = np.concatenate([np.arange(length) for length in lengths])
        sides.append((ids, documents, positions))
    (source, source_documents, source_positions), (written, documents, positions) = sides
    before = np.roll(written, 1, axis=1)
    return PairBatch(
        source=torch.from_numpy(source),
        source_documents=torch.from_numpy(source_documents),
        source_positions=torch.from_numpy(source_positions),
        tokens=torch.from_numpy(np.where(positions == 0, start_id, before)),
        targets=torch.from_numpy(np.where(documents > 0, written, IGNORE)),
        documents=torch.from_numpy(documents),
        positions=torch.from_numpy(positions),
        samples=samples,
    )
