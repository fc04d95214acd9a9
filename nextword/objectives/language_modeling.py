"""Language modelling: tokens are predicted from others of their document, and from the document's
source if it has one. A decoder predicts the next token, an encoder those that are hidden."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.models.attention import document_mask, source_mask
from nextword.models.encoder_decoder import EncoderDecoder, GenerativeModel
from nextword.models.transformer import Transformer
from nextword.objectives.cross_entropy import (
    chunk_rows,
    linear_cross_entropy,
    per_token_cross_entropy,
)
from nextword.tokens.loader import IGNORE_INDEX, Batch
from nextword.tokens.packing import Seq2SeqBatch


def loss(model: GenerativeModel, batch: Batch | Seq2SeqBatch) -> Tensor:
    """Return the sum, in nats, over all targets of the batch.

    It is a sum so that the mean can be taken once, over every micro-batch and rank of a step.
    """
    hidden, targets = target_states(model, batch)
    return linear_cross_entropy(
        model.to_output(hidden), model.output_weight, targets, model.vocabulary_bias
    )


def target_states(model: GenerativeModel, batch: Batch | Seq2SeqBatch) -> tuple[Tensor, Tensor]:
    """Return the hidden states that have a target, [targets, width], and the targets, [targets]:
    the vocabulary is scored for no others."""
    hidden, targets = hidden_states(model, batch).flatten(0, 1), batch.targets.flatten()
    places = batch.target_places
    return (hidden, targets) if places is None else (hidden[places], targets[places])


def hidden_states(model: GenerativeModel, batch: Batch | Seq2SeqBatch) -> Tensor:
    """Return the final hidden states, [batch, time, width]; packed documents stay apart."""
    if isinstance(model, EncoderDecoder):
        assert isinstance(batch, Seq2SeqBatch)
        return _written_states(model, batch)
    mask = None if batch.documents is None else document_mask(batch.documents)
    hidden: Tensor = model(batch.tokens, positions=batch.positions, mask=mask)
    return hidden


def _written_states(model: EncoderDecoder, batch: Seq2SeqBatch) -> Tensor:
    seen = document_mask(batch.source_documents)
    states = model.encode(batch.source, positions=batch.source_positions, mask=seen)
    return model.decode(
        batch.tokens,
        states,
        positions=batch.positions,
        mask=document_mask(batch.documents),
        source_mask=source_mask(batch.documents, batch.source_documents),
    )


@torch.no_grad()
def token_losses(model: GenerativeModel, batch: Batch | Seq2SeqBatch) -> Tensor:
    """Return the losses in nats, float32 [batch, time]; they are 0 where there is no target."""
    hidden, targets = target_states(model, batch)
    losses = torch.zeros(batch.targets.shape, dtype=torch.float32)
    losses[(batch.targets != IGNORE_INDEX).cpu()] = per_token_cross_entropy(
        model.to_output(hidden), model.output_weight, targets, model.vocabulary_bias
    ).to("cpu", torch.float32)
    return losses


@torch.no_grad()
def score_hidden_tokens(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the loss of each target in nats, float32 [targets], and whether the likeliest token
    is the right one, bool [targets]."""
    hidden, targets = target_states(model, batch)
    losses, correct = [], []
    rows = chunk_rows(len(model.output_weight), hidden.device)
    for states, ids in zip(hidden.split(rows), targets.split(rows), strict=True):
        logits = model.logits(states).float()
        losses.append(F.cross_entropy(logits, ids, reduction="none"))
        correct.append(logits.argmax(-1) == ids)
    return torch.cat(losses), torch.cat(correct)
