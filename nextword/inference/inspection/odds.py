"""The odds of the next token, as the model gives them and as sampling makes them.

What temperature, truncation and penalties do is the sampler's own code (inference/sampling.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nextword.errors import UserError
from nextword.inference.inspection.candidates import entropy, named, rank, rounded
from nextword.inference.sampling import TokenHistory, warp
from nextword.settings import GenerateSettings
from nextword.tokens.tokenizer import Tokenizer


def sampled(
    logits: Tensor, settings: GenerateSettings, prompt: Sequence[int], generated: Sequence[int]
) -> Tensor:
    """Return the log-probabilities that a token is drawn with, [vocabulary], -infinity for those
    that cannot be drawn; logits float32 [vocabulary], penalized for the tokens before."""
    scores = logits[None]
    if TokenHistory.is_needed(settings):
        history = TokenHistory([prompt], len(logits), logits.device)
        for id in generated:
            if id < len(logits):
                history.add(torch.tensor([id], device=logits.device))
        scores = history.penalize(scores, settings)
    if settings.temperature == 0:
        choice = scores.argmax(-1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, choice, 0.0)[0]
    return warp(scores, settings)[0].log_softmax(-1)


def odds(
    tokenizer: Tokenizer, logits: Tensor, after: Tensor, actual: int | None, top: int
) -> dict[str, Any]:
    """Return the likeliest tokens before and after sampling.

    Those that may be drawn stand first, then what sampling excludes, `top` in all. `after` is what
    `sampled` gives for the logits, [vocabulary]; `actual` the token that stands there, if any.
    Raises UserError for scores that are not finite.
    """
    if not bool(logits.isfinite().all()):
        raise UserError(
            "the model's scores are not finite numbers",
            mend="its weights may be damaged; --precision fp32 helps where bf16 overflows",
        )
    before = logits.log_softmax(-1)
    kept = int((after > -torch.inf).sum())
    # Two keys: what may be drawn by its odds, then the others by theirs.
    drawn = after.topk(min(top, kept)).indices.tolist()
    others = before.masked_fill(after > -torch.inf, -torch.inf)
    excluded = others.topk(min(top - len(drawn), len(logits) - kept)).indices.tolist()

    def candidate(id: int) -> dict[str, Any]:
        return {
            **named(tokenizer, id),
            "logit": round(float(logits[id]), 4),
            "before": rounded(float(before[id].exp())),
            "after": rounded(float(after[id].exp())),
            "rank": rank(logits, id),
        }

    shown = [*drawn, *excluded]
    return {
        "candidates": [candidate(id) for id in shown],
        "kept": kept,
        "vocab_size": len(logits),
        "shown_before": rounded(float(before[shown].exp().sum())),
        "shown_after": rounded(float(after[shown].exp().sum())),
        "entropy_before": entropy(before),
        "entropy_after": entropy(after),
        "actual": None if actual is None or actual >= len(logits) else candidate(actual),
    }
