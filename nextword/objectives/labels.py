"""Labels: what a text is, said from the hidden state of its last token, or of its first."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.models.attention import document_mask
from nextword.models.heads import Classifier, in_full


@dataclass
class LabelBatch:
    """Examples packed into rows. `begins` and `ends` [examples] are the places of their first and
    last tokens, counted through the rows; `labels` are int64 [examples], or float [examples,
    outputs] where several may hold or they are amounts."""

    tokens: Tensor  # [rows, time] int64
    documents: Tensor  # [rows, time] int32
    positions: Tensor  # [rows, time] int64
    types: Tensor  # [rows, time] int64
    begins: Tensor
    ends: Tensor
    labels: Tensor
    samples: list[tuple[int, int]]  # (epoch, index) of each example

    @property
    def target_count(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> LabelBatch:
        names = ("tokens", "documents", "positions", "types", "begins", "ends", "labels")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def scores(model: Classifier, batch: LabelBatch) -> Tensor:
    """What the head gives each example, [examples, outputs], in fp32 or better."""
    hidden = model.transformer(
        batch.tokens,
        positions=batch.positions,
        mask=document_mask(batch.documents),
        types=batch.types,
    )
    config, states = model.transformer.config, hidden.flatten(0, 1)
    if config.mean_pooling:
        return model(means(states, batch.begins, batch.ends))
    return model(states[batch.ends if config.causal else batch.begins])


def means(states: Tensor, begins: Tensor, ends: Tensor) -> Tensor:
    """The mean of each example's states [tokens, width], in fp32 or better, [examples, width]."""
    states, lengths = in_full(states), ends - begins + 1
    example = torch.arange(len(lengths), device=states.device).repeat_interleave(lengths)
    first = lengths.cumsum(0) - lengths
    at = torch.arange(len(example), device=states.device) + (begins - first)[example]
    sums = states.new_zeros(len(lengths), states.shape[1])
    return sums.index_add(0, example, states[at]) / lengths[:, None]


def losses(scored: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """The loss of each example, [examples].

    Cross-entropy in nats for class numbers; for float labels the mean over outputs of binary
    cross-entropies (several labels) or, with one output, the squared error (an amount).
    `weights` [classes] count the classes of a single-label task unequally.
    """
    if not labels.is_floating_point():
        weight = None if weights is None else weights.to(scored)
        return F.cross_entropy(scored, labels, weight=weight, reduction="none")
    if scored.shape[1] == 1:
        return (scored - labels).square().squeeze(1)
    return F.binary_cross_entropy_with_logits(scored, labels, reduction="none").mean(1)


def loss(model: Classifier, batch: LabelBatch, weights: Tensor | None = None) -> Tensor:
    """The sum over the batch's examples, so that the mean is taken once, over a whole step."""
    return losses(scores(model, batch), batch.labels, weights).sum()
