from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.t5.modeling_t5 import T5Attention

from nextword.models.attention import (
    attention,
    distances,
    document_mask,
    relative_bucket,
    rotate,
    rotation,
    score_bias,
    source_mask,
    visible,
)


def by_hand(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Softmax attention as the paper has it, in fp64."""
    query, key, value = query.double(), key.double(), value.double()
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.mT / query.shape[-1] ** 0.5
    return scores.masked_fill(~mask, -torch.inf).softmax(-1) @ value


def heads(batch: int, number: int, time: int, width: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(batch, number, time, width).to(dtype)


def test_tokens_of_one_document_see_each_other() -> None:
    mask = document_mask(torch.tensor([[7, 7, 9]]))[0, 0]
    assert mask.int().tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_a_token_sees_the_source_of_its_own_document_and_padding_all_of_it() -> None:
    mask = source_mask(torch.tensor([[7, 9, 9, 0]]), torch.tensor([[9, 7]]))[0, 0]
    assert mask.int().tolist() == [[0, 1], [1, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize("kv_heads", [6, 2, 1])
@pytest.mark.parametrize(("time", "seen"), [(9, 9), (1, 9), (4, 9)])
def test_queries_are_the_last_of_the_tokens_seen(kv_heads: int, time: int, seen: int) -> None:
    query = heads(2, 6, time, 8, torch.float32)
    key, value = (heads(2, kv_heads, seen, 8, torch.float32) for _ in range(2))
    mask = torch.ones(seen, seen, dtype=torch.bool).tril()[-time:]
    expected = by_hand(query, key, value, mask)
    torch.testing.assert_close(attention(query, key, value).double(), expected, atol=1e-5, rtol=0)


def test_a_window_ends_the_sight_of_a_token() -> None:
    far = distances(2, 5)
    assert visible(far, True, window=3).int().tolist() == [[0, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    assert visible(far, False, window=2).int().tolist() == [[0, 0, 1, 1, 1], [0, 0, 0, 1, 1]]
    query, key, value = (heads(1, 2, 12, 8, torch.float32) for _ in range(3))
    for causal in (True, False):
        mixed = attention(query, key, value, window=3, causal=causal)
        expected = by_hand(query, key, value, visible(distances(12, 12), causal, 3))
        torch.testing.assert_close(mixed.double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("buckets", "furthest"), [(32, 128), (8, 20)])
def test_relative_positions_fall_into_t5s_buckets(
    causal: bool, buckets: int, furthest: int
) -> None:
    distance = distances(300, 300)
    expected = T5Attention._relative_position_bucket(
        -distance, bidirectional=not causal, num_buckets=buckets, max_distance=furthest
    )
    assert torch.equal(relative_bucket(distance, causal, buckets, furthest), expected)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("time", [16, 128, 300])  # within, at and over a block of keys
def test_gradients_in_bf16_are_those_of_exact_attention(
    packed: bool, kv_heads: int, time: int
) -> None:
    torch.manual_seed(0)
    parts = [heads(2, n, time, 32, torch.bfloat16) for n in (4, kv_heads, kv_heads)]
    pull = torch.randn(2, 4, time, 32).bfloat16()
    mask = torch.ones(time, time, dtype=torch.bool).tril()
    bias = None
    if packed:
        documents = torch.arange(time).div(7, rounding_mode="floor")[None].expand(2, -1)
        mask = mask & document_mask(documents)
        bias = score_bias(mask, torch.bfloat16)
    ours = [part.clone().requires_grad_() for part in parts]
    exact = [part.double().requires_grad_() for part in parts]
    mixed, expected = attention(*ours, bias), by_hand(*exact, mask)
    mixed.backward(pull)
    expected.backward(pull.double())
    assert (mixed - expected).norm() < 0.01 * expected.norm()
    for part, reference in zip(ours, exact, strict=True):
        assert part.grad is not None and reference.grad is not None
        assert (part.grad - reference.grad).norm() < 0.02 * reference.grad.norm()


@pytest.mark.parametrize(("time", "seen"), [(40, 40), (150, 150), (40, 200), (200, 40)])
@pytest.mark.parametrize("rows", [1, 2])
def test_gradients_in_bf16_are_exact_in_both_directions_and_to_a_learned_bias(
    time: int, seen: int, rows: int
) -> None:
    torch.manual_seed(0)
    parts = [heads(2, 4, n, 32, torch.bfloat16) for n in (time, seen, seen)]
    parts.append(torch.randn(rows, 4, time, seen).bfloat16())
    pull = torch.randn(2, 4, time, 32).bfloat16()
    ours = [part.clone().requires_grad_() for part in parts]
    exact = [part.double().requires_grad_() for part in parts]
    mixed = attention(*ours, causal=False, scale=0.3)
    query, key, value, bias = exact
    expected = (query @ key.mT * 0.3 + bias).softmax(-1) @ value
    mixed.backward(pull)
    expected.backward(pull.double())
    assert (mixed - expected).norm() < 0.01 * expected.norm()
    for part, reference in zip(ours, exact, strict=True):
        assert part.grad is not None and reference.grad is not None
        assert (part.grad - reference.grad).norm() < 0.02 * reference.grad.norm()


@pytest.mark.parametrize("sharpness", [1.0, 2.0, 3.0])
def test_gradients_in_bf16_are_about_as_exact_as_pytorchs(sharpness: float) -> None:
    torch.manual_seed(0)
    query, key, value, pull = (torch.randn(2, 4, 256, 64) for _ in range(4))
    parts = [part.bfloat16() for part in (query * sharpness, key * sharpness, value)]
    exact = [part.double().requires_grad_() for part in parts]
    mask = torch.ones(256, 256, dtype=torch.bool).tril()
    by_hand(*exact, mask).backward(pull.bfloat16().double())

    def errors(attention: Callable[..., Tensor]) -> list[float]:
        given = [part.clone().requires_grad_() for part in parts]
        attention(*given).backward(pull.bfloat16())
        return [
            float((part.grad - reference.grad).norm() / reference.grad.norm())  # type: ignore[operator]
            for part, reference in zip(given, exact, strict=True)
        ]

    pytorchs = errors(partial(F.scaled_dot_product_attention, is_causal=True))
    for ours, theirs in zip(errors(attention), pytorchs, strict=True):
        assert ours < 3 * theirs


def test_a_query_that_sees_nothing_gives_nothing_and_no_nan() -> None:
    mask = torch.ones(16, 16, dtype=torch.bool).tril()
    mask[5] = False
    bias = score_bias(mask, torch.bfloat16)[None, None]
    parts = [heads(1, 2, 16, 32, torch.bfloat16).requires_grad_() for _ in range(3)]
    mixed = attention(*parts, bias)
    mixed.sum().backward()
    assert not mixed[:, :, 5].any()
    query, _, value = (part.grad for part in parts)
    assert query is not None and value is not None
    assert all(part.grad is not None and part.grad.isfinite().all() for part in parts)
    assert not query[:, :, 5].any()
    seen = score_bias(torch.ones(16, 16, dtype=torch.bool).tril(), torch.float32)
    weights = (parts[0].float() @ parts[1].float().mT / 32**0.5 + seen).softmax(-1)
    weights[:, :, 5] = 0
    torch.testing.assert_close(
        value.float(), weights.sum(2)[..., None].expand_as(value), atol=0.05, rtol=0.02
    )


def test_the_gradient_of_a_rotation_is_that_of_its_formula() -> None:
    x = torch.randn(2, 5, 3, 8, dtype=torch.float64, requires_grad=True)
    cos, sin = rotation(torch.arange(5)[None], torch.rand(4), 1.0, torch.float64)
    assert torch.autograd.gradcheck(lambda x: rotate(x, cos, sin), x)
    with torch.no_grad():
        alone = rotate(x, cos, sin)
    assert torch.equal(alone, rotate(x, cos, sin))
