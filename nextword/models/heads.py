"""Heads for other things than the next token: they read the hidden states of a Transformer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.models.config import TransformerConfig
from nextword.models.layers import Linear
from nextword.models.transformer import Transformer

POOLED = ("bert", "roberta")  # their classifiers have a layer of their own before the scores


class Classifier(nn.Module):
    """A score for each label, or an amount, from a text's state: of a decoder that of its last
    token, of an encoder that of its first, or the mean of all (`mean_pooling`).

    As Hugging Face's ...ForSequenceClassification: a linear map, an encoder's with bias and a layer
    before it (the pooler; ModernBERT's is the transform it was pretrained with). The Transformer
    becomes part of it and loses its output head, which nothing would train.
    """

    def __init__(self, transformer: Transformer, outputs: int, seed: int = 0) -> None:
        super().__init__()
        config = transformer.config
        self.transformer = without_head(transformer)
        self.score = Linear(config.width, outputs, bias=not config.causal)
        self.pooler: Linear | None = None
        if config.family in POOLED:
            self.pooler = Linear(config.width, config.width, bias=True)
        draw(self, config.init_std, seed, below="transformer")

    def forward(self, states: Tensor) -> Tensor:
        """Hidden states [examples, width] to scores [examples, outputs], in fp32 or better."""
        config = self.transformer.config
        states = self.transformer.to_output(in_full(states))
        if self.pooler is not None:
            states = self.pooler(states).tanh()
        if not config.causal:
            states = F.dropout(states, config.dropout, self.training)
        return self.score(states)


class SpanFinder(nn.Module):
    """Where an answer begins and where it ends, scored for every token (Devlin et al. 2018, 4.2).

    As Hugging Face's ...ForQuestionAnswering: one linear map with bias, ModernBERT's after the
    transform it was pretrained with.
    """

    def __init__(self, transformer: Transformer, seed: int = 0) -> None:
        super().__init__()
        self.transformer = without_head(transformer)
        self.span = Linear(transformer.config.width, 2, bias=True)
        draw(self.span, transformer.config.init_std, seed)

    def forward(self, states: Tensor) -> Tensor:
        """Hidden states [..., width] to scores of begin and end [..., 2], in fp32 or better."""
        return self.span(self.transformer.to_output(in_full(states)))


class Tagger(nn.Module):
    """A score for each tag, of every token.

    As Hugging Face's ...ForTokenClassification: one linear map with bias, ModernBERT's after the
    transform it was pretrained with.
    """

    def __init__(self, transformer: Transformer, outputs: int, seed: int = 0) -> None:
        super().__init__()
        self.transformer = without_head(transformer)
        self.tag = Linear(transformer.config.width, outputs, bias=True)
        draw(self.tag, transformer.config.init_std, seed)

    def forward(self, states: Tensor) -> Tensor:
        """Hidden states [..., width] to scores of tags [..., outputs], in fp32 or better."""
        return self.tag(self.transformer.to_output(in_full(states)))


Headed = Classifier | SpanFinder | Tagger


def without_head(transformer: Transformer) -> Transformer:
    """The same model, its output head taken away: its embedding is only ever looked up."""
    transformer.head = None
    transformer.vocabulary_bias = None
    transformer.config = headless(transformer.config)
    if not transformer.config.transform:
        transformer.transform = None
    transformer.embedding.sparse = False  # no dense gradient is there to add rows to
    return transformer


def headless(config: TransformerConfig) -> TransformerConfig:
    """What a Transformer under another head is. ModernBERT's heads all begin with its transform."""
    kept = config.transform and config.family not in POOLED
    return replace(config, tied=True, vocabulary_bias=False, transform=kept)


def in_full(states: Tensor) -> Tensor:
    return states.to(torch.promote_types(states.dtype, torch.float32))


@torch.no_grad()
def draw(head: nn.Module, std: float, seed: int, below: str | None = None) -> None:
    """The linear maps of a head, but for those of its part `below`: normal, biases 0."""
    generator = torch.Generator().manual_seed(seed)
    for name, module in head.named_modules():
        if isinstance(module, Linear) and (below is None or not name.startswith(below)):
            shape = module.weight.shape
            module.weight.copy_(torch.empty(shape).normal_(0.0, std, generator=generator))
            if module.bias is not None:
                module.bias.zero_()


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
