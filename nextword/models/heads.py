"""Heads for other things than the next token: they read the hidden states of a Transformer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from nextword.models.layers import Linear
from nextword.models.transformer import Transformer


class Classifier(nn.Module):
    """A score for each label, or an amount, from the state of a text's last token.

    As Hugging Face's ...ForSequenceClassification: one linear map without bias. The Transformer
    becomes part of it and loses its output head, which nothing would train.
    """

    def __init__(self, transformer: Transformer, outputs: int, seed: int = 0) -> None:
        super().__init__()
        self.transformer = without_head(transformer)
        self.score = Linear(transformer.config.width, outputs, bias=False)
        _draw(self.score, transformer.config.init_std, seed)

    def forward(self, states: Tensor) -> Tensor:
        """Hidden states [examples, width] to scores [examples, outputs], in fp32 or better."""
        return self.score(states.to(torch.promote_types(states.dtype, torch.float32)))


class SpanFinder(nn.Module):
    """Where an answer begins and where it ends, scored for every token (Devlin et al. 2018, 4.2).

    As Hugging Face's ...ForQuestionAnswering: one linear map with bias.
    """

    def __init__(self, transformer: Transformer, seed: int = 0) -> None:
        super().__init__()
        self.transformer = without_head(transformer)
        self.span = Linear(transformer.config.width, 2, bias=True)
        _draw(self.span, transformer.config.init_std, seed)

    def forward(self, states: Tensor) -> Tensor:
        """Hidden states [..., width] to scores of begin and end [..., 2], in fp32 or better."""
        return self.span(states.to(torch.promote_types(states.dtype, torch.float32)))


def without_head(transformer: Transformer) -> Transformer:
    """The same model, its output head taken away: its embedding is only ever looked up."""
    transformer.head = None
    transformer.vocabulary_bias = None
    transformer.config = replace(transformer.config, tied=True, vocabulary_bias=False)
    transformer.embedding.sparse = False  # no dense gradient is there to add rows to
    return transformer


@torch.no_grad()
def _draw(head: Linear, std: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    head.weight.copy_(torch.empty(head.weight.shape).normal_(0.0, std, generator=generator))
    if head.bias is not None:
        head.bias.zero_()


def without_padding(ids: Sequence[int], pad_id: int | None) -> Sequence[int]:
    """A text's ids up to the last that is no padding, which is the one a classifier reads.

    transformers looks for it by its number. So where the padding token may end a text as well
    (often the end-of-text token), it reads the token before; so do we, to give the same scores.
    At least one token is left.
    """
    last = len(ids)
    while last > 1 and ids[last - 1] == pad_id:
        last -= 1
    return ids[:last]
