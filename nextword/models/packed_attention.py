"""Attention within packed documents on a GPU, where a mask of all pairs of tokens would cost more
than it hides: FlexAttention (Dong et al. 2024), which skips blocks of pairs that do not see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

BLOCK = 128  # queries, and keys, that are computed together


@dataclass(frozen=True)
class PackedDocuments:
    """What keeps packed documents apart, in place of a mask; `documents` [batch, time] numbers
    them, and each lies in one piece."""

    documents: Tensor

    def dense(self) -> Tensor:
        """Return the mask itself, bool [batch, 1, time, time]."""
        return (self.documents[:, :, None] == self.documents[:, None, :])[:, None]

    def block_mask(self, causal: bool, window: int | None) -> BlockMask:
        """Return what FlexAttention computes of all pairs: blocks in which every pair sees, and
        blocks in which some do. Found from where documents begin, without looking at pairs."""
        from torch.nn.attention.flex_attention import BlockMask

        changes = self.documents[:, 1:] != self.documents[:, :-1]
        runs = torch.nn.functional.pad(changes.cumsum(1, dtype=torch.int32), (1, 0))
        batch, time = runs.shape
        blocks = -(-time // BLOCK)
        padded = torch.cat((runs, runs[:, -1:].expand(batch, blocks * BLOCK - time)), dim=1)
        cut = padded.view(batch, blocks, BLOCK)
        first, last = cut[:, :, 0], cut[:, :, -1]  # documents of each block, [batch, blocks]
        some = (first[:, :, None] <= last[:, None]) & (first[:, None] <= last[:, :, None])
        one = (first == last)[:, :, None] & (first == last)[:, None]
        every = one & (first[:, :, None] == first[:, None])
        at = torch.arange(blocks, device=runs.device)
        away = at[:, None] - at  # in blocks, positive for keys before queries
        if causal:
            some, every = some & (away >= 0), every & (away > 0)
        if window is not None:
            nearest, furthest = (away.abs() - 1) * BLOCK + 1, (away.abs() + 1) * BLOCK - 1
            some, every = some & (nearest < window), every & (furthest < window)

        def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            seen = runs[row, query] == runs[row, key]
            if causal:
                seen = seen & (query >= key)
            if window is not None:
                seen = seen & (query - key < window) & (key - query < window)
            return seen

        return BlockMask.from_kv_blocks(
            *_ordered(some & ~every),
            *_ordered(every),
            BLOCK_SIZE=BLOCK,
            mask_mod=sees,
            seq_lengths=(time, time),
        )


def _ordered(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many blocks of keys each block of queries has, and which, those first that it has,
    each [batch, 1, blocks, ...]."""
    indices = torch.argsort(chosen.int(), dim=-1, descending=True, stable=True)
    return chosen.sum(-1, dtype=torch.int32)[:, None], indices.to(torch.int32)[:, None]


def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: BlockMask, scale: float | None
) -> Tensor:
    """Compute softmax attention over the pairs of a mask: query [batch, heads, time, head], key and
    value [batch, kv_heads, time, head]."""
    from torch.nn.attention.flex_attention import flex_attention

    attend: Any = flex_attention
    if query.is_cuda and not torch.compiler.is_compiling():
        attend = _compiled()
    shared = query.shape[1] != key.shape[1]
    output: Tensor = attend(query, key, value, block_mask=mask, scale=scale, enable_gqa=shared)
    return output


@cache
def _compiled() -> Any:
    """FlexAttention as a kernel: uncompiled it would compute all pairs."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


@cache
def can_compile(device: torch.device) -> bool:
    """Return whether kernels can be made for a device: a GPU, and Triton is there."""
    from torch.utils._triton import has_triton

    return device.type == "cuda" and has_triton()
