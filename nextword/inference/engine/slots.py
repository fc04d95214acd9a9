"""The engine's cache: a slot for each request that is being served."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from nextword.errors import UserError
from nextword.inference.cache import KVCache
from nextword.models.config import TransformerConfig

WIDTH = 64  # rows are padded to a multiple: attention then has the same bits at any width


class SlotCache(KVCache):
    """Rows that begin and end independently. Rows in use are the first ones: `release` moves the
    last of them into the place of one that ends, so that a step needs no copy of the cache.

    A forward pass goes over one row's next tokens (`extend`), over one more token in each of
    several rows (`advance_rows`), or over guesses of what follows in one row, computed as if each
    were in a row of its own (`advance_ahead`).
    """

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
        token = 2 * config.layers * slots * config.key_width * dtype.itemsize  # bytes in all rows
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
        self._row: int | None = None
        self._chunk, self._rows = slice(0), slice(0)
        self._new = torch.empty(0, dtype=torch.int64, device=device)  # places of a step's tokens
        self._seen, self._ahead = 0, 1

    def extend(self, row: int, count: int) -> Tensor:
        """Prepare for the next `count` tokens of a row; return their positions, [1, count]."""
        start = self.counts[row]
        self.counts[row] = self._seen = start + count
        self._reserve(-(-self._seen // WIDTH) * WIDTH)
        self._row, self._chunk = row, slice(start, self._seen)
        return torch.arange(start, self._seen, device=self.keys.device)[None]

    def advance_rows(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Prepare for one more token in each of these rows.

        Returns their positions, [rows, 1], and the mask, bool [rows, 1, 1, seen].
        """
        counts = self.counts[rows]
        self.counts[rows] = [count + 1 for count in counts]
        positions = torch.tensor(counts, device=self.keys.device)
        self._seen = -(-(max(counts) + 1) // WIDTH) * WIDTH
        self._reserve(self._seen)
        self._row, self._rows, self._ahead = None, rows, 1
        heads, room = self.keys.shape[2:4]
        places = torch.arange(len(counts) * heads, device=positions.device) * room
        self._new = (places.view(-1, heads) + positions[:, None]).flatten()  # in `_flat`
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
        self._row, self._rows, self._ahead = None, slice(row, row + 1), count
        heads, room = self.keys.shape[2:4]
        places = torch.arange(heads, device=positions.device) * room
        self._new = (places + positions[:, None]).flatten()
        slots = torch.arange(self._seen, device=self.keys.device)
        return positions[:, None], (slots <= positions[:, None])[:, None, None]

    def take_back(self, row: int, count: int) -> None:
        """Forget the last `count` tokens of a row."""
        self.counts[row] -= count

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values, [rows, kv_heads, time, head]; return all so far."""
        if self._row is not None:
            keys, values = self.keys[layer, self._row], self.values[layer, self._row]
            keys[:, self._chunk], values[:, self._chunk] = key[0], value[0]
            return keys[None, :, : self._seen], values[None, :, : self._seen]
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
            self.keys[:, row, :, :used] = self.keys[:, last, :, :used]
            self.values[:, row, :, :used] = self.values[:, last, :, :used]
            self.counts[row] = used
        self.counts[last] = 0

    def swap(self, row: int, other: int) -> None:
        """Exchange two rows."""
        if row == other:
            return
        used = max(self.counts[row], self.counts[other])
        for tensor in (self.keys, self.values):
            kept = tensor[:, row, :, :used].clone()
            tensor[:, row, :, :used] = tensor[:, other, :, :used]
            tensor[:, other, :, :used] = kept
        counts = self.counts
        counts[row], counts[other] = counts[other], counts[row]

    def read(self, row: int, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Return a copy of the keys and values of some tokens, [layers, kv_heads, time, head]."""
        return self.keys[:, row, :, start:end].clone(), self.values[:, row, :, start:end].clone()

    def write(self, row: int, keys: Tensor, values: Tensor) -> None:
        """Append keys and values that `read` returned."""
        start = self.counts[row]
        end = start + keys.shape[2]
        self._reserve(-(-end // WIDTH) * WIDTH)
        self.keys[:, row, :, start:end], self.values[:, row, :, start:end] = keys, values
        self.counts[row] = end


def _flat(tensor: Tensor) -> Tensor:
    """Return [rows, kv_heads, time, head] as one list of heads, [rows · kv_heads · time, head]."""
    return tensor.reshape(-1, tensor.shape[-1])


def half_of_memory(device: torch.device) -> int:
    """Return half of the bytes that are free on a GPU, or that this machine has; 4 GiB where it
    does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) // 2
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return 4 * 2**30
