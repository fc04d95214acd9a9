"""Attention: its masks, its positions (rotary and relative), and the product itself.

The backward pass in bf16 on a CPU is written out, because autograd's own is slow there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.models.config import TransformerConfig
from nextword.models.packed_attention import PackedDocuments, can_compile, packed_attention

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

BLOCK = 128  # keys whose scores are held at once, for all queries: fits a core's cache


def document_mask(documents: Tensor) -> Tensor | PackedDocuments:
    """Return the mask that keeps packed documents apart; causal masking is not part of it.

    documents [batch, time] numbers the documents; the mask is bool [batch, 1, time, time], True
    where the row's token sees the column's. On a GPU it is what stands for one.
    """
    packed = PackedDocuments(documents)
    return packed if can_compile(documents.device) else packed.dense()


def source_mask(documents: Tensor, sources: Tensor) -> Tensor:
    """Return the mask of an encoder's tokens, of documents `sources` [batch, source time], that a
    decoder's see, bool [batch, 1, time, source time]: those of their own document in `documents`
    [batch, time]; all where there are none (padding)."""
    same = documents[:, :, None] == sources[:, None, :]
    return (same | ~same.any(-1, keepdim=True))[:, None]


def visible(distance: Tensor, causal: bool, window: int | None = None) -> Tensor:
    """Return, as bool, which tokens are seen at a `distance` (positive for earlier tokens)."""
    seen = distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)
    return seen if window is None else seen & (distance.abs() < window)


def distances(time: int, seen: int, device: torch.device | None = None) -> Tensor:
    """Return how far back each token is from each query, [time, seen]; negative for later ones."""
    tokens = torch.arange(seen, device=device)
    return tokens[seen - time :, None] - tokens


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | BlockMask | None = None,
    *,
    causal: bool = True,
    window: int | None = None,
    scale: float | None = None,
) -> Tensor:
    """Compute softmax attention (Vaswani et al. 2017); heads may share keys (Ainslie et al. 2023).

    query [batch, heads, time, head], key and value [batch, kv_heads, seen, head]; returns [batch,
    heads, time, head]. A `bias` [batch or 1, heads or 1, time, seen], made by score_bias, is added
    to the scores and is then the only mask, as is a BlockMask. Without one, the queries are the
    last `time` of the `seen` tokens, and each sees tokens less than `window` away, if `causal` none
    after itself. `scale` defaults to 1 / sqrt(head).
    """
    if bias is not None and not isinstance(bias, Tensor):
        return packed_attention(query, key, value, bias, scale)
    time, seen = query.shape[-2], key.shape[-2]
    narrow = window is not None and window < seen
    if bias is None and (narrow or (causal and time not in (1, seen))):
        mask = visible(distances(time, seen, query.device), causal, window)
        bias = score_bias(mask, query.dtype)[None, None]
    slow = query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.requires_grad
    if slow and not torch.compiler.is_compiling() and (time == seen or not causal):
        return _attention_in_bf16(query, key, value, bias, causal, scale)
    if bias is not None and query.is_cuda and query.shape[1] != key.shape[1]:
        # No fast kernel takes a mask and shared keys.
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=bias,
        is_causal=causal and bias is None and time > 1,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def score_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what a mask adds to the scores: 0 where it is True, elsewhere -infinity."""
    bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return bias.masked_fill_(~mask, -math.inf)


def relative_bucket(distance: Tensor, causal: bool, buckets: int, furthest: int) -> Tensor:
    """Return the bucket of each distance (Raffel et al. 2020, 2.1).

    Half of the `buckets` hold one distance each, the others ever wider ranges, up to `furthest`.
    Unless `causal`, the first half of them is for earlier tokens and the second for later ones.
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
    """Return radians per position for each pair of a head, [head / 2], and a factor on cos and sin.

    Su et al. 2021, with the scalings linear (Chen et al. 2023), llama3 (Llama 3.1) and yarn (Peng
    et al. 2023). With `local`, those of the layers that have a window.
    """
    half = config.head_width // 2
    theta, scaling = config.rope_theta, config.rope_scaling
    if local and config.local_rope_theta is not None:
        theta, scaling = config.local_rope_theta, config.local_rope_scaling
    # On the CPU whatever the default device is, so that a model made on "meta" has them.
    exponents = torch.arange(half, dtype=torch.float32, device="cpu") / half
    frequencies = 1.0 / theta**exponents
    if scaling is None:
        return frequencies, 1.0
    factor = scaling["factor"]
    if scaling["rope_type"] == "linear":
        return frequencies / factor, 1.0
    trained = scaling.get("original_max_position_embeddings") or config.context_length
    if scaling["rope_type"] == "llama3":
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        rotations = trained * frequencies / (2 * math.pi)  # over the context trained on
        unscaled = ((rotations - low) / (high - low)).clamp(0, 1)
        return frequencies * (unscaled + (1 - unscaled) / factor), 1.0

    def pair_with(rotations: float) -> float:
        return half * math.log(trained / (rotations * 2 * math.pi)) / math.log(theta)

    first = pair_with(scaling.get("beta_fast") or 32)
    last = pair_with(scaling.get("beta_slow") or 1)
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
    """Rotate each pair of numbers (i, i + head / 2) by its position's angle (Su et al. 2021).

    x [batch, time, heads, head]; cos, sin [batch or 1, time, 1, head] as `rotation` returns them.
    """
    if not x.requires_grad or torch.compiler.is_compiling():
        return _rotate(x, cos, sin)
    rotated: Tensor = _Rotate.apply(x, cos, sin)
    return rotated


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


class _Rotate(torch.autograd.Function):
    """A rotation whose gradient is the rotation back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotate(gradients[0], cos, -sin), None, None


