"""Models with another head than a language model's: a Transformer and scores from its states.

As in a Transformer, weights are left uninitialised where `seed` is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.models.config import TransformerConfig
from nextword.models.initialization import initialize_linear
from nextword.models.layers import Linear
from nextword.models.transformer import Transformer

# The parameters that a checkpoint without this head has not, and that are trained in full beside
# low-rank updates: the heads, and the layers before them.
HEAD_PARAMETERS = ("score.", "span.", "tag.", "pooler.", "transformer.transform.")
POOLERS = {"tanh": torch.tanh, "relu": torch.relu}


class SequenceClassificationModel(nn.Module):
    """A score for each label, or an amount, from one of a text's states: a decoder's last, an
    encoder's first, or the mean of all (`mean_pooling`).

    As in Hugging Face's ...ForSequenceClassification, it is a linear map; an encoder's has a bias
    and a layer before it (the pooler, in ModernBERT the transform it was pretrained with). The
    Transformer becomes part of this model and loses its output head, which nothing would train.
    """

    def __init__(self, transformer: Transformer, outputs: int, seed: int | None = 0) -> None:
        super().__init__()
        config = transformer.config
        self.transformer = remove_head(transformer)
        self.score = Linear(config.width, outputs, bias=not config.causal)
        self.pooler: Linear | None = None
        if config.pooler is not None:
            self.pooler = Linear(config.width, config.width, bias=True)
        if seed is not None:
            initialize_linear(self, config.init_std, seed, below="transformer")

    def forward(self, states: Tensor) -> Tensor:
        """Map hidden states [examples, width] to scores [examples, outputs], in fp32 or better."""
        config = self.transformer.config
        states = self.transformer.to_output(full_precision(states))
        if self.pooler is not None and config.pooler is not None:
            states = POOLERS[config.pooler](self.pooler(states))
        if not config.causal:
            states = F.dropout(states, config.dropout, self.training)
        return self.score(states)


class QuestionAnsweringModel(nn.Module):
    """Scores of each token as an answer's first and as its last (Devlin et al. 2018, 4.2).

    As in Hugging Face's ...ForQuestionAnswering, it is a linear map with bias, in ModernBERT after
    the transform it was pretrained with.
    """

    def __init__(self, transformer: Transformer, seed: int | None = 0) -> None:
        super().__init__()
        self.transformer = remove_head(transformer)
        self.span = Linear(transformer.config.width, 2, bias=True)
        if seed is not None:
            initialize_linear(self.span, transformer.config.init_std, seed)

    def forward(self, states: Tensor) -> Tensor:
        """Map hidden states [..., width] to scores of start and end [..., 2], in fp32 or better."""
        return self.span(self.transformer.to_output(full_precision(states)))


class TokenClassificationModel(nn.Module):
    """A score for each token and tag, from the same layers as a QuestionAnsweringModel's."""

    def __init__(self, transformer: Transformer, outputs: int, seed: int | None = 0) -> None:
        super().__init__()
        self.transformer = remove_head(transformer)
        self.tag = Linear(transformer.config.width, outputs, bias=True)
        if seed is not None:
            initialize_linear(self.tag, transformer.config.init_std, seed)

    def forward(self, states: Tensor) -> Tensor:
        """Map hidden states [..., width] to scores of tags [..., outputs], in fp32 or better."""
        return self.tag(self.transformer.to_output(full_precision(states)))


ModelWithHead = SequenceClassificationModel | QuestionAnsweringModel | TokenClassificationModel


def remove_head(transformer: Transformer) -> Transformer:
    """Remove a Transformer's output head, in place; return the Transformer."""
    transformer.head = transformer.vocabulary_bias = None
    transformer.config = headless_config(transformer.config)
    if not transformer.config.transform:
        transformer.transform = None
    transformer.embedding.sparse = False  # only looked up: there is no dense gradient to add to
    return transformer


def headless_config(config: TransformerConfig) -> TransformerConfig:
    """Return the config of a Transformer without output head; ModernBERT keeps its transform, where
    others have a pooler."""
    transform = config.transform and config.pooler is None
    return replace(config, tied=True, vocabulary_bias=False, transform=transform)


def full_precision(states: Tensor) -> Tensor:
    """Return the states in fp32, or in their own type where that is more precise."""
    return states.to(torch.promote_types(states.dtype, torch.float32))


def strip_padding(ids: Sequence[int], pad_id: int | None) -> Sequence[int]:
    """Return a text's ids up to the last that is no padding, from which a classifier's scores are.

    transformers finds that token by its id. Where the padding token may also end a text (often the
    end-of-text token), it takes the token before; so do we, for the same scores. At least one token
    is left.
    """
    last = len(ids)
    while last > 1 and ids[last - 1] == pad_id:
        last -= 1
    return ids[:last]
