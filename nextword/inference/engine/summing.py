"""The cache on a CPU, and attention from it as weighted sums of table rows.

A step has one query for each head and row of the cache. Its scores are a sum of the keys' columns,
weighted by the query, and its output is a sum of the values, weighted by the scores. PyTorch's
kernel for sums of embeddings reads memory at full speed, which batched products of so few rows do
not, and adds up each sum in one order, whatever thread does it and whatever else is summed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.inference.engine.slots import WIDTH, SlotCache
from nextword.models.blocks import Attention
from nextword.models.config import TransformerConfig


class Sums:
    """Which rows of a table are added up: the same number for each sum."""

    def __init__(self, firsts: Tensor, count: int, none: int = 0) -> None:
        """Add up the `count` rows from each of `firsts`, int64 [sums], on; then there are so many
        sums of `none`."""
        entries = firsts[:, None] + torch.arange(count)
        self.entries = entries.flatten().to(torch.int32)
        bounds = torch.arange(0, len(firsts) * count + 1, count, dtype=torch.int32)
        self.bounds = F.pad(bounds, (0, none), value=len(self.entries))

    def of(self, table: Tensor, weights: Tensor) -> Tensor:
        """Return the sums, [sums, width], of a table [rows, width]; weights [sums · count]."""
        sums: Tensor = torch._embedding_bag_forward_only(
            table, self.entries, self.bounds, False, 0, False, weights, True
        )[0]
        return sums


@dataclass(frozen=True)
class Step:
    """Where a step's keys, by columns, and values are stored, and what its tokens attend to."""

    columns: Tensor
    tokens: Tensor
    keys: Sums
    values: Sums


class SummingCache(SlotCache):
    """A SlotCache whose keys are stored by columns, in blocks of WIDTH tokens: [layers, slots,
    kv_heads, blocks, head, WIDTH]. They are fp32, so that scores are not rounded to bf16."""

    key_dtype = torch.float32

    def __init__(
        self, config: TransformerConfig, slots: int, most_bytes: int, dtype: torch.dtype
    ) -> None:
        """As in SlotCache."""
        super().__init__(config, slots, most_bytes, dtype, torch.device("cpu"))
        self._groups = config.heads // config.kv_heads
        shape = (config.layers, slots, config.kv_heads, 0, config.head_width, WIDTH)
        self.keys = torch.empty(shape, dtype=self.key_dtype)
        self._tables: list[tuple[Tensor, Tensor, Tensor]] = []  # of each layer, see `_grow`
        self._step: Step
        self._of_what: tuple[list[int], int, int] = ([], 0, 0)  # rows, seen, padding of the step

    def _attend_in_step(
        self, attention: Attention, query: Tensor, key: Tensor, value: Tensor, bias: Tensor
    ) -> Tensor:
        step, (keys, columns, values) = self._step, self._tables[attention.layer]
        whole, rows = query.shape, len(query) - self._padding
        if self._padding:
            query, key, value, bias = (each[:rows] for each in (query, key, value, bias))
        keys.scatter_(0, step.columns, key.float().flatten())
        values.index_copy_(0, step.tokens, value.reshape(-1, values.shape[1]))
        blocks = query.float().expand(-1, -1, self._seen // WIDTH, -1)
        scores = step.keys.of(columns, blocks.flatten()).view(rows, -1, 1, self._seen)
        scale = attention.head**-0.5 if attention.scale is None else attention.scale
        scores = torch.add(bias, scores, alpha=scale).softmax(dim=-1)
        return step.values.of(values, scores.to(values.dtype).flatten()).view(whole)

    def _prepare(self, rows: list[int], positions: Tensor) -> None:
        kv_heads, blocks, head = self.keys.shape[2:5]
        row_heads = torch.tensor(rows)[:, None] * kv_heads + torch.arange(kv_heads)
        firsts = (row_heads * blocks + positions[:, None] // WIDTH) * (head * WIDTH)
        firsts = firsts + positions[:, None] % WIDTH
        columns = (firsts[..., None] + torch.arange(head) * WIDTH).flatten()
        tokens = (row_heads * self.values.shape[3] + positions[:, None]).flatten()
        of_what = rows, self._seen, self._padding
        if self._of_what == of_what:  # a step's sums are mostly those of the last one
            self._step = replace(self._step, columns=columns, tokens=tokens)
            return
        row_heads = row_heads.repeat_interleave(self._groups, dim=1).flatten()
        in_use = row_heads[:, None] * blocks + torch.arange(self._seen // WIDTH)
        keys = Sums(in_use.flatten() * head, head)
        none = self._padding * kv_heads * self._groups
        values = Sums(row_heads * self.values.shape[3], self._seen, none)
        self._step, self._of_what = Step(columns, tokens, keys, values), of_what

    def _grow(self, slots: int) -> None:
        self.keys = F.pad(self.keys, (0, 0, 0, 0, 0, slots // WIDTH))
        self.values = F.pad(self.values, (0, 0, 0, slots))
        self._tables = [
            (keys.view(-1), keys.view(-1, WIDTH), values.view(-1, values.shape[-1]))
            for keys, values in zip(self.keys, self.values, strict=True)
        ]
        self._of_what = ([], 0, 0)

    def _key_places(self, tokens: int) -> int:
        return -(-tokens // WIDTH)

    def _read_keys(self, stored: Tensor, tokens: slice) -> Tensor:
        used = self._key_places(tokens.stop)
        return stored[:, :, :used].transpose(-1, -2).flatten(2, 3)[:, :, tokens]

    def _write_keys(self, stored: Tensor, tokens: slice, keys: Tensor) -> None:
        at = torch.arange(tokens.start, tokens.stop)
        stored[:, :, at // WIDTH, :, at % WIDTH] = keys.permute(2, 0, 1, 3).to(stored.dtype)
