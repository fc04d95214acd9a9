"""Operations whose gradients are written out, because autograd's own are slow or hold too much.

Both save only what came in and went out, in the activations' type.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK = 128  # keys whose scores are held at once, for all queries: fits a core's cache


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x / sqrt(mean(x²) + epsilon) · weight over the last dimension, in fp32, returned as x's type.

    x [..., width]; the weight broadcasts against it: [width], or [heads, width] for x [..., heads,
    width].
    """
    normed: Tensor = _RMSNorm.apply(x, weight, epsilon)
    return normed


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        exact = torch.promote_types(x.dtype, torch.float32)
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact).square_()
        inverse = square.div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, inverse = ctx.saved_tensors
        gradient = gradients[0].to(inverse.dtype)
        normed = x * inverse
        weight_gradient = (gradient * normed).sum_to_size(weight.shape)
        pulled = gradient * weight
        along = torch.linalg.vecdot(pulled, normed).unsqueeze(-1).div_(x.shape[-1])
        x_gradient = pulled.addcmul_(normed, along, value=-1).mul_(inverse)
        return x_gradient.to(x.dtype), weight_gradient.to(weight.dtype), None


def flash_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    *,
    causal: bool = True,
    scale: float | None = None,
) -> Tensor:
    """Attention on a CPU in bf16, with a backward pass made of matrix products.

    PyTorch's forward pass (Dao et al. 2022) is exact and fast; its backward pass for CPUs takes
    two to four times as long as this one where sequences are short. query [batch, heads, time,
    head], key and value [batch, heads, seen, head]; `bias` [batch or 1, heads or 1, time, seen] is
    added to the scores, and is all that masks where it is given: if `causal` (`seen` is `time`),
    it too must hide what comes later. `scale` is 1 / sqrt(head) if not given.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    mixed: Tensor = _FlashAttention.apply(query, key, value, bias, causal, scale)
    return mixed


class _FlashAttention(torch.autograd.Function):
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
        mixed, normaliser = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal and bias is None, attn_mask=bias, scale=scale
        )
        ctx.save_for_backward(query, key, value, bias, mixed, normaliser)
        ctx.causal, ctx.scale = causal, scale
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, bias, mixed, normaliser = ctx.saved_tensors
        scale, dtype = ctx.scale, query.dtype
        batch, heads, time, _ = query.shape
        shape, other, seen = query.shape, key.shape, key.shape[2]
        bias_gradient = None
        if bias is not None and bias.requires_grad:
            bias_gradient = torch.zeros(bias.shape, device=bias.device)
        rounded = normaliser.to(dtype)
        # Rounding it makes all of a row's weights too large or small by one factor, up to several
        # hundredths. A row's gradient carries the factor's inverse into all products there are.
        inverse = (rounded - normaliser).exp_().unsqueeze(-1)
        gradient = torch.mul(gradients[0], inverse, out=torch.empty_like(mixed))
        pull = (gradient * mixed).sum(-1, keepdim=True, dtype=torch.float32)
        pull = pull.neg_().to(dtype).flatten(0, 1)  # [batch · heads, time, 1]
        normaliser = rounded.neg_().reshape(-1, time, 1)
        query = (query * scale).flatten(0, 1)  # [batch · heads, time, head], as all below
        key, value, gradient = key.flatten(0, 1), value.flatten(0, 1), gradient.flatten(0, 1)
        query_gradient = torch.zeros_like(query)
        key_gradient, value_gradient = torch.empty_like(key), torch.empty_like(value)
        for start in range(0, seen, BLOCK):
            block = slice(start, min(start + BLOCK, seen))
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
