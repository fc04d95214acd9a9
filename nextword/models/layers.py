"""The parts of a block: linear maps, norms and the feed-forward network.

Weights are kept in full precision and cast to the activations' type where they are used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.models.attention import relative_bucket
from nextword.models.config import TransformerConfig

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
    "swiglu": F.silu,
    "geglu": F.gelu,
    "geglu_tanh": partial(F.gelu, approximate="tanh"),
}
SLOPES: dict[str, Callable[..., Tensor]] = {  # of those that gate: their gradients
    "swiglu": torch.ops.aten.silu_backward.grad_input,
    "geglu": torch.ops.aten.gelu_backward.grad_input,
    "geglu_tanh": partial(torch.ops.aten.gelu_backward.grad_input, approximate="tanh"),
}


class Linear(nn.Module):
    """y = x Wᵀ + b in the type of x. The weight, [outputs, inputs], is uninitialised."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x: Tensor, rows: slice | None = None) -> Tensor:
        """Map x [..., inputs] to [..., outputs]; with `rows` to those outputs alone."""
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if rows is not None:  # a slice of all would cost a copy of the gradient
            weight, bias = weight[rows], None if bias is None else bias[rows]
        learns = weight.requires_grad and torch.is_grad_enabled()
        if x.dtype != weight.dtype and learns and not torch.compiler.is_compiling():
            mapped: Tensor = _CastLinear.apply(x, weight, bias)
            return mapped
        return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


class _CastLinear(torch.autograd.Function):
    """A linear map whose weight is cast again for the backward pass, not kept until then."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.bias_type = None if bias is None else bias.dtype
        return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].flatten(0, -2)  # [..., outputs] -> [rows, outputs]
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = (gradient @ weight.to(x.dtype)).view_as(x)
        weight_gradient = (gradient.mT @ x.flatten(0, -2)).to(weight.dtype)
        if ctx.bias_type is None:
            return x_gradient, weight_gradient, None
        return x_gradient, weight_gradient, gradient.sum(0, dtype=ctx.bias_type)


class Embedding(nn.Module):
    """A row of the weight, [entries, width], for each number. The weight is uninitialised.

    With `sparse`, the gradient on a CPU holds only the rows that were used. A tied output head has
    a dense gradient for the same weight, and adding a few rows to that is far cheaper than adding
    another matrix of the vocabulary's size.
    """

    def __init__(self, entries: int, width: int, sparse: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(entries, width))
        self.sparse = sparse
        self.watch_gradient()

    def watch_gradient(self) -> None:
        """Have gradients that stay sparse made dense: for a weight that is new."""
        if self.sparse:
            self.weight.register_post_accumulate_grad_hook(_make_dense)

    def forward(self, numbers: Tensor) -> Tensor:  # [...] -> [..., width]
        sparse = self.sparse and not numbers.is_cuda and not torch.compiler.is_compiling()
        return F.embedding(numbers, self.weight, sparse=sparse)


def _make_dense(parameter: Tensor) -> None:
    """Convert the gradient of a loss that did not go through the tied output head."""
    if parameter.grad is not None and parameter.grad.is_sparse:
        parameter.grad = parameter.grad.to_dense()


class RelativePositions(Embedding):
    """A bias on the attention scores for each head and bucket of distances (Raffel et al. 2020)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config.relative_buckets, config.heads)
        self.causal, self.furthest = config.causal, config.relative_distance

    def forward(self, distance: Tensor) -> Tensor:
        """Map [time, seen] or [batch, 1, time, seen] to biases [batch or 1, heads, time, seen]."""
        buckets = relative_bucket(distance, self.causal, len(self.weight), self.furthest)
        bias = super().forward(buckets).movedim(-1, -3)  # [..., heads, time, seen]
        return bias[None] if distance.dim() == 2 else bias.squeeze(1)


