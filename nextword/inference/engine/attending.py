"""Attention of a model that is being served, and the cache that it attends to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nextword.inference.engine.slots import SlotCache
from nextword.inference.engine.summing import SummingCache
from nextword.models.blocks import Attention, Block, Cache, Rotation
from nextword.models.config import TransformerConfig
from nextword.models.transformer import Transformer


class SlotAttention(nn.Module):
    """An Attention, `inner`, whose queries the cache answers: it knows which row each is of."""

    def __init__(self, inner: Attention) -> None:
        super().__init__()
        self.inner = inner

    def forward(
        self,
        x: Tensor,
        rotation: Rotation | None = None,
        bias: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        if not isinstance(cache, SlotCache):
            output: Tensor = self.inner(x, rotation, bias, cache)
            return output
        output = cache.attend(self.inner, *self.inner.project(x, rotation), bias)
        return self.inner.output(output.transpose(1, 2).flatten(2))


def attend_to_slots(model: Transformer) -> None:
    """Have a model that `rebuilt` returned attend to a SlotCache."""
    for block in model.blocks:
        assert isinstance(block, Block)
        block.attention = SlotAttention(block.attention)  # type: ignore[assignment]


def slot_cache(
    config: TransformerConfig, slots: int, most_bytes: int, dtype: torch.dtype, device: torch.device
) -> SlotCache:
    """Return the cache that a model attends to when it is served on a device."""
    if device.type == "cpu":
        return SummingCache(config, slots, most_bytes, dtype)
    return SlotCache(config, slots, most_bytes, dtype, device)
