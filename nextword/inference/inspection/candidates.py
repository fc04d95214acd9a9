"""Scores of the vocabulary made readable: the likeliest tokens, ranks, entropy."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nextword.tokens.pieces import shown
from nextword.tokens.tokenizer import Tokenizer


def named(tokenizer: Tokenizer, id: int) -> dict[str, Any]:
    """Return a token's id, its name in the vocabulary, its text, and whether it is a control
    token."""
    name = tokenizer.id_to_token(id) or ""
    special = id in tokenizer.special_ids
    return {"id": id, "name": name, "text": shown(tokenizer, id), "special": special}


def likeliest(tokenizer: Tokenizer, log_probs: Tensor, top: int) -> list[dict[str, Any]]:
    """Return the `top` likeliest tokens by their log-probabilities, [vocabulary]."""
    best = log_probs.topk(min(top, len(log_probs)))
    return [
        {**named(tokenizer, id), "probability": rounded(math.exp(value))}
        for id, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def rank(scores: Tensor, id: int) -> int:
    """Return how many tokens, itself included, score at least as much, as a rank from 1: equal
    ones share the best."""
    return int((scores > scores[id]).sum()) + 1


def entropy(log_probs: Tensor) -> float:
    """Return the entropy in bits of log-probabilities, [vocabulary]; -infinity adds nothing."""
    probabilities = log_probs.exp()
    nats = -torch.where(probabilities > 0, probabilities * log_probs, 0.0).sum()
    return round(float(nats) / math.log(2) + 0.0, 4)


def rounded(probability: float) -> float:
    """Return a probability to six digits after the point."""
    return round(probability, 6)
