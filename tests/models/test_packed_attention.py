from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nextword.models import attention as attention_module
from nextword.models.attention import attention, distances, document_mask, score_bias, visible
from nextword.models.packed_attention import BLOCK, PackedDocuments
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings

SHAPES = [
    (300, True, None),
    (300, False, None),
    (512, True, 100),
    (400, False, 70),
    (40, True, None),
]


def documents(time: int) -> Tensor:
    """Rows of many short documents, of one, and of two with padding at the end."""
    torch.manual_seed(0)
    short = torch.cumsum(torch.rand(time) < 0.02, 0)
    padded = torch.cat((torch.ones(time // 3), torch.full((time // 3,), 2.0)))
    padded = torch.cat((padded, torch.zeros(time - len(padded))))
    return torch.stack((short, torch.zeros(time), padded)).to(torch.int32)


def seen(packed: Tensor, causal: bool, window: int | None) -> Tensor:
    time = packed.shape[1]
    return PackedDocuments(packed).dense() & visible(distances(time, time), causal, window)


@pytest.mark.parametrize(("time", "causal", "window"), SHAPES)
def test_blocks_hold_every_pair_that_sees_and_full_ones_no_other(
    time: int, causal: bool, window: int | None
) -> None:
    packed = documents(time)
    mask: Any = PackedDocuments(packed).block_mask(causal, window)
    whole = torch.nn.functional.pad(seen(packed, causal, window), (0, -time % BLOCK) * 2)
    blocks = whole.shape[-1] // BLOCK
    cut = whole[:, 0].view(len(packed), blocks, BLOCK, blocks, BLOCK).transpose(2, 3)
    some, every = cut.flatten(3).any(-1), cut.flatten(3).all(-1)
    for row in range(len(packed)):
        for query in range(blocks):
            partly = mask.kv_indices[row, 0, query, : mask.kv_num_blocks[row, 0, query]]
            full = mask.full_kv_indices[row, 0, query, : mask.full_kv_num_blocks[row, 0, query]]
            kept = {*partly.tolist(), *full.tolist()}
            assert kept >= set(some[row, query].nonzero().flatten().tolist())
            last = time // BLOCK  # a block that the row's end cuts holds no pair beyond it
            for block in full.tolist():
                assert every[row, query, block] or last in (query, block)
            assert len(kept) == len(partly) + len(full)


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize(("time", "causal", "window"), SHAPES)
def test_it_is_attention_with_the_mask_of_all_pairs(
    time: int, causal: bool, window: int | None, kv_heads: int
) -> None:
    packed = documents(time)
    query, key, value = (torch.randn(3, heads, time, 16) for heads in (4, kv_heads, kv_heads))
    bias = score_bias(seen(packed, causal, window), torch.float32)
    expected = attention(query, key, value, bias, causal=causal, window=window)
    mask = PackedDocuments(packed).block_mask(causal, window)
    found = attention(query, key, value, mask, causal=causal, window=window)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["qwen3", "gpt2", "modernbert", "t5"])
def test_a_model_computes_the_same_without_a_mask_of_all_pairs(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T5 has a bias for each pair, and so a mask of all of them."""
    packed = documents(150)
    shape = {"layers": 2, "width": 32, "heads": 4, "context_length": 150}
    settings = ModelSettings(family=family, **shape)  # type: ignore[arg-type]
    model = Transformer(config_for(settings, 50), seed=1)
    model.eval()
    tokens = torch.randint(0, 50, packed.shape)
    masked = document_mask(packed)
    assert isinstance(masked, Tensor), "a CPU computes as it did"
    expected = model(tokens, mask=masked)
    monkeypatch.setattr(attention_module, "can_compile", lambda device: True)
    stands_for_it = document_mask(packed)
    assert isinstance(stands_for_it, PackedDocuments)
    with torch.no_grad():
        found = model(tokens, mask=stands_for_it)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
