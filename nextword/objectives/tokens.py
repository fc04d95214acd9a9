"""A score for each token: the tag of each word, or where an answer begins and where it ends."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.models.attention import document_mask
from nextword.models.heads import SpanFinder, Tagger


@dataclass
class TokenBatch:
    """Examples packed into rows, and the tokens of them that are read, as places counted through
    the rows.

    Of tags `read` is [words] and `targets` are the words' tags, [words]. Of answers `read` is
    [examples, most], the tokens that an answer may begin or end at, -1 beyond an example's last;
    `targets` [examples, 2] say at which of them it does.
    """

    tokens: Tensor  # [rows, time] int64
    documents: Tensor  # [rows, time] int32
    positions: Tensor  # [rows, time] int64
    types: Tensor  # [rows, time] int64
    read: Tensor
    targets: Tensor
    samples: list[tuple[int, int]]  # (epoch, index) of each example

    @property
    def target_count(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device | str) -> TokenBatch:
        names = ("tokens", "documents", "positions", "types", "read", "targets")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def scores(model: SpanFinder | Tagger, batch: TokenBatch) -> Tensor:
    """What the head gives the tokens read, [*read, outputs], in fp32; -inf where there is none."""
    hidden = model.transformer(
        batch.tokens,
        positions=batch.positions,
        mask=document_mask(batch.documents),
        types=batch.types,
    )
    given: Tensor = model(hidden.flatten(0, 1)[batch.read.clamp(min=0)])
    return given.masked_fill((batch.read < 0)[..., None], -torch.inf)


def losses(scored: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats: over the tags of each word, [words]; or over the tokens of each
    example, the mean of begin and end, [examples] (Devlin et al. 2018, 4.2)."""
    if targets.dim() == 1:
        return F.cross_entropy(scored, targets, reduction="none")
    return F.cross_entropy(scored, targets, reduction="none").mean(1)  # classes are dimension 1


def loss(model: SpanFinder | Tagger, batch: TokenBatch) -> Tensor:
    """The sum over the batch's words or examples, so that the mean is taken once a step."""
    return losses(scores(model, batch), batch.targets).sum()
