"""The loss of each example by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nextword.models.transformer import Transformer
from nextword.objectives import causal
from nextword.tokens.loader import IGNORE, Batch
from nextword.tokens.packing import Example, pack

AT_ONCE = 64  # examples


@dataclass(frozen=True)
class ExampleLosses:
    """`nats` and `tokens` [examples]: the surprise at what is to be written, and its length."""

    nats: NDArray[np.float64]
    tokens: NDArray[np.int64]


@torch.no_grad()
def example_losses(model: Transformer, examples: Sequence[Example], room: int) -> ExampleLosses:
    """Of what is scored of each example; 0 nats and tokens where nothing is."""
    training, device = model.training, model.embedding.weight.device
    nats, tokens = np.zeros(len(examples)), np.zeros(len(examples), np.int64)
    model.eval()
    try:
        for first in range(0, len(examples), AT_ONCE):
            some = examples[first : first + AT_ONCE]
            packed = pack(some, room)
            batch = Batch(packed.tokens, packed.targets, packed.documents, packed.positions, [])
            losses = causal.token_losses(model, batch.to(device)).double().numpy()
            wanted = packed.targets.numpy() != IGNORE
            places = zip(packed.places, some, strict=True)
            for number, ((row, begin), example) in enumerate(places, start=first):
                span = slice(begin, begin + example.inputs)
                nats[number], tokens[number] = losses[row, span].sum(), wanted[row, span].sum()
    finally:
        model.train(training)
    return ExampleLosses(nats, tokens)
