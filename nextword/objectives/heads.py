"""Losses of models with a head: from one state of each text, or from the states of some tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.models.attention import document_mask
from nextword.models.heads import (
    ModelWithHead,
    QuestionAnsweringModel,
    SequenceClassificationModel,
    TokenClassificationModel,
    full_precision,
)
from nextword.tokens.loader import AnyBatch, Samples


@dataclass
class PackedBatch(AnyBatch):
    """Examples packed into rows, each with targets or labels of its own."""

    tokens: Tensor  # [rows, time] int64
    documents: Tensor  # [rows, time] int32
    positions: Tensor  # [rows, time] int64
    types: Tensor  # [rows, time] int64


@dataclass
class SequenceBatch(PackedBatch):
    """Examples with labels. `begins` and `ends` [examples] are the indices of their first and last
    tokens in the flattened rows; `labels` are int64 [examples], or float [examples, outputs] where
    an example may have several labels or its labels are amounts."""

    begins: Tensor
    ends: Tensor
    labels: Tensor
    samples: Samples

    @property
    def target_count(self) -> int:
        return len(self.labels)


@dataclass
class TokenBatch(PackedBatch):
    """Examples with the tokens that are scored, as indices in the flattened rows.

    For tags `read` is [words] and `targets` are the words' tags, [words]. For answers `read` is
    [examples, most tokens], the tokens that an answer may start or end at, -1 after an example's
    last; `targets` [examples, 2] are the columns of the answer's start and end.
    """

    read: Tensor
    targets: Tensor
    samples: Samples

    @property
    def target_count(self) -> int:
        return len(self.targets)


def _states(model: ModelWithHead, batch: PackedBatch) -> Tensor:
    """Return the final hidden states of all rows one after the other, [rows · time, width]."""
    hidden: Tensor = model.transformer(
        batch.tokens,
        positions=batch.positions,
        mask=document_mask(batch.documents),
        types=batch.types,
    )
    return hidden.flatten(0, 1)


def sequence_scores(model: SequenceClassificationModel, batch: SequenceBatch) -> Tensor:
    """Return the head's scores of each example, [examples, outputs], in fp32 or better."""
    config, states = model.transformer.config, _states(model, batch)
    if config.mean_pooling:
        return model(mean_states(states, batch.begins, batch.ends))
    return model(states[batch.ends if config.causal else batch.begins])


def mean_states(states: Tensor, begins: Tensor, ends: Tensor) -> Tensor:
    """Return the mean of each example's states [tokens, width], in fp32 or better, [examples,
    width]."""
    states, lengths = full_precision(states), ends - begins + 1
    at = torch.arange(len(states), device=states.device)
    examples = torch.arange(len(lengths), device=states.device)
    # Of each token the example that began last, and whether it has ended since: what is asked of
    # lengths alone would have to wait for the device.
    began = torch.full_like(at, -1).scatter(0, begins, begins).cummax(0).values.clamp(min=0)
    example = torch.zeros_like(at).scatter(0, begins, examples)[began]
    inside = (at >= begins[example]) & (at <= ends[example])
    example = torch.where(inside, example, len(lengths))  # of none
    sums = states.new_zeros(len(lengths) + 1, states.shape[1])
    return sums.index_add(0, example, states)[:-1] / lengths[:, None]


def sequence_losses(scores: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the loss of each example, [examples], given scores [examples, outputs].

    For int64 labels it is the cross-entropy in nats, weighted by `weights` [classes] if given; for
    float labels the mean over outputs of binary cross-entropies (several labels) or, with one
    output, the squared error (an amount).
    """
    if not labels.is_floating_point():
        weight = None if weights is None else weights.to(scores)
        return F.cross_entropy(scores, labels, weight=weight, reduction="none")
    if scores.shape[1] == 1:
        return (scores - labels).square().squeeze(1)
    return F.binary_cross_entropy_with_logits(scores, labels, reduction="none").mean(1)


def sequence_loss(
    model: SequenceClassificationModel, batch: SequenceBatch, weights: Tensor | None = None
) -> Tensor:
    """Return the sum over the batch's examples: the mean is taken once, over a whole step."""
    return sequence_losses(sequence_scores(model, batch), batch.labels, weights).sum()


def token_scores(
    model: QuestionAnsweringModel | TokenClassificationModel, batch: TokenBatch
) -> Tensor:
    """Return the head's scores of the tokens in `read`, [*read, outputs], in fp32 or better; they
    are -inf where there is no token."""
    scores: Tensor = model(_states(model, batch)[batch.read.clamp(min=0)])
    return scores.masked_fill((batch.read < 0)[..., None], -torch.inf)


def token_head_losses(scores: Tensor, targets: Tensor) -> Tensor:
    """Return cross-entropies in nats: of each word's tag, [words], or of each answer, [examples],
    the mean over its start and its end (Devlin et al. 2018, 4.2)."""
    losses = F.cross_entropy(scores, targets, reduction="none")  # classes are dimension 1
    return losses if targets.dim() == 1 else losses.mean(1)


def token_head_loss(
    model: QuestionAnsweringModel | TokenClassificationModel, batch: TokenBatch
) -> Tensor:
    """Return the sum over the batch's words or examples: the mean is taken once, over a step."""
    return token_head_losses(token_scores(model, batch), batch.targets).sum()
