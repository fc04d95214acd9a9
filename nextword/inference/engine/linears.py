"""Linear maps for decoding on a CPU: weights arranged for few rows, in full precision or int8.

With few rows a product takes as long as reading its weights, so a fourth of the bytes is up to four
times as fast. Weights have a scale for each output, activations one for each row, so that a row's
result does not depend on its neighbours; sums of integers are exact in any order.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.models.layers import ACTIVATIONS, FeedForward, Linear
from nextword.models.lora import LowRankLinear
from nextword.models.transformer import Transformer

ROWS = 8  # for which oneDNN arranges weights; other numbers of rows are multiplied too
TINY = 1e-30  # the scale of a row of zeros
Make = Callable[[Tensor, Tensor | None], nn.Module]  # from weight [outputs, inputs] and bias


class PlainLinear(nn.Module):
    """The weight as it is."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, None if bias is None else bias.to(weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class PackedLinear(nn.Module):
    """The weight as oneDNN likes to read it, and what is done to the product while it is at hand:
    nothing, or `then`. Raises RuntimeError where it cannot be."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.then = ("none", "")
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        self.bias = None if bias is None else bias.to(weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self.weight, self.bias, self.then[0], [], self.then[1]
        )
        return product


class Int8Linear(nn.Module):
    """What kinds of int8 share: rows scaled to [-1, 1], multiplied, and scaled back.

    x [..., inputs] and the result are fp32.
    """

    bias: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        scale = x.abs().amax(-1, keepdim=True).clamp_min_(TINY)
        product = self.multiply(x / scale)
        return product * scale if self.bias is None else self.bias.addcmul(product, scale)

    def multiply(self, x: Tensor) -> Tensor:
        """Return x Wᵀ for x within [-1, 1]."""
        raise NotImplementedError


class FbgemmLinear(Int8Linear):
    """int8 by FBGEMM. Processors without VNNI add pairs of products in 16 bits, which 8-bit
    activations overflow: those get 7 bits."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.bias, self.levels = bias, fbgemm_levels()
        self.weight = fbgemm_pack(weight)

    def multiply(self, x: Tensor) -> Tensor:
        product: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            x, 1 / self.levels, self.levels + 1, self.weight
        )
        return product


class OneDnnLinear(Int8Linear):
    """int8 by oneDNN."""

    def __init__(self, weight: Tensor, bias: Tensor | None, levels: int = 0) -> None:
        super().__init__()
        numbers, scales = to_int8(weight)
        self.bias, self.scales = bias, scales
        self.weight = torch.ops.onednn.qlinear_prepack(numbers, [ROWS, weight.shape[1]])
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)
        self.levels = levels or onednn_levels()

    def multiply(self, x: Tensor) -> Tensor:
        levels = self.levels
        numbers = torch.add(levels + 1.5, x, alpha=levels).to(torch.uint8)  # + 0.5, then down
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            numbers, 1 / levels, levels + 1, self.weight, self.scales, self.zeros, None,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return product


class WeightOnlyLinear(Int8Linear):
    """int8 weights and bf16 activations."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, scales = to_int8(weight)
        self.bias, self.scales = bias, scales.bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2).bfloat16()
        product = torch._weight_int8pack_mm(rows, self.weight, self.scales).float()
        product = product.unflatten(0, x.shape[:-1])
        return product if self.bias is None else product + self.bias


FUSED = {  # activations that oneDNN computes with the product before them
    ACTIVATIONS["gelu"]: ("gelu", "none"),
    ACTIVATIONS["gelu_tanh"]: ("gelu", "tanh"),
    ACTIVATIONS["relu"]: ("relu", ""),
}
INT8: dict[str, Make] = {
    "fbgemm": FbgemmLinear,
    "onednn": OneDnnLinear,
    "weight-only": WeightOnlyLinear,
}
PACKED: dict[str, Make] = {"packed": PackedLinear}
UNQUANTIZED: dict[str, Make] = PACKED | {"plain": PlainLinear}


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a weight in int8 and the scale of each output, fp32 [outputs]."""
    weight = weight.float()
    scales = weight.abs().amax(dim=1).clamp_min_(TINY) / 127
    return (weight / scales[:, None]).round_().to(torch.int8), scales


def fbgemm_pack(weight: Tensor) -> object:
    """Return FBGEMM's arrangement of a weight. Raises RuntimeError where there is no FBGEMM."""
    numbers, scales = to_int8(weight)
    zeros = torch.zeros(len(weight), dtype=torch.int64)
    with warnings.catch_warnings():  # it is deprecated, and the fastest there is without VNNI
        warnings.simplefilter("ignore", UserWarning)
        quantized = torch._make_per_channel_quantized_tensor(numbers, scales.double(), zeros, 0)
    return torch.ops.quantized.linear_prepack(quantized, None)


@cache
def fbgemm_levels() -> int:
    """Return how many steps of activations on each side of zero FBGEMM multiplies exactly."""
    weight, x = torch.ones(32, 64), torch.ones(2, 64)
    product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
    exact = product(x, 1 / 127, 128, fbgemm_pack(weight))
    return 127 if torch.allclose(exact, torch.full_like(exact, 64.0)) else 63


@cache
def onednn_levels() -> int:
    """Return the same of oneDNN."""
    exact = OneDnnLinear(torch.ones(32, 64), None, levels=127).multiply(torch.ones(2, 64))
    return 127 if torch.allclose(exact, torch.full_like(exact, 64.0)) else 63


def rebuilt(model: Transformer, make: Make, vocab_size: int) -> tuple[Transformer, nn.Module]:
    """Return a model whose linear maps are made anew, and its output head, of the first
    `vocab_size` tokens. All else is shared with `model`, which is unchanged."""
    bias = model.vocabulary_bias
    weight = model.output_weight[:vocab_size]
    if weight.dtype != model.activation_dtype:
        weight = weight.to(model.activation_dtype)
    return copied(model, make), make(weight, None if bias is None else bias[:vocab_size])


def copied(model: Transformer, make: Make | None = None) -> Transformer:
    """Return a model without a head that shares its parts with `model`; linear maps are made anew
    if `make` is given."""
    made = _copy(model, make)
    assert isinstance(made, Transformer)
    made.rotary = dict(model.rotary)
    made.head = None
    return made


def _copy(module: nn.Module, make: Make | None) -> nn.Module:
    if isinstance(module, LowRankLinear | Linear):
        if make is None:
            return module
        weight: Tensor = module.weight
        if isinstance(module, LowRankLinear):
            weight = weight + module.update().to(weight.dtype)
        return make(weight, module.bias)
    made: nn.Module = object.__new__(type(module))  # FSDP2's classes make another with copy.copy
    made.__dict__.update(module.__dict__)
    made.__dict__.pop("_compiled_call_impl", None)  # it calls the module that was copied
    made.__dict__["_modules"] = {
        name: None if child is None else _copy(child, make)
        for name, child in module._modules.items()
        if name != "head"
    }
    if isinstance(made, FeedForward) and isinstance(made.input, PackedLinear) and not made.gated:
        made.input.then, made.activation = FUSED[made.activation], as_they_are
    return made


def as_they_are(numbers: Tensor) -> Tensor:
    """Return the argument."""
    return numbers
