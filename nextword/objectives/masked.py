"""Masked language modelling: hidden tokens are predicted from all others of their document."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.models.transformer import Transformer
from nextword.objectives.causal import hidden_states
from nextword.objectives.cross_entropy import CHUNK_LOGITS, linear_cross_entropy
from nextword.tokens.loader import IGNORE_INDEX, Batch


def select_targets(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the final hidden states [targets, width] and the ids [targets] of the hidden tokens
    alone, so that the vocabulary is scored for no others."""
    is_target = batch.targets != IGNORE_INDEX
    return hidden_states(model, batch)[is_target], batch.targets[is_target]


def loss(model: Transformer, batch: Batch) -> Tensor:
    """Return the sum, in nats, over all hidden tokens of the batch."""
    hidden, targets = select_targets(model, batch)
    weight, bias = model.output_weight, model.vocabulary_bias
    return linear_cross_entropy(model.to_output(hidden), weight, targets, bias)


@torch.no_grad()
def score_hidden_tokens(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the loss of each hidden token in nats, float32 [targets], and whether the likeliest
    token is the right one, bool [targets]."""
    hidden, targets = select_targets(model, batch)
    losses, correct = [], []
    rows = max(1, CHUNK_LOGITS // model.config.vocab_size)
    for states, ids in zip(hidden.split(rows), targets.split(rows), strict=True):
        logits = model.logits(states).float()
        losses.append(F.cross_entropy(logits, ids, reduction="none"))
        correct.append(logits.argmax(-1) == ids)
    return torch.cat(losses), torch.cat(correct)
