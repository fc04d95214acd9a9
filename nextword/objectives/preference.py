"""Direct preference optimisation: make a chosen answer likelier than a rejected one, measured
against the model that training began from (Rafailov et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.models.transformer import Transformer
from nextword.objectives.language_modeling import target_states
from nextword.tokens.loader import AnyBatch, Batch


@dataclass
class PreferenceBatch(AnyBatch):
    """Pairs of answers, packed into rows: sequence 2n is the chosen answer of pair n, 2n + 1 the
    rejected one."""

    sequences: Batch
    owners: Tensor  # [batch, time] int64: the sequence that each place belongs to
    reference_margins: Tensor  # [pairs] log p(chosen) - log p(rejected) of the reference model

    @property
    def target_count(self) -> int:
        return len(self.reference_margins)

    def to(self, device: torch.device | str) -> PreferenceBatch:
        return replace(super().to(device), sequences=self.sequences.to(device))

    def pinned(self) -> PreferenceBatch:
        return replace(super().pinned(), sequences=self.sequences.pinned())


def margins(model: Transformer, batch: PreferenceBatch) -> Tensor:
    """Return log p(chosen) - log p(rejected) of each pair, in fp32 or better, [pairs]."""
    hidden, targets = target_states(model, batch.sequences)
    hidden, places = model.to_output(hidden), batch.sequences.target_places
    logits = F.linear(hidden, model.output_weight.to(hidden.dtype))
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    losses = F.cross_entropy(logits, targets, reduction="none")
    owners = batch.owners.flatten() if places is None else batch.owners.flatten()[places]
    sums = losses.new_zeros(2 * batch.target_count).index_add(0, owners, -losses)
    return sums[0::2] - sums[1::2]


def losses(margins: Tensor, reference_margins: Tensor, beta: float) -> Tensor:
    """Return the loss of each pair in nats, [pairs]: -log sigmoid of the reward margin."""
    return -F.logsigmoid(beta * (margins - reference_margins))


def loss(model: Transformer, batch: PreferenceBatch, beta: float) -> Tensor:
    """Return the sum over the batch's pairs, so that the mean is taken once, over a whole step."""
    return losses(margins(model, batch), batch.reference_margins, beta).sum()
