from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from nextword.models.layers import ACTIVATIONS, FeedForward, LayerNorm, Linear, rms_norm
from nextword.models.sizes import config_for
from nextword.settings import ModelSettings


def test_rms_norm_is_pytorchs_and_so_are_its_gradients() -> None:
    x = torch.randn(3, 5, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, dtype=torch.float64, requires_grad=True)
    ours, reference = rms_norm(x, weight, 1e-3), torch.nn.functional.rms_norm(x, (7,), weight, 1e-3)
    torch.testing.assert_close(ours, reference)
    pull = torch.randn_like(ours)
    for mine, theirs in zip(
        torch.autograd.grad(ours, (x, weight), pull),
        torch.autograd.grad(reference, (x, weight), pull),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_rms_norm_takes_a_weight_a_head() -> None:
    x = torch.randn(2, 5, 3, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *a: rms_norm(*a, 1e-6), (x, weight))


def test_rms_norm_computes_in_fp32() -> None:
    x = (torch.randn(4, 512) * 300).bfloat16()  # squares overflow no type, but sums lose digits
    exact = torch.nn.functional.rms_norm(x.double(), (512,), eps=1e-6)
    normed = rms_norm(x, torch.ones(512), 1e-6)
    assert normed.dtype == torch.bfloat16
    assert torch.equal(normed, exact.bfloat16())


class LayerNormTypes(TorchDispatchMode):
    """Notes the types that each call of PyTorch's kernel is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[set[torch.dtype]] = []

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if operator is torch.ops.aten.native_layer_norm.default:
            self.seen.append({arg.dtype for arg in args if isinstance(arg, torch.Tensor)})
        return operator(*args, **(kwargs or {}))


def test_layer_norm_gives_a_gpu_one_type_alone() -> None:
    """PyTorch's kernel for CUDA takes no other; its kernel for a CPU does."""
    with FakeTensorMode(), torch.device("cuda"), LayerNormTypes() as types, torch.no_grad():
        norm = LayerNorm(8, 1e-5, bias=True)
        assert norm(torch.empty(2, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert types.seen == [{torch.bfloat16}]


def same_gradients(ours: torch.Tensor, reference: torch.Tensor, of: list[torch.Tensor]) -> None:
    torch.testing.assert_close(ours, reference)
    pull = torch.randn_like(ours)
    for mine, theirs in zip(
        torch.autograd.grad(ours, of, pull), torch.autograd.grad(reference, of, pull), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("activation", ["swiglu", "geglu", "geglu_tanh"])
def test_a_gated_network_is_its_formula_and_so_are_its_gradients(activation: str) -> None:
    config = config_for(ModelSettings(layers=1, width=32, heads=4), 64)
    network = FeedForward(replace(config, mlp=activation)).double()  # type: ignore[arg-type]
    parameters = list(network.parameters())
    for parameter in parameters:
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 5, 32, dtype=torch.float64, requires_grad=True)
    gate, inner = F.linear(x, network.input.weight).chunk(2, dim=-1)
    reference = F.linear(ACTIVATIONS[activation](gate) * inner, network.output.weight)
    same_gradients(network(x), reference, [x, *parameters])


@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_map_in_bf16_has_the_gradients_of_a_weight_that_was_cast(bias: bool) -> None:
    linear = Linear(24, 40, bias)
    for parameter in linear.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(3, 7, 24).bfloat16().requires_grad_()
    added = None if linear.bias is None else linear.bias.bfloat16()
    reference = F.linear(x, linear.weight.bfloat16(), added)
    same_gradients(linear(x), reference, [x, linear.weight])
    if linear.bias is not None:  # added up in fp32, which PyTorch does not
        linear(x).sum().backward()
        assert torch.equal(linear.bias.grad, torch.full((40,), 21.0))  # type: ignore[arg-type]


def test_a_linear_map_in_bf16_keeps_no_copy_of_its_weight() -> None:
    linear, kept = Linear(24, 40, bias=False), []
    torch.nn.init.normal_(linear.weight)
    x = torch.randn(3, 24).bfloat16().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        linear(x)
    assert {t.data_ptr() for t in kept} == {x.data_ptr(), linear.weight.data_ptr()}
