"""Prompts in, continuations out, as token ids: how a model writes that is not served.

A continuation depends on its prompt, the settings and its sample number, never on the others (but
for the rounding of matrix products, which differs a little with their number).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from nextword.inference.cache import Prompts, check_prompts
from nextword.inference.engine.request import Finished, Request, Token
from nextword.inference.engine.tuning import as_it_is
from nextword.inference.engine.writing import Writing
from nextword.models.encoder_decoder import GenerativeModel
from nextword.settings import GenerateSettings

Finish = Literal["end", "stop", "length", "context"]


@dataclass
class Generation:
    """A continuation: `ids` are the generated tokens, without the end token.

    `finish` is why it ended: the model generated an end token ("end"), the caller stopped it
    ("stop"), it has max_new_tokens ("length"), or the model's context is full ("context").
    """

    ids: list[int] = field(default_factory=list)
    finish: Finish | None = None


def generate(
    model: GenerativeModel,
    prompts: Prompts,
    settings: GenerateSettings,
    end_ids: Collection[int] = (),
    *,
    vocab_size: int | None = None,
) -> list[Generation]:
    """Continue each prompt; equal prompts are separate samples of it.

    The model may be one that is being trained: its weights are used as they are. Ids from
    `vocab_size` on, padding of the model's vocabulary, are never generated. Stop strings are text
    and left to LanguageModel. Raises UserError for an empty prompt, an unknown id, or no room in
    the context.
    """
    check_prompts(model, prompts)
    results = [Generation() for _ in prompts]
    writing = Writing(as_it_is(model, vocab_size), requests(prompts, settings, end_ids))
    for row, event in writing.events():
        if isinstance(event, Token):
            results[row].ids.append(event.id)
        elif isinstance(event, Finished):
            results[row].finish = event.reason  # type: ignore[assignment]
    return results


def requests(
    prompts: Prompts, settings: GenerateSettings, end_ids: Collection[int]
) -> list[Request]:
    """Return a request for each prompt; equal prompts are samples with numbers of their own."""
    seen: Counter[tuple[int, ...]] = Counter()
    made = []
    for prompt in map(tuple, prompts):
        made.append(Request(prompt, settings, sample=seen[prompt], end_ids=frozenset(end_ids)))
        seen[prompt] += 1
    return made
