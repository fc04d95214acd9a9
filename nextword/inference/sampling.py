"""How the next token is chosen: penalties, temperature, truncation, and a draw.

Logits are [batch, vocabulary] in fp32; an excluded token is at -infinity. This is exactly what
transformers' logits processors do, in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.settings import GenerateSettings

PART = 128  # scores of which the highest is found at once
MIN_TEMPERATURE = 1e-30  # smaller ones are 0 in fp32


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


def pick(logits: Tensor, settings: GenerateSettings, uniforms: Tensor) -> Tensor:
    """Sample the next token of each row, [batch]; temperature 0 takes the likeliest.

    uniforms [batch], fp64, are in [0, 1). Where logits are not finite, any tokens are returned.
    """
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
