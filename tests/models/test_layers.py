from __future__ import annotations

import torch

from nextword.models.layers import rms_norm


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
