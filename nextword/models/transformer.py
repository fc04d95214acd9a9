"""The Transformer, whole. What it is made of is said by its config."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.errors import UserError
from nextword.models.attention import (
    Cache,
    attend,
    distances,
    rotary_frequencies,
    rotate,
    rotation,
    score_bias,
)
from nextword.models.config import TransformerConfig
from nextword.models.fused import rms_norm
from nextword.models.layers import NORMS, Embedding, FeedForward, Linear, RMSNorm

Rotation = tuple[Tensor, Tensor]  # cos and sin, [batch or 1, time, 1, head]


class Attention(nn.Module):
    """Multi-head self-attention. Query, key and value weights are one matrix, in that order."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head = config.heads, config.kv_heads, config.head_width
        self.layer, self.causal, self.window = layer, config.causal, config.window_of(layer)
        outputs = (config.heads + 2 * config.kv_heads) * config.head_width
        self.qkv = Linear(config.width, outputs, config.attention_bias)
        self.output = Linear(config.heads * config.head_width, config.width, config.output_bias)
        self.query_norm: RMSNorm | None = None
        self.key_norm: RMSNorm | None = None
        if config.qk_norm:
            self.query_norm = RMSNorm(config.head_width, config.norm_epsilon)
            self.key_norm = RMSNorm(config.head_width, config.norm_epsilon)

    def forward(
        self, x: Tensor, rotation: Rotation | None, bias: Tensor | None, cache: Cache | None
    ) -> Tensor:
        batch, time, _ = x.shape
        heads = self.qkv(x).view(batch, time, -1, self.head)
        turned, value = heads.split([self.heads + self.kv_heads, self.kv_heads], dim=2)
        if self.query_norm is not None and self.key_norm is not None:
            weight = torch.cat(  # [heads + kv_heads, head]: queries and keys at once
                (
                    self.query_norm.weight.expand(self.heads, -1),
                    self.key_norm.weight.expand(self.kv_heads, -1),
                )
            )
            turned = rms_norm(turned, weight, self.query_norm.epsilon)
        if rotation is not None:
            turned = rotate(turned, *rotation)
        # [batch, time, heads, head] -> [batch, heads, time, head]
        turned, value = turned.transpose(1, 2), value.transpose(1, 2)
        query, key = turned.split([self.heads, self.kv_heads], dim=1)
        if cache is not None:
            key, value = cache.update(self.layer, key, value)
        mixed = attend(query, key, value, bias, causal=self.causal, window=self.window)
        return self.output(mixed.transpose(1, 2).reshape(batch, time, -1))


