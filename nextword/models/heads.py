"""Heads for other things than the next token: they read the hidden states of a Transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nextword.models.layers import Linear
from nextword.models.transformer import Transformer


class Classifier(nn.Module):
    """A score for each label, or an amount, from the state of a text's last token.

    As Hugging Face's ...ForSequenceClassification: one linear map without bias.
    """

    def __init__(self, transformer: Transformer, outputs: int, seed: int = 0) -> None:
        super().__init__()
        self.transformer = transformer
        self.score = Linear(transformer.config.width, outputs, bias=False)
        generator = torch.Generator().manual_seed(seed)
        std = transformer.config.init_std
        drawn = torch.empty(self.score.weight.shape).normal_(0.0, std, generator=generator)
        with torch.no_grad():
            self.score.weight.copy_(drawn)

    def forward(self, states: Tensor) -> Tensor:
        """Hidden states [examples, width] to scores [examples, outputs], in fp32 or better."""
        return self.score(states.to(torch.promote_types(states.dtype, torch.float32)))
