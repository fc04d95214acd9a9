"""Attention whose bits do not depend on the thread that computes it.

PyTorch's kernel gives each thread a part of one buffer, and where a part begins decides how the
products in it are added up. On one thread all rows are alike.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.models.attention import attention
from nextword.models.blocks import Attention, Cache, Rotation
from nextword.models.config import TransformerConfig

ROWS, WIDTHS = 64, (128, 576)  # that are compared
PARTS = (1, 2, 3, 5, 8, 24)


class OneThreadAttention(nn.Module):
    """An Attention that computes on one thread what is between its linear maps."""

    def __init__(self, inner: Attention, threads: int) -> None:
        super().__init__()
        self.inner, self.threads = inner, threads

    def forward(
        self,
        x: Tensor,
        rotation: Rotation | None = None,
        bias: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        inner = self.inner
        query, key, value = inner.project(x, rotation)
        if cache is not None:
            key, value = cache.update(inner.layer, key, value)
        torch.set_num_threads(1)
        output = attention(
            query, key, value, bias, causal=inner.causal, window=inner.window, scale=inner.scale
        )
        torch.set_num_threads(self.threads)
        return inner.output(output.transpose(1, 2).flatten(2))


def is_steady(config: TransformerConfig, dtype: torch.dtype) -> bool:
    """Whether, with this thread's number of threads, attention to a row of a cache gives the same
    bits in any company."""
    generator = torch.Generator().manual_seed(0)
    shape = (ROWS, config.kv_heads, max(WIDTHS), config.head_width)
    keys, values = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    queries = torch.randn(ROWS, config.heads, 1, config.head_width, generator=generator).to(dtype)
    for width in WIDTHS:
        lengths = torch.arange(ROWS)[:, None, None, None] * (width // ROWS) + 1
        bias = torch.zeros(ROWS, 1, 1, width, dtype=dtype)
        bias.masked_fill_(torch.arange(width) >= lengths, -math.inf)
        parts = {
            size: torch.cat(
                [
                    F.scaled_dot_product_attention(
                        queries[start : start + size],
                        keys[start : start + size, :, :width],
                        values[start : start + size, :, :width],
                        attn_mask=bias[start : start + size],
                        enable_gqa=config.heads != config.kv_heads,
                    )
                    for start in range(0, ROWS, size)
                ]
            )
            for size in (*PARTS, ROWS)
        }
        if not all(torch.equal(part, parts[ROWS]) for part in parts.values()):
            return False
    return True