class Block(nn.Module):
    """Attention, then the feed-forward network, each added to the residual stream."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        norm = NORMS[config.norm]
        self.attention_norm = norm(config.width, config.norm_epsilon)
        self.attention = Attention(config, layer)
        self.mlp_norm = norm(config.width, config.norm_epsilon)
        self.mlp = FeedForward(config)
        self.dropout = config.dropout

    def forward(
        self, x: Tensor, rotation: Rotation | None, bias: Tensor | None, cache: Cache | None
    ) -> Tensor:
        x = x + self._drop(self.attention(self.attention_norm(x), rotation, bias, cache))
        return x + self._drop(self.mlp(self.mlp_norm(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.dropout and self.training else x


class Transformer(nn.Module):
    """A decoder: tokens in, hidden states out; `logits` scores the next token.

    Weights are fp32. Activations are of type `activation_dtype`, which may be set at any time.
    Dropout, where the config has it, falls on the embeddings and on what each layer adds, not on
    the attention weights, so that attention stays fused.
    """

    def __init__(self, config: TransformerConfig, seed: int | None = 0) -> None:
        """With `seed` None the weights are left to be filled by the caller."""
        super().__init__()
        self.config = config
        self.activation_dtype = torch.float32
        self.embedding = Embedding(config.vocab_size, config.width, sparse=config.tied)
        self.positions: Embedding | None = None
        if config.positions == "learned":
            self.positions = Embedding(config.context_length, config.width)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = NORMS[config.norm](config.width, config.norm_epsilon)
        self.head = None if config.tied else Linear(config.width, config.vocab_size, bias=False)
        # Neither saved nor a buffer: .to(bfloat16) would round the angles of far positions.
        self.frequencies: Tensor | None = None
        if config.positions == "rotary":
            self.frequencies, self.rotation_factor = rotary_frequencies(config)
        if seed is not None:
            self.init_weights(seed)

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Final hidden states, [batch, time, width], of tokens [batch, time].

        `positions` [batch, time] are 0, 1, 2 … if not given; a cache that holds something needs
        them. `mask` is bool [batch or 1, 1, time, seen], True where a token sees another; without
        one every token sees itself and those before it. With a sliding window, `seen` counts
        positions from 0. `cache` adds the keys and values of the tokens before these.
        """
        time = tokens.shape[1]
        if self.positions is not None and time > self.config.context_length:
            raise UserError(
                f"{time} tokens at once, but the model has {self.config.context_length} positions",
                mend="give it shorter text or a shorter context",
            )
        at = torch.arange(time, device=tokens.device)[None] if positions is None else positions
        x = self.embedding(tokens)  # [batch, time, width]
        if self.positions is not None:
            x = x + self.positions(at)
        x = x.to(self.activation_dtype)
        if self.config.dropout and self.training:
            x = F.dropout(x, self.config.dropout)
        turns = None
        if self.frequencies is not None:
            self.frequencies = self.frequencies.to(tokens.device)
            turns = rotation(at, self.frequencies, self.rotation_factor, x.dtype)
        biases = self._biases(mask, None if cache is None else at)
        for layer, block in enumerate(self.blocks):
            x = block(x, turns, biases[self.config.window_of(layer)], cache)
        hidden: Tensor = self.norm(x)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every token of the vocabulary, [..., vocabulary], in the activations' type."""
        return F.linear(hidden, self.output_weight.to(hidden.dtype))

    @property
    def output_weight(self) -> Tensor:
        """The output head, [vocabulary, width]: the embedding itself where they are tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    def _biases(self, mask: Tensor | None, at: Tensor | None) -> dict[int | None, Tensor | None]:
        """What a mask adds to the scores, made once for all layers with the same window."""
        window = self.config.window
        if mask is None:
            return {None: None, window: None}
        time, seen = mask.shape[-2:]
        if at is None:  # no cache: columns are the tokens themselves
            distance = distances(time, seen, mask.device)
        else:  # a cache's columns are positions
            distance = at[:, None, :, None] - torch.arange(seen, device=mask.device)
        if self.config.causal and at is None:
            mask = mask & (distance >= 0)
        biases: dict[int | None, Tensor | None] = {None: score_bias(mask, self.activation_dtype)}
        if window is not None:
            biases[window] = score_bias(mask & (distance < window), self.activation_dtype)
        return biases

    def set_dropout(self, dropout: float) -> None:
        """For training from now on; a loaded model has none."""
        self.config = replace(self.config, dropout=dropout)
        for block in self.blocks:
            assert isinstance(block, Block)
            block.dropout = dropout

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """GPT-2's initialisation: normal, with what is added to the residual stream scaled down by
        the root of the number of additions; norms are 1, biases 0. A function of the seed alone."""
        generator = torch.Generator().manual_seed(seed)
        std, additions = self.config.init_std, 2 * self.config.layers
        for name, parameter in self.named_parameters():
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                scale = additions**-0.5 if name.endswith("output.weight") else 1.0
                drawn = torch.empty(parameter.shape).normal_(0.0, std * scale, generator=generator)
                parameter.copy_(drawn)

    def row_blocks(self) -> dict[str, list[int]]:
        """How matrices that are several side by side split along their rows, by parameter name."""
        config = self.config
        queries, keys = config.heads * config.head_width, config.kv_heads * config.head_width
        blocks = {}
        for layer in range(config.layers):
            blocks[f"blocks.{layer}.attention.qkv.weight"] = [queries, keys, keys]
            if config.gated:
                blocks[f"blocks.{layer}.mlp.input.weight"] = [config.mlp_width] * 2
        return blocks
