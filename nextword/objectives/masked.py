"""Masked language modelling: hidden tokens are predicted from all others of their document."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.models.transformer import Transformer
from nextword.objectives.causal import hidden_states
from nextword.objectives.cross_entropy import CHUNK_LOGITS, linear_cross_entropy
from nextword.tokens.loader import IGNORE_INDEX, Batch


def at_targets(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Final hidden states [targets, width] and ids [targets] of the hidden places alone, so that
    nothing that scores the vocabulary is computed for the others."""
    kept = batch.targets != IGNORE_INDEX
    return hidden_states(model, batch)[kept], batch.targets[kept]


def loss(model: Transformer, batch: Batch) -> Tensor:
    """The sum, in nats, over all hidden tokens of the batch."""
    hidden, targets = at_targets(model, batch)
    weight, bias = model.output_weight, model.vocabulary_bias
    return linear_cross_entropy(model.to_output(hidden), weight, targets, bias)


@torch.no_grad()
def token_results(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of each hidden token in order: its loss in nats, float32 [targets], and whether the likeliest
    token is the right one, bool [targets]."""
    hidden, targets = at_targets(model, batch)
    losses, right = [], []
    rows = max(1, CHUNK_LOGITS // model.config.vocab_size)
    for states, wanted in zip(hidden.split(rows), targets.split(rows), strict=True):
        logits = model.logits(states).float()
        losses.append(F.cross_entropy(logits, wanted, reduction="none"))
        right.append(logits.argmax(-1) == wanted)
    return torch.cat(losses), torch.cat(right)
