"""The encoder–decoder (Vaswani et al. 2017; Raffel et al. 2020): one Transformer reads, another
writes, attending to what the first made of its text."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from nextword.models.attention import document_mask
from nextword.models.config import TransformerConfig
from nextword.models.layers import Embedding
from nextword.models.transformer import Cache, Transformer


class EncoderDecoder(nn.Module):
    """Two stacks with one embedding: source tokens and target tokens in, hidden states out."""

    def __init__(self, config: TransformerConfig, seed: int | None = 0) -> None:
        """With `seed` None the weights are left to be filled by the caller."""
        super().__init__()
        self.config = config
        reads = replace(config, tied=True, decoder_layers=0)
        writes = replace(
            config, layers=config.decoder_layers, decoder_layers=0, causal=True, cross=True
        )
        self.encoder = Transformer(reads, seed)
        self.decoder = Transformer(writes, None if seed is None else seed + 1)
        self.decoder.embedding = self.encoder.embedding
        self.encoder.embedding.sparse = False  # used twice, and its rows are added to densely

    def forward(
        self,
        source: Tensor,
        tokens: Tensor,
        *,
        source_documents: Tensor | None = None,
        source_positions: Tensor | None = None,
        documents: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """The decoder's final hidden states, [batch, time, width], of tokens [batch, time] that
        follow a source [batch, source time].

        Documents and positions are of the same shapes; a token attends to the source tokens of its
        own document alone.
        """
        if source_documents is None or documents is None:
            return self.decode(tokens, self.encode(source), positions=positions)
        states = self.encode(source, source_positions, document_mask(source_documents))
        return self.decode(
            tokens,
            states,
            positions=positions,
            mask=document_mask(documents),
            source_mask=document_mask(documents, source_documents),
        )

    def encode(
        self, source: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Source tokens [batch, source time] to states [batch, source time, width]."""
        states: Tensor = self.encoder(source, positions=positions, mask=mask)
        return states

    def decode(
        self,
        tokens: Tensor,
        states: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        source_mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Tokens [batch, time] that follow an encoded source, as Transformer.forward takes them."""
        hidden: Tensor = self.decoder(
            tokens,
            positions=positions,
            mask=mask,
            cache=cache,
            source=states,
            source_mask=source_mask,
        )
        return hidden

    @property
    def embedding(self) -> Embedding:
        return self.encoder.embedding

    def to_output(self, hidden: Tensor) -> Tensor:
        return self.decoder.to_output(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        return self.decoder.logits(hidden)

    @property
    def output_weight(self) -> Tensor:
        return self.decoder.output_weight

    @property
    def activation_dtype(self) -> torch.dtype:
        return self.decoder.activation_dtype

    @activation_dtype.setter
    def activation_dtype(self, dtype: torch.dtype) -> None:
        self.encoder.activation_dtype = self.decoder.activation_dtype = dtype

    def set_dropout(self, dropout: float) -> None:
        self.config = replace(self.config, dropout=dropout)
        self.encoder.set_dropout(dropout)
        self.decoder.set_dropout(dropout)

    def row_blocks(self) -> dict[str, list[int]]:
        """As a Transformer's, of both stacks."""
        return {
            f"{name}.{parameter}": rows
            for name, stack in (("encoder", self.encoder), ("decoder", self.decoder))
            for parameter, rows in stack.row_blocks().items()
        }


Writer = Transformer | EncoderDecoder  # what writes a text, of a prompt or of a source


def writer(config: TransformerConfig, seed: int | None = 0) -> Writer:
    """The model that a config describes."""
    return EncoderDecoder(config, seed) if config.decoder_layers else Transformer(config, seed)
