"""Prompts in, continuations out: token ids only, a batch at a time.

A continuation depends on its prompt, the settings and its sample number, never on the other rows of
the batch (but for the rounding of matrix products, which differs a little with the batch).

Sampling takes logits [batch, vocabulary] in fp32: penalties, temperature, truncation, in which an
excluded token is at -infinity, and a draw. It does exactly what transformers' logits processors do,
and in the same order.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.errors import UserError
from nextword.inference.cache import Prompts, check_prompts, decode_step, decoder_prompts, prefill
from nextword.models.encoder_decoder import GenerativeModel
from nextword.settings import GenerateSettings

ROWS_AT_ONCE = 32
PART = 128  # scores of which the highest is found at once
MIN_TEMPERATURE = 1e-30  # smaller ones are 0 in fp32
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
    *,
    vocab_size: int | None = None,
) -> list[Generation]:
    """Continue each prompt; equal prompts are separate samples of it.

    Stop strings are text and left to LanguageModel. Raises UserError as Decoder does.
    """
    check_prompts(model, prompts)
    results: dict[int, Generation] = {}
    for rows, decoder in decoders(model, prompts, settings, end_ids, vocab_size):
        while not decoder.is_done:
            decoder.step()
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


def penalize_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Divide positive scores by the penalty and multiply negative ones (Keskar et al. 2019).

    seen bool [batch, vocabulary]: the tokens of the prompt and the generated ones.
    """
    lowered = torch.where(logits < 0, logits * penalty, logits / penalty)
    return torch.where(seen, lowered, logits)


