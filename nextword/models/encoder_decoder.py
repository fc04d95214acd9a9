"""The encoder–decoder (Vaswani et al. 2017; Raffel et al. 2020): one Transformer encodes a source,
another generates the target, attending to the first one's states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from nextword.models.blocks import Cache
from nextword.models.config import TransformerConfig
from nextword.models.layers import Embedding
from nextword.models.packed_attention import PackedDocuments
from nextword.models.transformer import Transformer


class EncoderDecoder(nn.Module):
    """Two stacks with one embedding: source tokens and target tokens in, hidden states out."""

    def __init__(self, config: TransformerConfig, seed: int | None = 0) -> None:
        """Leave the weights uninitialised where `seed` is None."""
        super().__init__()
        self.config = config
        stack = replace(config, decoder_layers=0)
        decoder = replace(stack, layers=config.decoder_layers, causal=True, cross=True)
        self.encoder = Transformer(replace(stack, tied=True), seed)
        self.decoder = Transformer(decoder, None if seed is None else seed + 1)
        self.decoder.embedding = self.encoder.embedding
        self.encoder.embedding.sparse = False  # used twice, and its rows are added to densely

    def initial_weights(self, seed: int) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights that a model begins with, by name."""
        for name, value in self.encoder.initial_weights(seed):
            yield f"encoder.{name}", value
        for name, value in self.decoder.initial_weights(seed + 1):
            if not name.startswith("embedding."):  # it is the encoder's
                yield f"decoder.{name}", value

    def forward(self, source: Tensor, tokens: Tensor) -> Tensor:
        """Return the decoder's final hidden states, [batch, time, width], of target tokens [batch,
        time], given source tokens [batch, source time]: one document a row."""
        return self.decode(tokens, self.encode(source))

    def encode(self, source: Tensor, **arguments: Tensor | PackedDocuments | None) -> Tensor:
        """Map source tokens [batch, source time] to states [batch, source time, width]; the other
        arguments, here and of `decode`, are those of Transformer.forward."""
        states: Tensor = self.encoder(source, **arguments)
        return states

    def decode(
        self, tokens: Tensor, states: Tensor, **arguments: Tensor | PackedDocuments | Cache | None
    ) -> Tensor:
        """Return the hidden states of target tokens [batch, time], given the source's states."""
        hidden: Tensor = self.decoder(tokens, source=states, **arguments)
        return hidden

    @property
    def embedding(self) -> Embedding:
        return self.encoder.embedding

    def to_output(self, hidden: Tensor) -> Tensor:
        """Return hidden states as Transformer.to_output does."""
        return self.decoder.to_output(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the vocabulary's scores, [..., vocabulary], in the activations' type."""
        return self.decoder.logits(hidden)

    @property
    def output_weight(self) -> Tensor:
        return self.decoder.output_weight

    @property
    def vocabulary_bias(self) -> Tensor | None:
        return self.decoder.vocabulary_bias

    @property
    def activation_dtype(self) -> torch.dtype:
        return self.decoder.activation_dtype

    @activation_dtype.setter
    def activation_dtype(self, dtype: torch.dtype) -> None:
        self.encoder.activation_dtype = self.decoder.activation_dtype = dtype

    def set_dropout(self, dropout: float) -> None:
        """Set the dropout used in training; a loaded model has none."""
        self.config = replace(self.config, dropout=dropout)
        self.encoder.set_dropout(dropout)
        self.decoder.set_dropout(dropout)

    def tiles(self, tokens: int | None = None) -> dict[str, tuple[int, int]]:
        """Return the tiles of both stacks' matrices, as Transformer.tiles does."""
        return {
            f"{name}.{parameter}": tile
            for name, stack in (("encoder", self.encoder), ("decoder", self.decoder))
            for parameter, tile in stack.tiles(tokens).items()
        }


GenerativeModel = Transformer | EncoderDecoder


def build_model(config: TransformerConfig, seed: int | None = 0) -> GenerativeModel:
    """Return the model that a config describes; its weights are uninitialised if `seed` is None."""
    return EncoderDecoder(config, seed) if config.decoder_layers else Transformer(config, seed)