def rotation(
    positions: Tensor, frequencies: Tensor, factor: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return cos and sin, [batch or 1, time, 1, head], for `rotate`.

    positions [batch or 1, time], frequencies [head / 2]. The sines of the first half are negated.
    """
    angles = positions[:, :, None, None] * frequencies
    cos, sin = angles.cos() * factor, angles.sin() * factor
    return torch.cat((cos, cos), dim=-1).to(dtype), torch.cat((-sin, sin), dim=-1).to(dtype)


def _attention_in_bf16(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    causal: bool,
    scale: float | None,
) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    output: Tensor = _FlashAttention.apply(query, key, value, bias, causal, scale)
    return output


class _FlashAttention(torch.autograd.Function):
    """Attention on a CPU in bf16, with a backward pass made of matrix products.

    PyTorch's forward pass (Dao et al. 2022) is exact and fast; its backward pass for CPUs takes two
    to four times as long as this one where sequences are short. All heads have keys of their own; a
    bias must also hide later tokens if `causal`. Saves only inputs and outputs.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | None,
        causal: bool,
        scale: float,
    ) -> Tensor:
        output, normaliser = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal and bias is None, attn_mask=bias, scale=scale
        )
        ctx.save_for_backward(query, key, value, bias, output, normaliser)
        ctx.causal, ctx.scale = causal, scale
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, bias, output, normaliser = ctx.saved_tensors
        scale, dtype, shape, other = ctx.scale, query.dtype, query.shape, key.shape
        batch, heads, time, _ = shape
        bias_gradient = None
        if bias is not None and bias.requires_grad:
            bias_gradient = torch.zeros(bias.shape, device=bias.device)
        rounded = normaliser.to(dtype)
        # Rounding it makes all of a row's weights too large or small by one factor, up to several
        # hundredths. A row's gradient carries the factor's inverse into all products there are.
        inverse = (rounded - normaliser).exp_().unsqueeze(-1)
        gradient = torch.mul(gradients[0], inverse, out=torch.empty_like(output))
        pull = (gradient * output).sum(-1, keepdim=True, dtype=torch.float32)
        pull = pull.neg_().to(dtype).flatten(0, 1)  # [batch · heads, time, 1]
        normaliser = rounded.neg_().reshape(-1, time, 1)
        query = (query * scale).flatten(0, 1)  # [batch · heads, time, head], as all below
        key, value, gradient = key.flatten(0, 1), value.flatten(0, 1), gradient.flatten(0, 1)
        query_gradient = torch.zeros_like(query)
        key_gradient, value_gradient = torch.empty_like(key), torch.empty_like(value)
        for start in range(0, other[2], BLOCK):
            block = slice(start, min(start + BLOCK, other[2]))
            # Queries before this block of keys do not see it. [batch · heads, queries, keys]
            rest = slice(start if ctx.causal else 0, None)
            weights = torch.baddbmm(normaliser[:, rest], query[:, rest], key[:, block].mT)
            if bias is not None:
                by_row = weights.view(batch, heads, *weights.shape[1:])
                by_row.add_(bias[:, :, rest, block])
            weights.exp_()
            if bias is None and ctx.causal:
                weights[:, : block.stop - start].tril_()
            torch.bmm(weights.mT, gradient[:, rest], out=value_gradient[:, block])
            scores = torch.baddbmm(pull[:, rest], gradient[:, rest], value[:, block].mT)
            scores.mul_(weights)
            if bias_gradient is not None:
                part = bias_gradient[:, :, rest, block]
                part += scores.view(batch, heads, *scores.shape[1:]).float().sum_to_size(part.shape)
            torch.bmm(scores.mT, query[:, rest], out=key_gradient[:, block])
            query_gradient[:, rest].baddbmm_(scores, key[:, block], alpha=scale)
        return (
            query_gradient.view(shape),
            key_gradient.view(other),
            value_gradient.view(other),
            None if bias_gradient is None else bias_gradient.to(dtype),
            None,
            None,
        )