def penalize_generated(logits: Tensor, counts: Tensor, presence: float, frequency: float) -> Tensor:
    """Lower tokens that were generated already, once and once per occurrence, as OpenAI's API does.

    counts int [batch, vocabulary]: how often each token was generated; prompts do not count.
    """
    return logits - presence * (counts > 0) - frequency * counts


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Divide by the temperature, after shifting the highest logit to 0 so that none overflows."""
    return (logits - logits.amax(dim=-1, keepdim=True)) / max(temperature, MIN_TEMPERATURE)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k likeliest tokens (Fan et al. 2018), and those as likely as the last of them."""
    lowest = logits.topk(min(k, logits.shape[-1])).values[..., -1:]
    return logits.masked_fill(logits < lowest, -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest tokens that together have probability p (Holtzman et al. 2020)."""
    ascending, order = logits.sort(dim=-1)
    unlikely = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - p
    unlikely[..., -1] = False
    return logits.masked_fill(unlikely.scatter(-1, order, unlikely), -math.inf)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keep tokens at least p times as likely as the likeliest (Nguyen et al. 2024)."""
    probabilities = logits.softmax(dim=-1)
    limit = p * probabilities.amax(dim=-1, keepdim=True)
    return logits.masked_fill(probabilities < limit, -math.inf)


def warp(logits: Tensor, settings: GenerateSettings) -> Tensor:
    """Apply the temperature, then the truncations that the settings name."""
    logits = apply_temperature(logits, settings.temperature)
    if settings.top_k:
        logits = keep_top_k(logits, settings.top_k)
    if settings.top_p < 1:
        logits = keep_top_p(logits, settings.top_p)
    if settings.min_p > 0:
        logits = keep_min_p(logits, settings.min_p)
    return logits


def likeliest(logits: Tensor) -> Tensor:
    """Return the first of the likeliest tokens of each row, [batch].

    On a CPU argmax looks at one number after another and amax at many at once, so first the part
    with the highest number is found.
    """
    size = logits.shape[-1]
    if logits.is_cuda or size < 4 * PART:
        return logits.argmax(dim=-1)
    firsts = torch.arange(0, size, PART).clamp_(max=size - PART)  # the last part overlaps
    whole = logits[:, : size // PART * PART].unflatten(1, (-1, PART)).amax(dim=-1)
    highest = torch.cat((whole, logits[:, -PART:].amax(dim=-1, keepdim=True)), dim=-1)
    firsts = firsts[highest[:, : len(firsts)].argmax(dim=-1)]
    within = logits.gather(1, firsts[:, None] + torch.arange(PART)).argmax(dim=-1)
    return firsts + within


def draw_tokens(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Sample tokens [batch] by inversion: each is where its row's cumulative probability passes the
    row's uniform number. First the part of the vocabulary is found in which that is.

    uniforms [batch], fp64, are in [0, 1). A row's token depends on its own logits and number alone.
    """
    size = logits.shape[-1]
    parts = F.pad(logits.softmax(dim=-1), (0, -size % PART)).unflatten(1, (-1, PART))
    part, rest = _where_passed(parts.sum(dim=-1), uniforms[:, None])  # then within that part
    chosen = parts.gather(1, part[:, :, None].expand(-1, -1, PART))[:, 0]
    within, _ = _where_passed(chosen, rest)
    tokens = (part * PART + within).squeeze(1)
    return tokens.clamp_(max=size - 1)  # beyond it only where they are not numbers


def _where_passed(masses: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return in which mass of each row a point lies, [batch, 1], and where within it.

    masses [batch, masses] of a total size; points [batch, 1], fp64, are shares of it, in [0, 1).
    """
    cumulative = masses.double().cumsum(dim=-1)
    total = cumulative[:, -1:]
    points = torch.minimum(points * total, torch.nextafter(total, torch.zeros_like(total)))
    place = torch.searchsorted(cumulative, points, right=True).clamp_(max=masses.shape[-1] - 1)
    mass = masses.gather(1, place).double()
    share = (points - cumulative.gather(1, place) + mass) / mass
    return place, share.clamp_(0, 1)


def sample(logits: Tensor, settings: GenerateSettings, uniforms: Sequence[float]) -> Tensor:
    """Sample the next token of each row, [batch]; temperature 0 takes the likeliest.

    uniforms [batch] are in [0, 1). Raises UserError for logits that are not finite.
    """
    if not bool(logits.amax(dim=-1).isfinite().all()):
        raise UserError(
            "the model's scores are not finite numbers",
            mend="its weights may be damaged; --precision fp32 helps where bf16 overflows",
        )
    points = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)
    return pick(logits, settings, points)


def pick(logits: Tensor, settings: GenerateSettings, uniforms: Tensor) -> Tensor:
    """As `sample`, of logits that are known to be finite, with fp64 uniforms [batch]; where they
    are not finite, any tokens are returned."""
    if settings.temperature == 0:
        return likeliest(logits)
    return draw_tokens(warp(logits, settings), uniforms)


class TokenHistory:
    """The tokens of each row that penalties depend on."""

    def __init__(
        self, prompts: Sequence[Sequence[int]], vocab_size: int, device: torch.device
    ) -> None:
        self.seen = torch.zeros(len(prompts), vocab_size, dtype=torch.bool, device=device)
        self.counts = torch.zeros(len(prompts), vocab_size, dtype=torch.int32, device=device)
        for row, prompt in enumerate(prompts):
            ids = torch.tensor(prompt, dtype=torch.int64, device=device)
            self.seen[row, ids[ids < vocab_size]] = True

    @staticmethod
    def is_needed(settings: GenerateSettings) -> bool:
        """Whether the settings have a penalty."""
        added = settings.presence_penalty, settings.frequency_penalty
        return settings.repetition_penalty != 1 or added != (0, 0)

    def penalize(self, logits: Tensor, settings: GenerateSettings) -> Tensor:
        """Apply the settings' penalties."""
        if settings.repetition_penalty != 1:
            logits = penalize_repetition(logits, self.seen, settings.repetition_penalty)
        presence, frequency = settings.presence_penalty, settings.frequency_penalty
        if presence or frequency:
            logits = penalize_generated(logits, self.counts, presence, frequency)
        return logits

    def add(self, tokens: Tensor) -> None:
        """Add one generated token for each row, [batch]."""
        rows = torch.arange(len(tokens), device=tokens.device)
        self.seen[rows, tokens] = True
        self.counts[rows, tokens] += 1

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order."""
        index = torch.tensor(rows, dtype=torch.int64, device=self.seen.device)
        self.seen, self.counts = self.seen[index], self.counts[index]
