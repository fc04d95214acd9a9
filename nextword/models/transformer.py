"""The Transformer. Its config says which norms, positions, attention and MLP it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.errors import UserError
from nextword.models.attention import distances, rotary_frequencies, rotation, score_bias, visible
from nextword.models.blocks import Block, Cache
from nextword.models.config import TransformerConfig
from nextword.models.initialization import initial_weights, initialize_weights
from nextword.models.layers import Embedding, Linear, RelativePositions, Transform, build_norm
from nextword.models.packed_attention import PackedDocuments

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

# Tokens a step, as a multiple of the width, up to which orthogonalising whole matrices takes so
# much of its time that parts of them are no worse in the same time (docs/performance.md).
FEW = 6


class Transformer(nn.Module):
    """A decoder or an encoder: tokens in, hidden states out; `logits` scores the vocabulary.

    Weights are fp32. Activations are of type `activation_dtype`, which may be set at any time.
    Dropout applies to the embeddings and to what each layer adds, not to the attention weights, so
    that attention stays fused.
    """

    def __init__(self, config: TransformerConfig, seed: int | None = 0) -> None:
        """Leave the weights uninitialised where `seed` is None."""
        super().__init__()
        self.config = config
        self.activation_dtype = torch.float32
        self.embedding = Embedding(config.vocab_size, config.width, sparse=config.tied)
        entries = config.position_offset + config.context_length
        is_learned, is_relative = (config.positions == kind for kind in ("learned", "relative"))
        self.positions = Embedding(entries, config.width) if is_learned else None
        self.relative = RelativePositions(config) if is_relative else None
        self.types = Embedding(config.token_types, config.width) if config.token_types else None
        self.embedding_norm = build_norm(config) if config.embedding_norm else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = nn.Identity() if config.post_norm else build_norm(config)
        self.transform = Transform(config) if config.transform else None
        self.head = None if config.tied else Linear(config.width, config.vocab_size, bias=False)
        self.vocabulary_bias: nn.Parameter | None = None
        if config.vocabulary_bias:
            self.vocabulary_bias = nn.Parameter(torch.empty(config.vocab_size))
        # Neither saved nor buffers: .to(bfloat16) would round the angles of far positions.
        self.rotary: dict[int | None, tuple[Tensor, float]] = {}  # by window
        if config.positions == "rotary":
            self.rotary[None] = rotary_frequencies(config)
            if config.window is not None:
                self.rotary[config.window] = rotary_frequencies(config, local=True)
        if seed is not None:
            initialize_weights(self, self.initial_weights(seed))

    def initial_weights(self, seed: int) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights that a model begins with, by name."""
        shapes = ((name, parameter.shape) for name, parameter in self.named_parameters())
        return initial_weights(shapes, self.config, seed)

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | PackedDocuments | None = None,
        cache: Cache | None = None,
        types: Tensor | None = None,
        source: Tensor | None = None,
        source_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the final hidden states, [batch, time, width], of tokens [batch, time].

        `positions` [batch, time] default to 0, 1, 2 …; a cache that is not empty needs them. `mask`
        is bool [batch or 1, 1, time, seen], True where a token sees another, or what stands
        for it; without one every token sees all others, in a decoder itself and those before it.
        With a sliding window, `seen` counts positions from 0. `cache` holds the keys and values of
        earlier tokens. `types` [batch, time] are token types, by default 0. A decoder attends to
        `source` [batch, source time, width] where `source_mask` [batch or 1, 1, time or 1, source
        time] is True. Raises UserError for more tokens than there are learned positions.
        """
        time = tokens.shape[1]
        if self.positions is not None and time > self.config.context_length:
            raise UserError(
                f"{time} tokens at once, but the model has {self.config.context_length} positions",
                mend="give it shorter text or a shorter context",
            )
        at = torch.arange(time, device=tokens.device)[None] if positions is None else positions
        x = self.embedding(tokens)  # [batch, time, width]
        if self.config.scaled_embedding:
            x = x * self.config.width**0.5
        if self.positions is not None:
            x = x + self.positions(at + self.config.position_offset)
        if self.types is not None:
            one = types is None or self.config.token_types == 1
            x = x + self.types(torch.zeros_like(tokens) if one else types)
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        x = F.dropout(x.to(self.activation_dtype), self.config.dropout, self.training)
        rotations = {}
        for window, (frequencies, factor) in self.rotary.items():
            self.rotary[window] = frequencies.to(x.device), factor
            rotations[window] = rotation(at, self.rotary[window][0], factor, x.dtype)
        biases = self._biases(time, mask, None if cache is None else at)
        source_bias = None if source_mask is None else score_bias(source_mask, x.dtype)
        for layer, block in enumerate(self.blocks):
            window = self.config.window_of(layer)
            turn = None if layer in self.config.unrotated_layers else rotations.get(window)
            x = block(x, turn, biases[window], cache, source, source_bias)
        hidden: Tensor = self.norm(x)
        return hidden

    def to_output(self, hidden: Tensor) -> Tensor:
        """Return hidden states as the output weight takes them, [..., width]."""
        if self.transform is not None:
            hidden = self.transform(hidden)
        scale = self.config.vocabulary_scale
        return hidden if scale == 1 else hidden * scale

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the vocabulary's scores, [..., vocabulary], in the activations' type."""
        hidden = self.to_output(hidden)
        bias = None if self.vocabulary_bias is None else self.vocabulary_bias.to(hidden.dtype)
        return F.linear(hidden, self.output_weight.to(hidden.dtype), bias)

    @property
    def output_weight(self) -> Tensor:
        """Return the output head, [vocabulary, width]: the embedding itself where it is tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    def _biases(
        self, time: int, mask: Tensor | PackedDocuments | None, at: Tensor | None
    ) -> dict[int | None, Tensor | BlockMask | None]:
        """Return the biases of attention scores by window, shared by all layers that have it."""
        window, causal, dtype = self.config.window, self.config.causal, self.activation_dtype
        if isinstance(mask, PackedDocuments):
            if self.relative is None and dtype != torch.float64:  # no kernel of it takes fp64
                return {width: mask.block_mask(causal, width) for width in {None, window}}
            mask = mask.dense()
        if mask is None and self.relative is None:
            return {None: None, window: None}
        device = self.embedding.weight.device
        if at is None:  # no cache: columns are the tokens themselves
            distance = distances(time, time, device)
        else:  # a cache's columns are positions
            at = at[:1] if mask is None else at  # the same in all rows
            seen = int(at.max()) + 1 if mask is None else mask.shape[-1]
            distance = at[:, None, :, None] - torch.arange(seen, device=device)
        biases: dict[int | None, Tensor | BlockMask | None] = {}
        for width in {None, window}:
            # A cache's mask says itself which of its slots hold what came before.
            near = visible(distance, causal and (at is None or mask is None), width)
            biases[width] = score_bias(near if mask is None else mask & near, dtype)
        if self.relative is None:
            return biases
        relative = self.relative(distance).to(dtype)
        return {width: relative + bias for width, bias in biases.items() if bias is not None}

    def set_dropout(self, dropout: float) -> None:
        """Set the dropout used in training; a loaded model has none."""
        self.config = replace(self.config, dropout=dropout)
        for block in self.blocks:
            assert isinstance(block, Block)
            block.dropout = dropout

    def tiles(self, tokens: int | None = None) -> dict[str, tuple[int, int]]:
        """Return, by parameter name, the rows and columns of the parts that Muon takes a fused
        matrix for: queries, keys and values (so many queries at once as there are keys), a gate and
        its input. With FEW `tokens` a step, heads alone and neurons in groups as large as a head.
        """
        config, head = self.config, self.config.head_width
        few = tokens is not None and tokens <= FEW * config.width
        keys, queries = (head, head) if few else (config.key_width, config.query_width)
        neurons = head if few and config.mlp_width % head == 0 else config.mlp_width
        parts = {"mlp.input": (neurons, config.width), "mlp.output": (config.width, neurons)}
        for attention in ("attention", "cross") if config.cross else ("attention",):
            parts[f"{attention}.qkv"] = (keys, config.width)
            parts[f"{attention}.output"] = (config.width, queries)
        layers = range(config.layers)
        return {f"blocks.{n}.{part}.weight": tile for n in layers for part, tile in parts.items()}
