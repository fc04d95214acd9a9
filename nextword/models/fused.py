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


def flash_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Causal attention on a CPU in bf16, with a backward pass made of matrix products.

    PyTorch's forward pass (Dao et al. 2022) is exact and fast; its backward pass for CPUs takes
    two to four times as long as this one where sequences are short. query, key, value
    [batch, heads, time, head]; `bias` [batch or 1, 1, time, time] is added to the scores, and is
    all that masks where it is given.
    """
    mixed: Tensor = _FlashAttention.apply(query, key, value, bias)
    return mixed


class _FlashAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        mixed, normaliser = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, bias is None, attn_mask=bias
        )
        ctx.save_for_backward(query, key, value, bias, mixed, normaliser)
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, bias, mixed, normaliser = ctx.saved_tensors
        shape, dtype = query.shape, query.dtype  # [batch, heads, time, head]
        batch, heads, time, head = shape
        rounded = normaliser.to(dtype)
        # Rounding it makes all of a row's weights too large or small by one factor, up to several
        # hundredths. A row's gradient carries the factor's inverse into all products there are.
        inverse = (rounded - normaliser).exp_().unsqueeze(-1)
        gradient = torch.mul(gradients[0], inverse, out=torch.empty_like(mixed))
        pull = (gradient * mixed).sum(-1, keepdim=True, dtype=torch.float32)
        pull = pull.neg_().to(dtype).flatten(0, 1)  # [batch · heads, time, 1]
        normaliser = rounded.neg_().reshape(-1, time, 1)
        query = (query * head**-0.5).flatten(0, 1)  # [batch · heads, time, head], as all below
        key, value, gradient = key.flatten(0, 1), value.flatten(0, 1), gradient.flatten(0, 1)
        query_gradient = torch.zeros_like(query)
        key_gradient, value_gradient = torch.empty_like(key), torch.empty_like(value)
        for start in range(0, time, BLOCK):
            block = slice(start, min(start + BLOCK, time))
            # Queries before this block of keys do not see it. [batch · heads, queries, keys]
            weights = torch.baddbmm(normaliser[:, start:], query[:, start:], key[:, block].mT)
            if bias is not None:
                by_row = weights.view(batch, heads, *weights.shape[1:])
                by_row.add_(bias[:, :, start:, block])
            weights.exp_()
            if bias is None:
                weights[:, : block.stop - start].tril_()
            torch.bmm(weights.mT, gradient[:, start:], out=value_gradient[:, block])
            scores = torch.baddbmm(pull[:, start:], gradient[:, start:], value[:, block].mT)
            scores.mul_(weights)
            torch.bmm(scores.mT, query[:, start:], out=key_gradient[:, block])
            query_gradient[:, start:].baddbmm_(scores, key[:, block], alpha=head**-0.5)
        return (
            query_gradient.view(shape),
            key_gradient.view(shape),
            value_gradient.view(shape),
            None,
        )
