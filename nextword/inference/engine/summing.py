"""The cache on a CPU, and attention from it as weighted sums of table rows.

A step has one query for each head and row of the cache. Its scores are a sum of the keys' columns,
weighted by the query, and its output is a sum of the values, weighted by the scores. PyTorch's
kernel for sums of embeddings reads memory at full speed, which batched products of so few rows do
not, and adds up each sum in one order, whatever thread does it and whatever else is summed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.inference.engine.slots import WIDTH, SlotCache
from nextword.models.blocks import Attention
from nextword.models.config import TransformerConfig


class Sums:
    """Which rows of a table are added up: the same number for each sum."""

    def __init__(self, firsts: Tensor, count: int) -> None:
        """Add up the `count` rows from each of `firsts`, int64 [sums], on."""
        entries = firsts[:, None] + torch.arange(count)
        self.entries = entries.flatten().to(torch.int32)
        self.bounds = torch.arange(0, len(firsts) * count + 1, count, dtype=torch.int32)

    def of(self, table: Tensor, weights: Tensor) -> Tensor:
        """Return the sums, [sums, width], of a table [rows, width]; weights [sums · count]."""
        sums: Tensor = torch._embedding_bag_forward_only(
            table, self.entries, self.bounds, False, 0, False, weights, True
        )[0]
        return sums


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
        none = Sums(torch.arange(1), 1)
        self._last: tuple[list[int], int, Sums, Sums] = ([], 0, none, none)  # rows, seen, of what

    def _attend_in_step(
        self, attention: Attention, query: Tensor, key: Tensor, value: Tensor, bias: Tensor
    ) -> Tensor:
        layer = attention.layer
        scale = attention.head**-0.5 if attention.scale is None else attention.scale
        rows, heads, _, head = query.shape
        keys, values = self.keys[layer], self.values[layer].view(-1, head)
        keys.view(-1).scatter_(0, self._columns, key.float().flatten())
        values.index_copy_(0, self._new, value.reshape(-1, head))
        *_, columns, tokens = self._last
        weights = (query.float() * scale).expand(rows, heads, self._seen // WIDTH, head)
        scores = columns.of(keys.view(-1, WIDTH), weights.flatten())
        scores = scores.view(rows, heads, 1, self._seen).add_(bias).softmax(dim=-1)
        return tokens.of(values, scores.to(values.dtype).flatten()).view(query.shape)

    def _prepare(self, rows: list[int], positions: Tensor) -> None:
        kv_heads, blocks, head = self.keys.shape[2:5]
        row_heads = torch.tensor(rows)[:, None] * kv_heads + torch.arange(kv_heads)
        self._new = (row_heads * self.values.shape[3] + positions[:, None]).flatten()
        firsts = (row_heads * blocks + positions[:, None] // WIDTH) * (head * WIDTH)
        firsts = firsts + positions[:, None] % WIDTH
        self._columns = (firsts[..., None] + torch.arange(head) * WIDTH).flatten()
        if self._last[:2] != (rows, self._seen):  # a step's sums are mostly those of the last one
            row_heads = row_heads.repeat_interleave(self._groups, dim=1).flatten()
            in_use = row_heads[:, None] * blocks + torch.arange(self._seen // WIDTH)
            columns = Sums(in_use.flatten() * head, head)
            tokens = Sums(row_heads * self.values.shape[3], self._seen)
            self._last = (rows, self._seen, columns, tokens)

    def _grow(self, slots: int) -> None:
        self.keys = F.pad(self.keys, (0, 0, 0, 0, 0, slots // WIDTH))
        self.values = F.pad(self.values, (0, 0, 0, slots))
        self._last = ([], 0, self._last[2], self._last[3])

    def _key_places(self, tokens: int) -> int:
        return -(-tokens // WIDTH)

    def _read_keys(self, stored: Tensor, tokens: slice) -> Tensor:
        used = self._key_places(tokens.stop)
        return stored[:, :, :used].transpose(-1, -2).flatten(2, 3)[:, :, tokens]

    def _write_keys(self, stored: Tensor, tokens: slice, keys: Tensor) -> None:
        at = torch.arange(tokens.start, tokens.stop)
        stored[:, :, at // WIDTH, :, at % WIDTH] = keys.permute(2, 0, 1, 3).to(stored.dtype)
