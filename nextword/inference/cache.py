"""Keys and values of the tokens read so far, so that each new token costs one step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.models.config import TransformerConfig
from nextword.models.transformer import Attention

FIRST_ROOM = 256  # slots beyond the prompt; doubled when they are full, up to `limit`


class Sources:
    """What each row has read: `states` [rows, source time, width], and where they are no padding:
    `mask`, bool [rows, 1, 1, source time], None for everywhere. `made` are the keys and values
    that each layer makes of them, by its number."""

    def __init__(self, states: Tensor, mask: Tensor | None) -> None:
        self.states, self.mask = states, mask
        self.made: dict[int, tuple[Tensor, Tensor]] = {}
        self._of = list(range(len(states)))  # the source of each row

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, in this order. Beams that change places within one source move
        nothing."""
        of = [self._of[row] for row in rows]
        if of == self._of:
            return
        chosen = torch.tensor(rows, dtype=torch.int64, device=self.states.device)
        self._of, self.states = of, self.states[chosen]
        self.mask = None if self.mask is None else self.mask[chosen]
        self.made = {layer: (k[chosen], v[chosen]) for layer, (k, v) in self.made.items()}


class KVCache:
    """Rows of different length: slot p of a row holds its token at position p.

    Prompts are padded on the right, so a row's padding lies after its end, is never seen, and is
    written over. What a row sees is told by `lengths` alone, never by token ids. `limit` is the
    most tokens a row will ever hold; memory is taken as the rows grow.

    `sources` is what the rows of an encoder–decoder write to.
    """

    def __init__(
        self,
        config: TransformerConfig,
        batch: int,
        limit: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.limit = limit
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        shape = (config.layers, batch, config.kv_heads, 0, config.head_width)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)
        self._longest = 0
        self._equal = True  # all rows are of the same length
        self._prefilling = False
        self.sources: Sources | None = None

    def begin(self, lengths: Sequence[int], padded: int) -> None:
        """Announce prompts of these lengths, padded on the right to `padded` tokens."""
        self._prefilling = True
        self._reserve(padded)
        self._set_lengths(list(lengths))

    def advance(self) -> tuple[Tensor, Tensor | None]:
        """Announce one more token for every row.

        Returns its positions, [batch, 1], and the mask, bool [batch, 1, 1, seen]; None where every
        row sees all `seen` slots.
        """
        self._prefilling = False
        positions = self.lengths[:, None]
        self._reserve(self._longest + 1)
        self.lengths = self.lengths + 1
        self._longest += 1
        if self._equal:
            return positions, None
        slots = torch.arange(self._longest, device=self.lengths.device)
        return positions, (slots <= positions)[:, None, None]

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values, [batch, kv_heads, time, head]; return all so far."""
        if self._prefilling:
            self.keys[layer, :, :, : key.shape[2]] = key
            self.values[layer, :, :, : value.shape[2]] = value
            return key, value
        keys, values = self.keys[layer], self.values[layer]
        if self._equal:
            keys[:, :, self._longest - 1] = key[:, :, 0]
            values[:, :, self._longest - 1] = value[:, :, 0]
        else:
            rows = torch.arange(len(self.lengths), device=keys.device)
            keys[rows, :, self.lengths - 1] = key[:, :, 0]
            values[rows, :, self.lengths - 1] = value[:, :, 0]
        return keys[:, :, : self._longest], values[:, :, : self._longest]

    def source(self, attention: Attention, source: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's keys and values of the sources, made when it is first asked for them."""
        assert self.sources is not None
        made = self.sources.made
        if attention.layer not in made:
            made[attention.layer] = attention.of_source(source)
        return made[attention.layer]

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, in this order."""
        if self.sources is not None:
            self.sources.keep(rows)
        chosen = torch.tensor(rows, dtype=torch.int64, device=self.lengths.device)
        self.keys = self.keys.index_select(1, chosen)
        self.values = self.values.index_select(1, chosen)
        self._set_lengths(self.lengths[chosen].tolist())

    def _set_lengths(self, lengths: list[int]) -> None:
        self.lengths = torch.tensor(lengths, dtype=torch.int64, device=self.lengths.device)
        self._longest = max(lengths, default=0)
        self._equal = len(set(lengths)) <= 1

    def _reserve(self, slots: int) -> None:
        room = self.keys.shape[3]
        if slots <= room:
            return
        grown = min(max(slots + FIRST_ROOM if not room else 2 * room, slots), self.limit)
        self.keys, self.values = _widened(self.keys, grown), _widened(self.values, grown)


def _widened(cached: Tensor, slots: int) -> Tensor:
    # Zeros, not whatever memory held: masked slots still enter the product, and 0 x NaN is NaN.
    wider = cached.new_zeros(*cached.shape[:3], slots, cached.shape[4])
    wider[:, :, :, : cached.shape[3]] = cached
    return wider
