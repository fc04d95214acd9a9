"""From logits to the next token: penalties, temperature, truncation, and sampling.

Functions take logits [batch, vocabulary] in fp32 and return new ones, in which an excluded token is
at -infinity. They do exactly what transformers' logits processors do, and in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.errors import UserError
from nextword.settings import GenerateSettings

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


def draw_tokens(logits: Tensor, uniforms: Sequence[float]) -> Tensor:
    """Sample tokens [batch] by inversion: each is where its row's cumulative probability passes the
    row's uniform number.

    uniforms [batch] are in [0, 1). A row's token depends on its own logits and number alone.
    """
    cumulative = logits.double().softmax(dim=-1).cumsum(dim=-1)
    total = cumulative[:, -1:]
    points = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)[:, None] * total
    points = torch.minimum(points, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, points, right=True).squeeze(1)


def sample(logits: Tensor, settings: GenerateSettings, uniforms: Sequence[float]) -> Tensor:
    """Sample the next token of each row, [batch]; temperature 0 takes the likeliest.

    uniforms [batch] are in [0, 1). Raises UserError for logits that are not finite.
    """
    if not bool(logits.amax(dim=-1).isfinite().all()):
        raise UserError(
            "the model's scores are not finite numbers",
            mend="its weights may be damaged; --precision fp32 helps where bf16 overflows",
        )
    if settings.temperature == 0:
        return logits.argmax(dim=-1)
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
