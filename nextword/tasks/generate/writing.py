"""Answers written by a model, and its loss on those that people wrote."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch

from nextword.evaluation.metrics import Floats, Ints
from nextword.inference.beam import BeamSettings, beam_search
from nextword.inference.generate import generate
from nextword.inference.loading import eval_mode
from nextword.models.encoder_decoder import GenerativeModel
from nextword.objectives import language_modeling
from nextword.settings import GenerateSettings
from nextword.tokens.loader import IGNORE_INDEX
from nextword.tokens.packing import Example, assign_rows, collate_examples
from nextword.tokens.tokenizer import Tokenizer

UNFINISHED = "\N{REPLACEMENT CHARACTER}"


def write_answers(
    model: GenerativeModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    end_ids: Collection[int],
    *,
    num_beams: int = 1,
) -> list[str]:
    """Return what a model writes after each prompt: the likeliest word each time, or the best of
    several beams. A model that was being trained goes on being so."""
    with eval_mode(model):
        if num_beams > 1:
            results = beam_search(
                model,
                prompts,
                BeamSettings(num_beams, max_new_tokens),
                end_ids,
                vocab_size=tokenizer.vocab_size,
            )
        else:
            settings = GenerateSettings(temperature=0, max_new_tokens=max_new_tokens)
            results = generate(model, prompts, settings, end_ids, vocab_size=tokenizer.vocab_size)
    return [tokenizer.decode(result.ids).rstrip(UNFINISHED).strip() for result in results]


@torch.no_grad()
def example_losses(
    model: GenerativeModel, examples: Sequence[Example], row_length: int, batch_size: int = 64
) -> tuple[Floats, Ints]:
    """Return nats and how many tokens they are a sum over, [examples] each; 0 where nothing of an
    example is to be written."""
    device = model.embedding.weight.device
    nats, tokens = np.zeros(len(examples)), np.zeros(len(examples), np.int64)
    with eval_mode(model):
        for first in range(0, len(examples), batch_size):
            some = examples[first : first + batch_size]
            batch = collate_examples(some, [], row_length, model.config.start_id)
            losses = language_modeling.token_losses(model, batch.to(device)).double().numpy()
            assert batch.documents is not None
            for row, members in enumerate(assign_rows(some, row_length, model.config.start_id)):
                for order, index in enumerate(members, start=1):
                    own = batch.documents[row].numpy() == order
                    scored = own & (batch.targets[row].numpy() != IGNORE_INDEX)
                    nats[first + index] = losses[row, scored].sum()
                    tokens[first + index] = scored.sum()
    return nats, tokens
