"""Next-word prediction: each token is predicted from those before it in its own document, and from
the document's source if it has one."""

from __future__ import annotations

import torch
from torch import Tensor

from nextword.models.attention import document_mask
from nextword.models.encoder_decoder import GenerativeModel
from nextword.objectives.cross_entropy import linear_cross_entropy, per_token_cross_entropy
from nextword.tokens.loader import IGNORE_INDEX, Batch
from nextword.tokens.packing import Seq2SeqBatch


def hidden_states(model: GenerativeModel, batch: Batch | Seq2SeqBatch) -> Tensor:
    """Return the final hidden states, [batch, time, width]; packed documents stay apart."""
    if isinstance(batch, Seq2SeqBatch):
        states: Tensor = model(
            batch.source,
            batch.tokens,
            source_documents=batch.source_documents,
            source_positions=batch.source_positions,
            documents=batch.documents,
            positions=batch.positions,
        )
        return states
    mask = None if batch.documents is None else document_mask(batch.documents)
    hidden: Tensor = model(batch.tokens, positions=batch.positions, mask=mask)
    return hidden


def loss(model: GenerativeModel, batch: Batch | Seq2SeqBatch) -> Tensor:
    """Return the sum, in nats, over all targets of the batch.

    It is a sum so that the mean can be taken once, over every micro-batch and rank of a step.
    """
    return linear_cross_entropy(
        model.to_output(hidden_states(model, batch)), model.output_weight, batch.targets
    )


@torch.no_grad()
def token_losses(model: GenerativeModel, batch: Batch | Seq2SeqBatch) -> Tensor:
    """Return the losses in nats, float32 [batch, time]; they are 0 where there is no target."""
    losses = torch.zeros(batch.targets.shape, dtype=torch.float32)
    hidden = model.to_output(hidden_states(model, batch))
    target_losses = per_token_cross_entropy(hidden, model.output_weight, batch.targets)
    losses[(batch.targets != IGNORE_INDEX).cpu()] = target_losses.float().cpu()
    return losses
