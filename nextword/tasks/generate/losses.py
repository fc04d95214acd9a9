"""The loss of each example by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nextword.inference.evaluating import evaluating
from nextword.models.encoder_decoder import Writer
from nextword.objectives import causal
from nextword.tokens.loader import IGNORE
from nextword.tokens.packing import Example, completions, rows_for

AT_ONCE = 64  # examples


@dataclass(frozen=True)
class ExampleLosses:
    """`nats` and `tokens` [examples]: the surprise at what is to be written, and its length."""

    nats: NDArray[np.float64]
    tokens: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Nats a token."""
        return float(self.nats.sum() / max(self.tokens.sum(), 1))


@torch.no_grad()
def example_losses(
    model: Writer, examples: Sequence[Example], room: int, at_once: int = AT_ONCE
) -> ExampleLosses:
    """Of what is scored of each example; 0 nats and tokens where nothing is."""
    device = model.embedding.weight.device
    nats, tokens = np.zeros(len(examples)), np.zeros(len(examples), np.int64)
    with evaluating(model):
        for first in range(0, len(examples), at_once):
            some = examples[first : first + at_once]
            batch = completions(some, [], room, model.config.start_id)
            losses = causal.token_losses(model, batch.to(device)).double().numpy()
            assert batch.documents is not None
            for row, members in enumerate(rows_for(some, room, model.config.start_id)):
                for order, index in enumerate(members, start=1):
                    own = batch.documents[row].numpy() == order
                    wanted = own & (batch.targets[row].numpy() != IGNORE)
                    nats[first + index] = losses[row, wanted].sum()
                    tokens[first + index] = wanted.sum()
    return ExampleLosses(nats, tokens)
