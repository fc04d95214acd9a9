"""The next token of several requests, each by its own settings, and log-probabilities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.errors import UserError
from nextword.inference.engine.request import Token
from nextword.inference.engine.row import Row
from nextword.inference.generate import sample


def choose(logits: Tensor, rows: Sequence[Row]) -> list[Token | Exception]:
    """Return the next token of each row, or what went wrong with it.

    logits [rows, vocabulary] in fp32. A row's token depends on its own scores and settings alone;
    rows with the same settings are sampled together.
    """
    chosen: list[Token | Exception | None] = [None] * len(rows)
    groups: dict[tuple[float, ...], list[int]] = defaultdict(list)
    adjusted: dict[int, Tensor] = {}
    finite = logits.amax(dim=-1).isfinite().tolist()
    for index, row in enumerate(rows):
        if not finite[index]:
            chosen[index] = UserError(
                "the model's scores are not finite numbers",
                mend="its weights may be damaged; --precision fp32 helps where bf16 overflows",
            )
            continue
        if row.is_adjusted:
            try:
                adjusted[index] = row.adjust(logits[index : index + 1])
                _check_allowed(adjusted[index])
            except Exception as error:  # a constraint's own: it fails this request alone
                chosen[index] = error
                continue
        settings = row.request.settings
        key = (settings.temperature, settings.top_k, settings.top_p, settings.min_p)
        groups[key if settings.temperature else ()].append(index)
    for group in groups.values():
        if len(group) == len(rows) and not adjusted:
            scores = logits
        else:
            scores = torch.cat([adjusted.get(i, logits[i : i + 1]) for i in group])
        settings = rows[group[0]].request.settings
        uniforms = [rows[i].uniform() for i in group] if settings.temperature else []
        ids = sample(scores, settings, uniforms).tolist()
        for index, token in zip(group, ids, strict=True):
            count = rows[index].request.logprobs
            chosen[index] = Token(token) if count is None else score(logits[index], token, count)
    return [token for token in chosen if token is not None]


def score(logits: Tensor, token: int, count: int) -> Token:
    """Return a token with its log-probability and the `count` likeliest; logits [vocabulary]."""
    return score_all(logits[None], [token], count)[0]


def score_all(logits: Tensor, tokens: Sequence[int], count: int) -> list[Token]:
    """Return tokens with log-probabilities and the `count` likeliest in each place.

    logits [tokens, vocabulary] in fp32. Tokens that are equally likely come in the order of ids.
    """
    logprobs = logits.log_softmax(dim=-1)
    own = logprobs.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()
    values, ids = logprobs.topk(min(count, logprobs.shape[-1]), dim=-1)
    scored = []
    for token, value, tops, top_ids in zip(tokens, own, values.tolist(), ids.tolist(), strict=True):
        pairs = sorted(zip(top_ids, tops, strict=True), key=lambda pair: (-pair[1], pair[0]))
        scored.append(Token(token, value, pairs))
    return scored


def _check_allowed(logits: Tensor) -> None:
    if not bool(logits.amax().isfinite()):
        raise UserError(
            "no token may come next: what the text must look like, its bias and its least length "
            "exclude all of them",
            mend="loosen one of them",
        )
