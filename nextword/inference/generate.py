"""Prompts in, continuations out: token ids only, a batch at a time.

A row's answer depends on its own prompt, the settings and its sample number, never on the rows
beside it (but for the rounding of matrix products, which differs a little with the batch).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from nextword.inference.reading import begun, check_prompts, read, write
from nextword.inference.sampling import History, choose
from nextword.models.encoder_decoder import Writer
from nextword.settings import GenerateSettings

ROWS_AT_ONCE = 32
Finish = Literal["end", "stop", "length", "context"]


@dataclass
class Generation:
    """`ids` are what was written, without the end token.

    `finish` says why it ended: the model wrote an end token ("end"), the caller asked ("stop"),
    max_new_tokens were written ("length"), or the model's context was full ("context").
    """

    ids: list[int] = field(default_factory=list)
    finish: Finish | None = None


class Decoder:
    """Some prompts being continued together, one token each a step."""

    def __init__(
        self,
        model: Writer,
        prompts: Sequence[Sequence[int]],
        settings: GenerateSettings,
        end_ids: Collection[int] = (),
        *,
        samples: Sequence[int] | None = None,
        vocab_size: int | None = None,
    ) -> None:
        """`samples` [rows] number the continuations of one prompt; each draws its own chances.
        Ids from `vocab_size` on, padding of the model's vocabulary, are never written.

        Raises UserError for an empty prompt, an unknown id, or no room in the context.
        """
        check_prompts(model, prompts)
        self.model, self.settings, self.end_ids = model, settings, frozenset(end_ids)
        self.vocab_size = min(vocab_size or model.config.vocab_size, model.config.vocab_size)
        self.results = [Generation() for _ in prompts]
        self.active = list(range(len(prompts)))  # rows still being written, in the cache's order
        self._prompts, self._texts = list(prompts), begun(model, prompts)
        samples = [0] * len(prompts) if samples is None else samples
        self._chances = [random.Random(f"{settings.seed}/{number}") for number in samples]
        device = model.embedding.weight.device
        self._history = (
            History(self._texts, self.vocab_size, device) if History.wanted(settings) else None
        )
        self._last: Tensor | None = None  # each active row's newest token, [rows]

    @torch.inference_mode()
    def step(self) -> list[tuple[int, int]]:
        """Write one token in every active row; returns (row, id) of each, end tokens left out."""
        self._drop_finished()
        if not self.active:
            return []
        if self._last is None:
            self._cache, hidden = read(self.model, self._prompts, self.settings.max_new_tokens)
        else:
            hidden = write(self.model, self._cache, self._last)
        logits = self.model.logits(hidden)[:, : self.vocab_size].float()  # [rows, vocabulary]
        if self._history is not None:
            logits = self._history.penalize(logits, self.settings)
        chances = [self._chances[row].random() for row in self.active]
        self._last = choose(logits, self.settings, chances)
        if self._history is not None:
            self._history.add(self._last)
        written = []
        for row, token in zip(self.active, self._last.tolist(), strict=True):
            result = self.results[row]
            if token in self.end_ids:
                result.finish = "end"
                continue
            result.ids.append(token)
            written.append((row, token))
            if len(result.ids) == self.settings.max_new_tokens:
                result.finish = "length"
            elif len(self._texts[row]) + len(result.ids) == self.model.config.most_tokens:
                result.finish = "context"
        return written

    def stop(self, row: int) -> None:
        """Write no more in this row."""
        self.results[row].finish = "stop"

    @property
    def is_done(self) -> bool:
        return all(result.finish for result in self.results)

    def _drop_finished(self) -> None:
        kept = [index for index, row in enumerate(self.active) if not self.results[row].finish]
        if len(kept) == len(self.active):
            return
        self.active = [self.active[index] for index in kept]
        if not self.active or self._last is None:
            return
        self._cache.keep(kept)
        self._last = self._last[kept]
        if self._history is not None:
            self._history.keep(kept)


def generate(
    model: Writer,
    prompts: Sequence[Sequence[int]],
    settings: GenerateSettings,
    end_ids: Collection[int] = (),
    on_token: Callable[[int, int], bool | None] | None = None,
    *,
    vocab_size: int | None = None,
) -> list[Generation]:
    """Continue each prompt. Prompts that are equal are samples of the same prompt and differ.

    `on_token(row, id)` is called for each token as it is written; returning True ends its row.
    Stop strings are text: LanguageModel sees to them.
    """
    check_prompts(model, prompts)
    results: list[Generation] = [Generation() for _ in prompts]
    numbers = sample_numbers(prompts)
    for rows in batches(prompts):
        decoder = Decoder(
            model,
            [prompts[row] for row in rows],
            settings,
            end_ids,
            samples=[numbers[row] for row in rows],
            vocab_size=vocab_size,
        )
        while not decoder.is_done:
            for index, token in decoder.step():
                if on_token is not None and on_token(rows[index], token):
                    decoder.stop(index)
        for row, result in zip(rows, decoder.results, strict=True):
            results[row] = result
    return results


def batches(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Rows to continue together: of nearly equal length, so that little is padding."""
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    return [order[start : start + ROWS_AT_ONCE] for start in range(0, len(order), ROWS_AT_ONCE)]


def sample_numbers(prompts: Sequence[Sequence[int]]) -> list[int]:
    """For each prompt, how many before it are the same."""
    seen: Counter[tuple[int, ...]] = Counter()
    numbers = []
    for prompt in map(tuple, prompts):
        numbers.append(seen[prompt])
        seen[prompt] += 1
    return numbers
