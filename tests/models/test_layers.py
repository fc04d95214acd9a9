from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from nextword.models.layers import LayerNorm, rms_norm


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
