from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.objectives import cross_entropy
from nextword.objectives.cross_entropy import (
    linear_cross_entropy,
    losses_in_one_pass_,
    per_token_cross_entropy,
)

WIDTH, VOCABULARY = 16, 61


def example(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(60, WIDTH, generator=generator).to(dtype)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator)
    targets = torch.randint(0, VOCABULARY, (60,), generator=generator)
    weight = weight.double() if dtype == torch.float64 else weight
    return hidden.requires_grad_(), weight.requires_grad_(), targets


def exact(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The loss and its gradients, by PyTorch in fp64."""
    hidden, weight = (part.detach().double().requires_grad_() for part in (hidden, weight))
    loss = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    return loss.detach(), *torch.autograd.grad(loss, (hidden, weight))


@pytest.mark.parametrize(("chunk", "block"), [(1 << 26, 1 << 19), (7 * VOCABULARY, 2 * VOCABULARY)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 5e-3)]
)
def test_loss_and_gradients_are_pytorchs(
    dtype: torch.dtype, tolerance: float, chunk: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", chunk)
    monkeypatch.setattr(cross_entropy, "BLOCK_LOGITS", block)
    hidden, weight, targets = example(dtype)
    loss = linear_cross_entropy(hidden, weight, targets)
    (0.37 * loss).backward()
    expected, *gradients = exact(hidden, weight, targets)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert abs(loss - expected) <= tolerance * expected
    for part, reference in zip((hidden, weight), gradients, strict=True):
        assert part.grad is not None and part.grad.dtype == part.dtype
        assert (part.grad - 0.37 * reference).norm() <= tolerance * 0.37 * reference.norm()


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 2**-7)]
)
def test_a_bias_of_the_vocabulary_learns_as_pytorchs(
    dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", 7 * VOCABULARY)
    hidden, weight, targets = example(dtype)
    generator = torch.Generator().manual_seed(1)
    bias = torch.randn(VOCABULARY, generator=generator).to(weight.dtype).requires_grad_()
    (0.37 * linear_cross_entropy(hidden, weight, targets, bias)).backward()
    exact = [part.detach().double().requires_grad_() for part in (hidden, weight, bias)]
    loss = F.cross_entropy(F.linear(*exact), targets, reduction="sum")
    for part, gradient in zip(
        (hidden, weight, bias), torch.autograd.grad(loss, exact), strict=True
    ):
        assert part.grad is not None and part.grad.dtype == part.dtype
        assert (part.grad - 0.37 * gradient).norm() <= tolerance * 0.37 * gradient.norm()


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 2**-7)])
def test_rows_added_for_a_gpus_sake_are_no_tokens(
    dtype: torch.dtype, tolerance: float, biased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here as on a GPU: 61 entries are computed as 64."""
    monkeypatch.setattr(cross_entropy, "ALIGNED", {"cpu": 64})
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", 7 * 64)
    hidden, weight, targets = example(dtype)
    bias = torch.linspace(-1, 1, VOCABULARY).to(weight.dtype).requires_grad_() if biased else None
    given = [part for part in (hidden, weight, bias) if part is not None]
    nats = linear_cross_entropy(hidden, weight, targets, bias)
    nats.backward()
    exact = [part.detach().double().requires_grad_() for part in given]
    loss = F.cross_entropy(F.linear(*exact), targets, reduction="sum")
    assert abs(nats - loss) <= tolerance * loss
    for part, gradient in zip(given, torch.autograd.grad(loss, exact), strict=True):
        assert part.grad is not None and part.grad.shape == part.shape
        assert (part.grad - gradient).norm() <= tolerance * gradient.norm()
    single = per_token_cross_entropy(hidden, weight, targets, bias).double()
    assert abs(single.sum() - loss) <= tolerance * loss


def test_gradients_add_up_over_micro_batches() -> None:
    hidden, weight, targets = example(torch.float64)
    for part in (slice(0, 20), slice(20, 21), slice(21, 60)):
        linear_cross_entropy(hidden[part], weight, targets[part]).backward()
    _, *gradients = exact(hidden, weight, targets)
    for part, reference in zip((hidden, weight), gradients, strict=True):
        assert part.grad is not None
        torch.testing.assert_close(part.grad, reference, rtol=1e-12, atol=1e-12)


def test_what_its_gradient_does_not_know_is_refused_not_wrong() -> None:
    hidden, weight, targets = example(torch.float32)
    loss = linear_cross_entropy(hidden, weight, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_losses_of_single_tokens_are_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", 7 * VOCABULARY)
    hidden, weight, targets = example(torch.float64)
    bias = torch.randn(VOCABULARY, dtype=torch.float64)
    losses = per_token_cross_entropy(hidden, weight, targets, bias)
    expected = F.cross_entropy(F.linear(hidden, weight, bias), targets, reduction="none")
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-12, atol=1e-12)
    assert not len(per_token_cross_entropy(hidden[:0], weight, targets[:0], bias))


def test_without_targets_loss_and_gradients_are_zero() -> None:
    hidden, weight, targets = example(torch.float32)
    loss = linear_cross_entropy(hidden[:0], weight, targets[:0])
    loss.backward()
    assert loss == 0
    for part in (hidden, weight):
        assert part.grad is not None and not part.grad.any()


def test_a_frozen_head_has_no_gradient_and_the_states_have_theirs() -> None:
    hidden, weight, targets = example(torch.float32)
    _, expected, _ = exact(hidden, weight, targets)
    weight.requires_grad_(False)
    linear_cross_entropy(hidden, weight, targets).backward()
    assert weight.grad is None and hidden.grad is not None
    torch.testing.assert_close(hidden.grad, expected.to(hidden.dtype), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_form_that_a_gpu_compiles_computes_losses_and_gradients(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (5 * torch.randn(7, 100, generator=generator)).to(dtype)
    ids = torch.randint(100, (7, 1), generator=generator)
    exact = logits.float().requires_grad_()
    expected = F.cross_entropy(exact, ids[:, 0], reduction="none")
    expected.sum().backward()
    compiled = torch.compile(losses_in_one_pass_, backend="eager")
    block, losses = logits.clone(), torch.empty(7)
    compiled(block, ids, losses, make_gradient=False)
    assert torch.equal(block, logits)
    torch.testing.assert_close(losses, expected.detach())
    compiled(block, ids, losses, make_gradient=True)
    torch.testing.assert_close(losses, expected.detach())
    assert exact.grad is not None
    torch.testing.assert_close(block, exact.grad.to(dtype))
