"""The tokens that a model sees when it is asked about some places of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nextword.errors import UserError
from nextword.inference.inspection.reading import AnyModel, Reading, context_of
from nextword.inference.inspection.surprise import read, require_context, source_states


@dataclass(frozen=True)
class Window:
    """Ids [tokens] of a text from its token number `begin` on, and the places among them that are
    asked about. `states` are the source's, of an encoder–decoder."""

    model: AnyModel
    ids: Tensor
    begin: int
    places: Tensor
    source_ids: tuple[int, ...] = ()

    @torch.inference_mode()
    def read(self) -> Tensor:
        """Return the final hidden states at the places, [places, width]."""
        return read(self.model, self.ids, self.source_states())[self.places]

    @torch.inference_mode()
    def logits(self) -> Tensor:
        """Return the scores at the places, float32 [places, vocabulary of the tokenizer]."""
        return scores(self.model, self.read())

    def source_states(self) -> Tensor | None:
        """Return the states of the source, None where the model has none."""
        return source_states(self.model, self.source_ids)


def window(
    model: AnyModel, reading: Reading, positions: Sequence[int], *, hide: bool = True
) -> Window:
    """Return what is seen where a model is asked about positions of a text.

    A decoder sees the tokens up to the last of them, as many as its context holds. An encoder sees
    all; with `hide` the mask token stands in the place of the positions. Raises UserError where
    that is more than the model sees at once.
    """
    places, context = sorted({reading.place(position) for position in positions}), context_of(model)
    ids = reading.ids
    begin, end = 0, len(ids)
    if reading.kind == "encoder":
        require_context(reading, context)
        mask = model.tokenizer.mask_id
        if hide and mask is None:
            raise UserError("the tokenizer has no mask_token", where=model.name)
        for place in places if hide else ():
            ids[place] = mask or 0
    else:
        end = places[-1] + 1
        begin = max(0, end - context)
        if places[0] < begin:
            raise UserError(
                f"positions {places[0]} and {places[-1]} are further apart than the {context:,} "
                "tokens that the model sees at once",
                mend="ask about fewer positions",
            )
    device = model.transformer.embedding.weight.device
    return Window(
        model,
        torch.tensor(ids[begin:end], device=device),
        begin,
        torch.tensor(places, device=device) - begin,
        tuple(reading.source_ids),
    )


def scores(model: AnyModel, hidden: Tensor) -> Tensor:
    """Return the scores of hidden states [..., width], float32 [..., vocabulary], of the ids that
    the tokenizer has: others are padding and never generated."""
    return model.transformer.logits(hidden).float()[..., : model.tokenizer.vocab_size]
