"""The engine's cache: a slot for each request that is being served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.errors import UserError
from nextword.inference.cache import KVCache
from nextword.models.blocks import Attention
from nextword.models.config import TransformerConfig
from nextword.resources import memory

UNKNOWN_MEMORY = 8 * 2**30  # bytes that a machine is taken to have which does not say
WIDTH = 64  # rows are padded to a multiple: attention then has the same bits at any width


@dataclass(frozen=True)
class Part:
    """A row's part of a pass over several prompts: which tokens of the pass, and their places in
    the row."""

    row: int
    tokens: slice
    places: slice


class SlotCache(KVCache):
    """Rows that begin and end independently. Rows in use are the first ones: `release` moves the
    last of them into the place of one that ends, so that a step needs no copy of the cache.

    A forward pass goes over the next tokens of some rows, one row after another (`extend`), over
    one more token in each of several rows (`advance_rows`), or over guesses of what follows in one
    row, computed as if each were in a row of its own (`advance_ahead`).
    """

    key_dtype: torch.dtype | None = None  # that of the values

    def __init__(
        self,
        config: TransformerConfig,
        slots: int,
        most_bytes: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Begin with empty rows, which will grow to the model's context, or until all of them
        together have `most_bytes`. Raises UserError where those are not even enough to begin."""
        sizes = (self.key_dtype or dtype).itemsize + dtype.itemsize
        token = config.layers * slots * config.key_width * sizes  # bytes in all rows
        limit = min(config.context_limit, most_bytes // token)
        if limit < min(config.context_limit, WIDTH):
            raise UserError(
                f"{slots:,} slots with room for {WIDTH} tokens each take "
                f"{token * WIDTH / 1e9:.1f} GB, and the cache may take {most_bytes / 1e9:.1f}",
                mend="serve fewer at once",
            )
        if limit == config.context_limit:
            limit = -(-limit // WIDTH) * WIDTH
        super().__init__(config, slots, limit // WIDTH * WIDTH, dtype, device)
        self.counts = [0] * slots  # tokens in each row
        self._parts: list[Part] = []  # of `extend`
        self._rows = slice(0)
        self._new = torch.empty(0, dtype=torch.int64, device=device)  # places of a step's tokens
        self._seen, self._ahead, self._padding = 0, 1, 0

    def extend(self, counts: Mapping[int, int], padding: int = 0) -> Tensor:
        """Prepare for the next tokens of some rows, so many of each, and for padding after all of
        them, which sees and leaves nothing; return their positions, [1, tokens]."""
        positions: list[int] = []
        self._parts, begin = [], 0
        for row, count in counts.items():
            start = self.counts[row]
            self.counts[row] = start + count
            positions += range(start, start + count)
            part = Part(row, slice(begin, begin + count), slice(start, start + count))
            self._parts.append(part)
            begin += count
        self._reserve(-(-(max(positions) + 1) // WIDTH) * WIDTH)
        return on_device(positions + [0] * padding, torch.int64, self.keys.device)[None]

    def advance_rows(self, rows: slice, padding: int = 0) -> tuple[Tensor, Tensor]:
        """Prepare for one more token in each of these rows, and for so many rows after them that
        see and leave nothing.

        Returns their positions, [rows, 1], and the mask, bool [rows, 1, 1, seen].
        """
        counts = self.counts[rows]
        self.counts[rows] = [count + 1 for count in counts]
        positions = on_device(counts, torch.int64, self.keys.device)
        self._seen = -(-(max(counts) + 1) // WIDTH) * WIDTH
        self._reserve(self._seen)
        self._parts, self._rows, self._ahead, self._padding = [], rows, 1, padding
        self._prepare(list(range(rows.start, rows.stop)), positions)
        positions = F.pad(positions, (0, padding))
        slots = torch.arange(self._seen, device=self.keys.device)
        return positions[:, None], (slots <= positions[:, None])[:, None, None]

    def advance_ahead(self, row: int, count: int) -> tuple[Tensor, Tensor]:
        """Prepare for `count` tokens that follow one another in a row; returns what `advance_rows`
        does. Those that turn out wrong are taken back by `take_back`."""
        start = self.counts[row]
        self.counts[row] = start + count
        positions = torch.arange(start, start + count, device=self.keys.device)
        self._seen = -(-(start + count) // WIDTH) * WIDTH
        self._reserve(self._seen)
        self._parts, self._rows, self._ahead, self._padding = [], slice(row, row + 1), count, 0
        self._prepare([row] * count, positions)
        slots = torch.arange(self._seen, device=self.keys.device)
        return positions[:, None], (slots <= positions[:, None])[:, None, None]

    def take_back(self, row: int, count: int) -> None:
        """Forget the last `count` tokens of a row."""
        self.counts[row] -= count

    def attend(
        self, attention: Attention, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None
    ) -> Tensor:
        """Store a layer's keys and values of a pass's tokens; return what its queries see.

        query [rows, heads, time, head], key and value [rows, kv_heads, time, head]; returns [rows,
        heads, time, head]. A step's `bias` [rows, 1, 1, seen] is added to its scores.
        """
        layer = attention.layer
        if not self._parts:
            assert bias is not None
            return self._attend_in_step(attention, query, key, value, bias)
        outputs = [
            attention.attend(query[:, :, part.tokens], *self._extended(layer, part, key, value))
            for part in self._parts
        ]
        if padding := query.shape[2] - self._parts[-1].tokens.stop:
            outputs.append(torch.zeros_like(query[:, :, :padding]))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)

    def _attend_in_step(
        self, attention: Attention, query: Tensor, key: Tensor, value: Tensor, bias: Tensor
    ) -> Tensor:
        if not (padding := self._padding):
            return attention.attend(query, *self.update(attention.layer, key, value), bias)
        query, key, value, bias = (each[:-padding] for each in (query, key, value, bias))
        output = attention.attend(query, *self.update(attention.layer, key, value), bias)
        return F.pad(output, (0, 0, 0, 0, 0, 0, 0, padding))

    def _extended(
        self, layer: int, part: Part, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Store the keys and values of a row's next tokens; return all of the row's."""
        whole, seen = self.keys[layer, part.row][None], slice(0, part.places.stop)
        self._write_keys(whole, part.places, key[:, :, part.tokens])
        values = self.values[layer, part.row][None]
        values[:, :, part.places] = value[:, :, part.tokens]
        return self._read_keys(whole, seen).to(value.dtype), values[:, :, seen]

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store a layer's keys and values of a step's tokens, [rows, kv_heads, 1, head]; return
        all so far."""
        keys, values = self.keys[layer, self._rows], self.values[layer, self._rows]
        for all_so_far, new in ((keys, key), (values, value)):
            _flat(all_so_far).index_copy_(0, self._new, _flat(new))
        keys, values = keys[:, :, : self._seen], values[:, :, : self._seen]
        if self._ahead > 1:  # all of them see the same row
            rows = (self._ahead, -1, -1, -1)
            return keys.expand(rows), values.expand(rows)
        return keys, values

    def release(self, row: int, last: int) -> None:
        """Empty a row by moving row `last` into it."""
        if row != last:
            used = self.counts[last]
            for tensor, places in ((self.keys, self._key_places(used)), (self.values, used)):
                tensor[:, row, :, :places] = tensor[:, last, :, :places]
            self.counts[row] = used
        self.counts[last] = 0

    def swap(self, row: int, other: int) -> None:
        """Exchange two rows."""
        if row == other:
            return
        used = max(self.counts[row], self.counts[other])
        for tensor, places in ((self.keys, self._key_places(used)), (self.values, used)):
            kept = tensor[:, row, :, :places].clone()
            tensor[:, row, :, :places] = tensor[:, other, :, :places]
            tensor[:, other, :, :places] = kept
        counts = self.counts
        counts[row], counts[other] = counts[other], counts[row]

    def read(self, row: int, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Return a copy of the keys and values of some tokens, [layers, kv_heads, time, head]."""
        keys = self._read_keys(self.keys[:, row], slice(start, end))
        return keys.clone(), self.values[:, row, :, start:end].clone()

    def write(self, row: int, keys: Tensor, values: Tensor) -> None:
        """Append keys and values that `read` returned."""
        start = self.counts[row]
        end = start + keys.shape[2]
        self._reserve(-(-end // WIDTH) * WIDTH)
        self._write_keys(self.keys[:, row], slice(start, end), keys)
        self.values[:, row, :, start:end] = values
        self.counts[row] = end

    def _prepare(self, rows: list[int], positions: Tensor) -> None:
        """Find the places, in `_flat`, of a step's tokens: one in each of `rows`, which follow one
        another or are all the same."""
        heads, room = self.keys.shape[2:4]
        first = on_device(rows, torch.int64, positions.device) - rows[0]
        places = first[:, None] * heads + torch.arange(heads, device=positions.device)
        self._new = (places * room + positions[:, None]).flatten()

    def _key_places(self, tokens: int) -> int:
        """Return how much of the keys' dimension 3 so many tokens take."""
        return tokens

    def _read_keys(self, stored: Tensor, tokens: slice) -> Tensor:
        """Return some tokens' keys, [layers, kv_heads, time, head], of a row."""
        return stored[:, :, tokens]

    def _write_keys(self, stored: Tensor, tokens: slice, keys: Tensor) -> None:
        stored[:, :, tokens] = keys


def _flat(tensor: Tensor) -> Tensor:
    """Return [rows, kv_heads, time, head] as one list of heads, [rows · kv_heads · time, head]."""
    return tensor.reshape(-1, tensor.shape[-1])


def on_device(numbers: Sequence[float], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return numbers as a tensor; a GPU copies them without being waited for."""
    tensor = torch.tensor(numbers, dtype=dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def half_of_memory(device: torch.device) -> int:
    """Return half of the bytes that are free on a GPU, or that this machine has; 4 GiB where it
    does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) // 2
    return (memory().total or UNKNOWN_MEMORY) // 2
