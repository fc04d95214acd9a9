"""A Transformer's blocks: attention, cross-attention and the feed-forward network."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.models.attention import attention, rotate
from nextword.models.config import TransformerConfig
from nextword.models.layers import FeedForward, Linear, RMSNorm, build_norm, rms_norm

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

Rotation = tuple[Tensor, Tensor]  # cos and sin, [batch or 1, time, 1, head]


class Cache(Protocol):
    """Keys and values of earlier tokens."""

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add these, [batch, kv_heads, time, head]; return all, [batch, kv_heads, seen, head]."""
        ...

    def source(self, attention: CrossAttention, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of the source, [batch, kv_heads, source time, head]."""
        ...


class Attention(nn.Module):
    """Multi-head attention. Query, key and value weights are one matrix, in that order."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head = config.heads, config.kv_heads, config.head_width
        self.layer, self.causal, self.scale = layer, config.causal, config.attention_scale
        self.window = config.window_of(layer)
        self.qkv = Linear(config.width, sum(config.qkv_rows), config.attention_bias)
        self.output = Linear(config.query_width, config.width, config.output_bias)
        norm = partial(RMSNorm, config.head_width, config.norm_epsilon, config.unit_offset)
        self.query_norm = norm() if config.qk_norm else None
        self.key_norm = norm() if config.qk_norm else None

    def forward(
        self,
        x: Tensor,
        rotation: Rotation | None = None,
        bias: Tensor | BlockMask | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Let the tokens of x [batch, time, width] attend to one another."""
        query, key, value = self.project(x, rotation)
        if cache is not None:
            key, value = cache.update(self.layer, key, value)
        output = self.attend(query, key, value, bias)
        return self.output(output.transpose(1, 2).flatten(2))

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | BlockMask | None = None
    ) -> Tensor:
        """Return what queries [batch, heads, time, head] see of keys and values, [batch, kv_heads,
        seen, head]."""
        return attention(
            query, key, value, bias, causal=self.causal, window=self.window, scale=self.scale
        )

    def project(self, x: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries [batch, heads, time, head]; keys, values [batch, kv_heads, time, head]."""
        heads = self.qkv(x).unflatten(-1, (-1, self.head))
        # Queries and keys are normed and rotated together, as one tensor.
        query_key, value = heads.split([self.heads + self.kv_heads, self.kv_heads], dim=2)
        if self.query_norm is not None and self.key_norm is not None:
            weight = torch.cat(  # [heads + kv_heads, head]
                (
                    self.query_norm.gain.expand(self.heads, -1),
                    self.key_norm.gain.expand(self.kv_heads, -1),
                )
            )
            query_key = rms_norm(query_key, weight, self.query_norm.epsilon)
        if rotation is not None:
            query_key = rotate(query_key, *rotation)
        # [batch, time, heads, head] -> [batch, heads, time, head]
        query, key = query_key.transpose(1, 2).split([self.heads, self.kv_heads], dim=1)
        return query, key, value.transpose(1, 2)


class CrossAttention(nn.Module):
    """A decoder's attention to a source. Query, key and value weights are one matrix, as in
    Attention; nothing is normed or rotated."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.head, self.queries = layer, config.head_width, config.query_width
        self.scale = config.attention_scale
        self.qkv = Linear(config.width, sum(config.qkv_rows), config.attention_bias)
        self.output = Linear(config.query_width, config.width, config.output_bias)

    def forward(
        self, x: Tensor, source: Tensor, bias: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """Let x [batch, time, width] attend to a source [batch, source time, width]."""
        query = self.query(x)
        key, value = self.key_value(source) if cache is None else cache.source(self, source)
        output = attention(query, key, value, bias, causal=False, scale=self.scale)
        return self.output(output.transpose(1, 2).flatten(2))

    def query(self, x: Tensor) -> Tensor:
        """Return queries, [batch, heads, time, head], of x [batch, time, width]."""
        return self._heads(x, slice(0, self.queries))

    def key_value(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values, [batch, kv_heads, source time, head], of the source."""
        key, value = self._heads(source, slice(self.queries, None)).chunk(2, dim=1)
        return key, value

    def _heads(self, x: Tensor, rows: slice) -> Tensor:
        return self.qkv(x, rows).unflatten(-1, (-1, self.head)).transpose(1, 2)


class Block(nn.Module):
    """Attention, cross-attention in a decoder with a source, then the feed-forward network, each
    added to the residual stream."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = build_norm(config) if layer or config.first_norm else nn.Identity()
        self.attention = Attention(config, layer)
        if config.cross:
            self.cross_norm = build_norm(config)
            self.cross = CrossAttention(config, layer)
        self.mlp_norm = build_norm(config)
        self.mlp = FeedForward(config)
        if config.output_norm:
            self.attention_output_norm = build_norm(config)
            self.mlp_output_norm = build_norm(config)
        self.post_norm, self.output_norm = config.post_norm, config.output_norm
        self.dropout = config.dropout

    def forward(
        self,
        x: Tensor,
        rotation: Rotation | None,
        bias: Tensor | BlockMask | None,
        cache: Cache | None,
        source: Tensor | None = None,
        source_bias: Tensor | None = None,
    ) -> Tensor:
        if self.post_norm:
            x = self.attention_norm(x + self._drop(self.attention(x, rotation, bias, cache)))
            output: Tensor = self.mlp_norm(x + self._drop(self.mlp(x)))
            return output
        attended = self.attention(self.attention_norm(x), rotation, bias, cache)
        x = x + self._drop(self.attention_output_norm(attended) if self.output_norm else attended)
        if source is not None:
            x = x + self._drop(self.cross(self.cross_norm(x), source, source_bias, cache))
        computed = self.mlp(self.mlp_norm(x))
        return x + self._drop(self.mlp_output_norm(computed) if self.output_norm else computed)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x


def compile_blocks(model: nn.Module) -> None:
    """Have each block of a model compiled by itself: equal ones share what is made."""
    for module in model.modules():
        if isinstance(module, Block):
            module.compile(dynamic=False)
