"""Attention: who sees whom (masks), where tokens are (rotary positions), and the mixing itself."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.models.config import TransformerConfig
from nextword.models.fused import flash_attention


def document_mask(documents: Tensor, sources: Tensor | None = None) -> Tensor:
    """Which tokens are of one document; that a decoder's see none after them, it knows itself.

    documents [batch, time], a number a document; returns bool [batch, 1, time, time], True where
    the row's token sees the column's. With `sources` [batch, source time] the columns are those
    of an encoder; a token whose document it does not hold (padding) sees all of them.
    """
    same = documents[:, :, None] == (documents if sources is None else sources)[:, None, :]
    if sources is not None:
        same |= ~same.any(-1, keepdim=True)
    return same[:, None]


def visible(distance: Tensor, causal: bool, window: int | None = None) -> Tensor:
    """Which tokens are seen from a `distance` (positive: they came before), as bool."""
    seen = distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)
    return seen if window is None else seen & (distance.abs() < window)


def distances(time: int, seen: int, device: torch.device | None = None) -> Tensor:
    """How far back each token is from each query, [time, seen]; negative for later ones."""
    tokens = torch.arange(seen, device=device)
    return tokens[seen - time :, None] - tokens


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    *,
    causal: bool = True,
    window: int | None = None,
    scale: float | None = None,
) -> Tensor:
    """Softmax attention (Vaswani et al. 2017); heads may share keys (Ainslie et al. 2023).

    query [batch, heads, time, head], key and value [batch, kv_heads, seen, head]. `bias` [batch or
    1, heads or 1, time, seen] is added to the scores (see score_bias) and then alone says who sees
    whom. Without it the queries are the last `time` of the `seen` tokens; if `causal`, each sees
    itself and those before it; and none as far away as `window`. `scale` is 1 / sqrt(head) if not
    given. Returns [batch, heads, time, head].
    """
    time, seen = query.shape[-2], key.shape[-2]
    narrow = window is not None and window < seen
    if bias is None and (narrow or (causal and time not in (1, seen))):
        mask = visible(distances(time, seen, query.device), causal, window)
        bias = score_bias(mask, query.dtype)[None, None]
    if needs_own_gradient(query) and (time == seen or not causal):
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        return flash_attention(query, key, value, bias, causal=causal, scale=scale)
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=bias,
        is_causal=causal and bias is None and time > 1,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def needs_own_gradient(query: Tensor) -> bool:
    slow = query.device.type == "cpu" and query.dtype == torch.bfloat16
    return slow and query.requires_grad and not torch.compiler.is_compiling()


def score_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What a mask adds to the scores, made once for all layers: 0 where seen, else -infinity."""
    bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return bias.masked_fill_(~mask, -math.inf)


def relative_bucket(distance: Tensor, causal: bool, buckets: int, furthest: int) -> Tensor:
    """Which of the `buckets` a distance falls into (Raffel et al. 2020, 2.1): half of them hold
    one distance each, the others ever wider ranges, up to `furthest`.

    An encoder's first half of the buckets is for tokens before, the second for those after.
    """
    if causal:
        shift, distance = torch.zeros_like(distance), distance.clamp(min=0)
    else:
        buckets //= 2
        shift, distance = (distance < 0).long() * buckets, distance.abs()
    exact = buckets // 2
    steps = (distance.clamp(min=1).float() / exact).log() / math.log(furthest / exact)
    wide = (exact + (steps * (buckets - exact)).long()).clamp(max=buckets - 1)
    return shift + torch.where(distance < exact, distance, wide)


def rotary_frequencies(config: TransformerConfig, local: bool = False) -> tuple[Tensor, float]:
    """Radians a position for each pair of a head, [head / 2], and a factor on cos and sin; those of
    local layers, if they are wanted.

    Su et al. 2021, with the stretchings known as linear (Chen et al. 2023), llama3 (Llama 3.1's
    own) and yarn (Peng et al. 2023).
    """
    half, theta = config.head_width // 2, config.rope_theta
    if local:
        theta = config.local_rope_theta or theta
    # On the CPU whatever the default device is, so that a model made on "meta" has them.
    exponents = torch.arange(half, dtype=torch.float32, device="cpu") / half
    frequencies = 1.0 / theta**exponents
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies, 1.0
    factor = scaling["factor"]
    if scaling["rope_type"] == "linear":
        return frequencies / factor, 1.0
    trained = scaling.get("original_max_position_embeddings") or config.context_length
    if scaling["rope_type"] == "llama3":
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        turns = trained * frequencies / (2 * math.pi)  # over the context trained on
        kept = ((turns - low) / (high - low)).clamp(0, 1)
        return frequencies * (kept + (1 - kept) / factor), 1.0

    def pair_that_turns(turns: float) -> float:
        return half * math.log(trained / (turns * 2 * math.pi)) / math.log(theta)

    first = pair_that_turns(scaling.get("beta_fast") or 32)
    last = pair_that_turns(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, config.head_width - 1)
    last += 0.001 if first == last else 0
    ramp = ((torch.arange(half, device="cpu") - first) / (last - first)).clamp(0, 1)
    return frequencies * (1 - ramp + ramp / factor), _yarn_attention_factor(scaling)


def _yarn_attention_factor(scaling: dict[str, float]) -> float:
    def strength(weight: float) -> float:
        return 0.1 * weight * math.log(max(1.0, scaling["factor"])) + 1.0

    if scaling.get("attention_factor") is not None:
        return scaling["attention_factor"]
    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        return strength(scaling["mscale"]) / strength(scaling["mscale_all_dim"])
    return strength(1.0)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of numbers (i, i + head / 2) by its position's angle.

    x [batch, time, heads, head]; cos, sin [batch or 1, time, 1, head] as `rotation` makes them.
    """
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


def rotation(
    positions: Tensor, frequencies: Tensor, factor: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """cos and sin, [batch or 1, time, 1, head], for `rotate`; the sine of a first half is negated.

    positions [batch or 1, time], frequencies [head / 2].
    """
    angles = positions[:, :, None, None] * frequencies
    cos, sin = angles.cos() * factor, angles.sin() * factor
    return torch.cat((cos, cos), dim=-1).to(dtype), torch.cat((-sin, sin), dim=-1).to(dtype)
