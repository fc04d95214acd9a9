"""The next token of several requests, each by its own settings, and log-probabilities.

What a device has computed is read at once: each reading waits until the device has done all that it
was given, and in the meantime nobody gives it more.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.errors import UserError
from nextword.inference.engine.request import Token
from nextword.inference.engine.row import Row
from nextword.inference.engine.slots import on_device
from nextword.inference.sampling import pick


def choose(logits: Tensor, rows: Sequence[Row]) -> list[Token | Exception]:
    """Return the next token of each row, or what went wrong with it.

    logits [rows, vocabulary] in fp32. A row's token depends on its own scores and settings alone;
    rows with the same settings are sampled together.
    """
    chosen: dict[int, Token | Exception] = {}
    groups: dict[tuple[float, ...], list[int]] = defaultdict(list)
    adjusted: dict[int, Tensor] = {}
    for index, row in enumerate(rows):
        if row.is_adjusted:
            try:
                adjusted[index] = row.adjust(logits[index : index + 1])
            except Exception as error:  # a constraint's own: it fails this request alone
                chosen[index] = error
                continue
        settings = row.request.settings
        key = (settings.temperature, settings.top_k, settings.top_p, settings.min_p)
        groups[key if settings.temperature else ()].append(index)
    order = [index for group in groups.values() for index in group]
    ids = [_pick(logits, adjusted, rows, group) for group in groups.values()]
    ids_in_order = torch.cat(ids) if ids else torch.empty(0, device=logits.device)
    asked: dict[int, list[int]] = defaultdict(list)  # places in `order`, by alternatives
    for place, index in enumerate(order):
        if (count := rows[index].request.logprobs) is not None:
            asked[count].append(place)
    scores = [
        _scores(_some(logits, [order[i] for i in places]), _some(ids_in_order, places), count)
        for count, places in asked.items()
    ]
    highest = torch.cat([part.amax(dim=-1) for part in (logits, *adjusted.values())])
    finite, tokens, *scores_read = _read(highest.isfinite(), ids_in_order, *scores)
    chosen |= {index: Token(int(token)) for index, token in zip(order, tokens, strict=True)}
    for places, numbers in zip(asked.values(), scores_read, strict=True):
        scored = _tokens([int(tokens[place]) for place in places], numbers)
        chosen |= dict(zip([order[place] for place in places], scored, strict=True))
    for index, is_allowed in zip(adjusted, finite[len(rows) :], strict=True):
        if not is_allowed:
            chosen[index] = UserError(
                "no token may come next: what the text must look like, its bias and its least "
                "length exclude all of them",
                mend="loosen one of them",
            )
    for index, is_sound in enumerate(finite[: len(rows)]):
        if not is_sound:
            chosen[index] = UserError(
                "the model's scores are not finite numbers",
                mend="its weights may be damaged; --precision fp32 helps where bf16 overflows",
            )
    return [chosen[index] for index in range(len(rows))]


def score_all(logits: Tensor, tokens: Sequence[int], count: int) -> list[Token]:
    """Return tokens with log-probabilities and the `count` likeliest in each place.

    logits [tokens, vocabulary] in fp32. Tokens that are equally likely come in the order of ids.
    """
    (numbers,) = _read(_scores(logits, on_device(tokens, torch.int64, logits.device), count))
    return _tokens(tokens, numbers)


def _pick(
    logits: Tensor, adjusted: dict[int, Tensor], rows: Sequence[Row], group: list[int]
) -> Tensor:
    """Return the next tokens, [group], of rows with the same settings."""
    if any(index in adjusted for index in group):
        logits = torch.cat([adjusted.get(i, logits[i : i + 1]) for i in group])
    else:
        logits = _some(logits, group)
    settings = rows[group[0]].request.settings
    uniforms = [rows[i].uniform() for i in group] if settings.temperature else []
    points = on_device(uniforms, torch.float64, logits.device)
    return pick(logits, settings, points)


def _some(tensor: Tensor, rows: list[int]) -> Tensor:
    """Return these rows; the tensor itself where they are all."""
    if rows == list(range(len(tensor))):
        return tensor
    return tensor.index_select(0, on_device(rows, torch.int64, tensor.device))


def _scores(logits: Tensor, tokens: Tensor, count: int) -> Tensor:
    """Return for each token its log-probability, the highest `count`, and whose they are, as
    fp64 [tokens, 1 + 2 · count]."""
    logprobs = logits.log_softmax(dim=-1)
    values, ids = logprobs.topk(min(count, logprobs.shape[-1]), dim=-1)
    own = logprobs.gather(1, tokens[:, None])
    return torch.cat((own.double(), values.double(), ids.double()), dim=1)


def _tokens(ids: Sequence[int], numbers: list[float]) -> list[Token]:
    """Return tokens with their numbers in `_scores`."""
    scored, size = [], len(numbers) // len(ids)
    count = size // 2
    for place, token in enumerate(ids):
        own, *rest = numbers[place * size : (place + 1) * size]
        pairs = zip(map(int, rest[count:]), rest[:count], strict=True)
        scored.append(Token(token, own, sorted(pairs, key=lambda pair: (-pair[1], pair[0]))))
    return scored


def _read(*tensors: Tensor) -> list[list[float]]:
    """Return the numbers of several tensors, flat."""
    numbers = torch.cat([tensor.double().flatten() for tensor in tensors]).tolist()
    ends = list(itertools.accumulate(tensor.numel() for tensor in tensors))
    return [numbers[end - tensor.numel() : end] for end, tensor in zip(ends, tensors, strict=True)]
