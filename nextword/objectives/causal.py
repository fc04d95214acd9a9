"""Next-word prediction: every token is predicted from those before it in its own document."""

from __future__ import annotations

import torch
from torch import Tensor

from nextword.models.attention import document_mask
from nextword.models.transformer import Transformer
from nextword.objectives.cross_entropy import (
    IGNORE,
    linear_cross_entropy,
    per_token_cross_entropy,
)
from nextword.tokens.loader import Batch


def hidden_states(model: Transformer, batch: Batch) -> Tensor:
    """Final hidden states, [batch, time, width]; documents packed in a row never see each other."""
    mask = None if batch.documents is None else document_mask(batch.documents)
    hidden: Tensor = model(batch.tokens, positions=batch.positions, mask=mask)
    return hidden


def loss(model: Transformer, batch: Batch) -> Tensor:
    """The sum, in nats, over all targets of the batch.

    It is a sum so that the mean can be taken once, over every micro-batch and rank of a step.
    """
    return linear_cross_entropy(hidden_states(model, batch), model.output_weight, batch.targets)


@torch.no_grad()
def token_losses(model: Transformer, batch: Batch) -> Tensor:
    """Losses in nats, float32 [batch, time]; 0 where there is no target."""
    losses = torch.zeros(batch.targets.shape, dtype=torch.float32)
    hidden = hidden_states(model, batch)
    kept = (batch.targets != IGNORE).to(hidden.device)
    scored = per_token_cross_entropy(hidden, model.output_weight, batch.targets)
    losses[kept.cpu()] = scored.float().cpu()
    return losses
