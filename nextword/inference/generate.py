"""Prompts in, continuations out: token ids only, a batch at a time.

A continuation depends on its prompt, the settings and its sample number, never on the other rows of
the batch (but for the rounding of matrix products, which differs a little with the batch).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from nextword.inference.cache import Prompts, check_prompts, decode_step, decoder_prompts, prefill
from nextword.inference.sampling import TokenHistory, sample
from nextword.models.encoder_decoder import GenerativeModel
from nextword.settings import GenerateSettings

ROWS_AT_ONCE = 32
Finish = Literal["end", "stop", "length", "context"]


@dataclass
class Generation:
    """A continuation: `ids` are the generated tokens, without the end token.

    `finish` is why it ended: the model generated an end token ("end"), the caller stopped it
    ("stop"), it has max_new_tokens ("length"), or the model's context is full ("context").
    """

    ids: list[int] = field(default_factory=list)
    finish: Finish | None = None


class Decoder:
    """A batch of prompts being continued together, one token per step."""

    def __init__(
        self,
        model: GenerativeModel,
        prompts: Prompts,
        settings: GenerateSettings,
        end_ids: Collection[int],
        samples: Sequence[int],
        vocab_size: int | None,
    ) -> None:
        """Prepare the prompts.

        `samples` [rows] number the continuations of one prompt, each with random numbers of its
        own. Ids from `vocab_size` on, padding of the model's vocabulary, are never generated.
        Raises UserError for an empty prompt, an unknown id, or no room in the context.
        """
        check_prompts(model, prompts)
        self.model, self.settings, self.end_ids = model, settings, frozenset(end_ids)
        self.vocab_size = min(vocab_size or model.config.vocab_size, model.config.vocab_size)
        self.results = [Generation() for _ in prompts]
        self.active = list(range(len(prompts)))  # unfinished rows, in the cache's order
        self.texts = decoder_prompts(model, prompts)  # that the results continue
        self._prompts = prompts
        self._random = [random.Random(f"{settings.seed}/{number}") for number in samples]
        device = model.embedding.weight.device
        is_needed = TokenHistory.is_needed(settings)
        self._history = TokenHistory(self.texts, self.vocab_size, device) if is_needed else None
        self._last: Tensor | None = None  # each active row's newest token, [rows]

    @torch.inference_mode()
    def step(self) -> list[tuple[int, int]]:
        """Generate one token in every active row; return (row, id) of each but end tokens."""
        self._drop_finished()
        if not self.active:
            return []
        if self._last is None:
            self._cache, hidden = prefill(self.model, self._prompts, self.settings.max_new_tokens)
        else:
            hidden = decode_step(self.model, self._cache, self._last)
        logits = self.model.logits(hidden)[:, : self.vocab_size].float()  # [rows, vocabulary]
        if self._history is not None:
            logits = self._history.penalize(logits, self.settings)
        uniforms = [self._random[row].random() for row in self.active]
        self._last = sample(logits, self.settings, uniforms)
        if self._history is not None:
            self._history.add(self._last)
        generated = []
        for row, token in zip(self.active, self._last.tolist(), strict=True):
            result = self.results[row]
            if token in self.end_ids:
                result.finish = "end"
                continue
            result.ids.append(token)
            generated.append((row, token))
            if len(result.ids) == self.settings.max_new_tokens:
                result.finish = "length"
            elif len(self.texts[row]) + len(result.ids) == self.model.config.context_limit:
                result.finish = "context"
        return generated

    def stop(self, row: int) -> None:
        """Generate no more in this row."""
        self.results[row].finish = "stop"

    @property
    def is_done(self) -> bool:
        """Whether all rows are done."""
        return all(result.finish for result in self.results)

    def _drop_finished(self) -> None:
        open_rows = [index for index, row in enumerate(self.active) if not self.results[row].finish]
        if len(open_rows) == len(self.active):
            return
        self.active = [self.active[index] for index in open_rows]
        if not self.active or self._last is None:
            return
        self._cache.keep(open_rows)
        self._last = self._last[open_rows]
        if self._history is not None:
            self._history.keep(open_rows)


def generate(
    model: GenerativeModel,
    prompts: Prompts,
    settings: GenerateSettings,
    end_ids: Collection[int] = (),
    on_token: Callable[[int, int], bool | None] | None = None,
    *,
    vocab_size: int | None = None,
) -> list[Generation]:
    """Continue each prompt; equal prompts are separate samples of it.

    `on_token(row, id)` is called for each token as it is generated; returning True ends its row.
    Stop strings are text and left to LanguageModel. Raises UserError as Decoder does.
    """
    check_prompts(model, prompts)
    results: dict[int, Generation] = {}
    for rows, decoder in decoders(model, prompts, settings, end_ids, vocab_size):
        while not decoder.is_done:
            for index, token in decoder.step():
                if on_token is not None and on_token(rows[index], token):
                    decoder.stop(index)
        results.update(zip(rows, decoder.results, strict=True))
    return [results[row] for row in range(len(prompts))]


def decoders(
    model: GenerativeModel,
    prompts: Prompts,
    settings: GenerateSettings,
    end_ids: Collection[int],
    vocab_size: int | None,
) -> Iterator[tuple[list[int], Decoder]]:
    """Yield the decoder of each batch and the rows of its prompts; equal prompts are samples."""
    seen: Counter[tuple[int, ...]] = Counter()
    numbers = []
    for prompt in map(tuple, prompts):
        numbers.append(seen[prompt])
        seen[prompt] += 1
    for rows in batches(prompts):
        batch, samples = [prompts[row] for row in rows], [numbers[row] for row in rows]
        yield rows, Decoder(model, batch, settings, end_ids, samples, vocab_size)


def batches(prompts: Prompts) -> list[list[int]]:
    """Return the rows to continue together: of similar length, so that there is little padding."""
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    return [order[start : start + ROWS_AT_ONCE] for start in range(0, len(order), ROWS_AT_ONCE)]
