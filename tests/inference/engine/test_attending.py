from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nextword.inference.engine.slots import SlotCache
from nextword.inference.engine.summing import SummingCache
from nextword.models.attention import attention
from nextword.models.blocks import Attention
from nextword.models.config import TransformerConfig
from nextword.models.sizes import config_for
from nextword.settings import ModelSettings

CPU = torch.device("cpu")
CONFIG = config_for(
    ModelSettings(layers=2, width=128, heads=4, kv_heads=2, context_length=512), 100
)
ATTENTIONS = [Attention(CONFIG, layer) for layer in range(2)]
GENERATOR = torch.Generator().manual_seed(0)


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=GENERATOR).to(dtype)


def drawn(config: TransformerConfig, rows: int, time: int, dtype: torch.dtype) -> list[Tensor]:
    """Queries, keys and values, [rows, heads, time, head]."""
    heads = (config.heads, config.kv_heads, config.kv_heads)
    return [random(rows, n, time, config.head_width, dtype=dtype) for n in heads]


def score_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, -torch.inf)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_both_caches_give_what_attention_to_all_tokens_gives(
    dtype: torch.dtype, error: float
) -> None:
    """Rows of several lengths, some beyond a block, that move, are released and go on."""
    caches = [
        SlotCache(CONFIG, 4, 2**30, dtype, CPU),
        SummingCache(CONFIG, 4, 2**30, dtype),
    ]
    texts: list[list[Tensor]] = []
    for row, length in enumerate((5, 64, 130)):
        texts.append(drawn(CONFIG, 1, length, dtype))
        for cache in caches:
            cache.extend({row: length})
            for layer in range(2):
                output = cache.attend(ATTENTIONS[layer], *texts[row], None)
                expected = attention(*texts[row])
                torch.testing.assert_close(output, expected, atol=error, rtol=error)
    for cache in caches:
        cache.swap(0, 2)
        cache.release(0, 2)  # what was row 0 and is row 2 moves into row 0
    texts = [texts[0], texts[1]]
    for _ in range(70):
        query, key, value = drawn(CONFIG, 2, 1, dtype)
        for row, text in enumerate(texts):
            text[1] = torch.cat((text[1], key[row : row + 1]), 2)
            text[2] = torch.cat((text[2], value[row : row + 1]), 2)
        outputs = []
        for cache in caches:
            _, mask = cache.advance_rows(slice(0, 2))
            bias = score_bias(mask, dtype)
            outputs += [cache.attend(each, query, key, value, bias) for each in ATTENTIONS]
        for row, text in enumerate(texts):
            expected = attention(query[row : row + 1], text[1], text[2], causal=False)
            for output in outputs:
                torch.testing.assert_close(output[row : row + 1], expected, atol=error, rtol=error)


def test_what_is_read_from_one_row_can_be_written_into_another() -> None:
    cache = SummingCache(CONFIG, 2, 2**30, torch.float32)
    query, key, value = drawn(CONFIG, 1, 100, torch.float32)
    cache.extend({0: 100})
    for each in ATTENTIONS:
        cache.attend(each, query, key, value, None)
    for start, end in ((0, 16), (16, 32), (32, 80)):
        cache.write(1, *cache.read(0, start, end))
    keys, values = cache.read(1, 0, 80)
    assert torch.equal(keys[1], key[0, :, :80]) and torch.equal(values[1], value[0, :, :80])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_has_the_same_bits_alone_and_in_company(threads: int) -> None:
    query, key, value = drawn(CONFIG, 64, 200, torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        outputs = []
        for rows in (range(64), range(17), range(40, 43), range(63, 64)):
            cache = SummingCache(CONFIG, len(rows), 2**30, torch.float32)
            for place, row in enumerate(rows):
                cache.extend({place: 3 * row + 1})
                text = [each[row, None, :, : 3 * row + 1] for each in (query, key, value)]
                cache.attend(ATTENTIONS[0], *text, None)
            _, mask = cache.advance_rows(slice(0, len(rows)))
            last = [each[rows.start : rows.stop, :, 199:] for each in (query, key, value)]
            bias = score_bias(mask, torch.float32)
            outputs.append(cache.attend(ATTENTIONS[0], *last, bias))
        whole = outputs.pop(0)
        for rows, output in zip((range(17), range(40, 43), range(63, 64)), outputs, strict=True):
            assert torch.equal(output, whole[rows.start : rows.stop])
    finally:
        torch.set_num_threads(before)