class LayerNorm(nn.Module):
    """Mean 0, variance 1 over the last dimension, in fp32 (Ba et al. 2016). On a GPU the weights
    are rounded to the type of x: its kernel takes one type alone."""

    def __init__(self, width: int, epsilon: float, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if x.is_cuda:
            weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
        return F.layer_norm(x, weight.shape, weight, bias, self.epsilon)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Return x / sqrt(mean(x²) + epsilon) · weight over the last dimension, computed in fp32.

    x [..., width], and the result of x's type; the weight broadcasts against x: [width], or [heads,
    width] for x [..., heads, width] (Zhang and Sennrich 2019). The gradient is written out, because
    autograd's own holds more than x.
    """
    if not torch.is_grad_enabled():
        return _rms_norm(x, weight, epsilon)[0]
    normed: Tensor = _RMSNorm.apply(x, weight, epsilon)
    return normed


def _rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return the normed x, and what it was multiplied by before the weight, [..., 1]."""
    exact = torch.promote_types(x.dtype, torch.float32)
    square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact).square_()
    inverse = square.div_(x.shape[-1]).add_(epsilon).rsqrt_()
    return (x * inverse).mul_(weight).to(x.dtype), inverse


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        normed, inverse = _rms_norm(x, weight, epsilon)
        ctx.save_for_backward(x, weight, inverse)
        return normed

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


class RMSNorm(nn.Module):
    """Root mean square 1 over the last dimension, in fp32 (Zhang and Sennrich 2019). With
    `unit_offset` the weight is kept as its distance from 1, as Gemma does."""

    def __init__(self, width: int, epsilon: float, unit_offset: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width) if unit_offset else torch.ones(width))
        self.epsilon, self.unit_offset = epsilon, unit_offset

    @property
    def gain(self) -> Tensor:
        """What normed values are multiplied by, [width]."""
        return self.weight + 1.0 if self.unit_offset else self.weight

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.gain, self.epsilon)


def build_norm(config: TransformerConfig) -> LayerNorm | RMSNorm:
    """Return a new norm over the model's width."""
    if config.norm == "rmsnorm":
        return RMSNorm(config.width, config.norm_epsilon, config.unit_offset)
    return LayerNorm(config.width, config.norm_epsilon, config.norm_bias)


class FeedForward(nn.Module):
    """Two linear maps around a non-linearity, or a gated one (Shazeer 2020).

    Gate and input are one matrix, gate first: one large product is faster than two.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.gated, self.activation = config.gated, ACTIVATIONS[config.mlp]
        self.slope = SLOPES.get(config.mlp)
        inner = config.mlp_width * (2 if config.gated else 1)
        self.input = Linear(config.width, inner, config.mlp_bias)
        self.output = Linear(config.mlp_width, config.width, config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:  # [batch, time, width] -> the same
        inner = self.input(x)
        if not self.gated:
            return self.output(self.activation(inner))
        # A compiler writes its own gradient, and without any there is nothing to keep.
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return self.output(_gate(inner, self.activation))
        return self.output(_Gate.apply(inner, self.activation, self.slope))


def _gate(x: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    gate, inner = x.chunk(2, dim=-1)
    return activation(gate) * inner


class _Gate(torch.autograd.Function):
    """activation(gate) · input, [..., 2 · width] -> [..., width]. Keeps neither factor, and writes
    both gradients where they are needed."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, activation: Callable[[Tensor], Tensor], slope: Callable[..., Tensor]
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.activation, ctx.slope = activation, slope
        return _gate(x, activation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        gate, inner = x.chunk(2, dim=-1)
        gradient = torch.empty_like(x)
        of_gate, of_inner = gradient.chunk(2, dim=-1)
        torch.mul(gradients[0], ctx.activation(gate), out=of_inner)
        ctx.slope(gradients[0] * inner, gate, grad_input=of_gate)
        return gradient, None, None


class Transform(nn.Module):
    """The layer between a masked language model's states and its scores (Devlin et al. 2018)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.dense = Linear(config.width, config.width, config.transform_bias)
        self.activation = ACTIVATIONS[config.mlp]
        self.norm = build_norm(config)

    def forward(self, x: Tensor) -> Tensor:  # [..., width] -> the same
        normed: Tensor = self.norm(self.activation(self.dense(x)))
        return normed
