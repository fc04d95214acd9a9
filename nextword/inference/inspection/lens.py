"""The logit lens (nostalgebraist 2020): what a model would say after each of its layers.

The states between two layers are scored as the last layer's are: by the final norm, if the model
has one, and the output head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nextword.inference.inspection.candidates import entropy, likeliest, named, rank, rounded
from nextword.inference.inspection.reading import AnyModel, stack_of
from nextword.inference.inspection.recording import residual_stream
from nextword.inference.inspection.window import Window, scores


@dataclass(frozen=True)
class Lens:
    """The states before the first layer and after each, layers + 1 tensors [places, width]."""

    model: AnyModel
    states: list[Tensor]

    @torch.inference_mode()
    def log_probs(self, layer: int) -> Tensor:
        """Return what is said after so many layers, log-probabilities [places, vocabulary]."""
        normed = stack_of(self.model).norm(self.states[layer])
        return scores(self.model, normed).log_softmax(-1)


@torch.inference_mode()
def look(window: Window) -> Lens:
    """Read a window and keep the states at its places."""
    with residual_stream(stack_of(window.model), window.places) as states:
        window.read()
    return Lens(window.model, states)


def lens(window: Window, follow: int | None, top: int) -> Iterator[dict[str, Any] | None]:
    """Yield None after each piece of work, and last, for each layer, its likeliest tokens at each
    place; and the probability and rank of the token to `follow`, by default the final best of the
    last place."""
    tokenizer, seen = window.model.tokenizer, look(window)
    yield None
    if follow is None:
        follow = int(seen.log_probs(len(seen.states) - 1)[-1].argmax())
    layers = []
    for layer in range(len(seen.states)):
        at = []
        for place, log_probs in zip(window.places.tolist(), seen.log_probs(layer), strict=True):
            at.append(
                {
                    "position": place + window.begin,
                    "top": likeliest(tokenizer, log_probs, top),
                    "follow": {
                        "probability": rounded(float(log_probs[follow].exp())),
                        "rank": rank(log_probs, follow),
                    },
                    "entropy": entropy(log_probs),
                }
            )
        layers.append({"layer": layer, "at": at})
        yield None
    positions = [place + window.begin for place in window.places.tolist()]
    yield {"follow": named(tokenizer, follow), "positions": positions, "layers": layers}
