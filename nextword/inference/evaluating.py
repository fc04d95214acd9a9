"""Using a model that may be in training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation mode within the block; a model that was being trained then goes on being so."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
