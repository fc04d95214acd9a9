from __future__ import annotations

import torch

from nextword.inference.cache import FIRST_ROOM, KVCache
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings

CONFIG = config_for(ModelSettings(layers=2, width=32, heads=4, kv_heads=2, context_length=600), 100)


@torch.no_grad()
def test_steps_with_a_cache_equal_one_pass_over_everything() -> None:
    model = Transformer(CONFIG, seed=3).eval()
    torch.manual_seed(0)
    tokens = torch.randint(0, 100, (3, 12))
    lengths = [4, 9, 6]
    cache = KVCache(CONFIG, 3, 12)
    cache.begin(lengths, 9)
    prompt = torch.zeros(3, 9, dtype=torch.int64)
    for row, length in enumerate(lengths):
        prompt[row, :length] = tokens[row, :length]
    model(prompt, cache=cache)
    whole = model(tokens)
    for step in range(3):
        positions, mask = cache.advance()
        assert positions.flatten().tolist() == [length + step for length in lengths]
        hidden = model(tokens.gather(1, positions), positions=positions, mask=mask, cache=cache)
        for row, length in enumerate(lengths):
            torch.testing.assert_close(
                hidden[row, 0], whole[row, length + step], atol=1e-5, rtol=1e-5
            )


@torch.no_grad()
def test_padding_is_never_seen() -> None:
    model = Transformer(CONFIG, seed=3).eval()
    answers = []
    for filler in (0, 50, 99):
        cache = KVCache(CONFIG, 2, 12)
        cache.begin([2, 6], 6)
        prompt = torch.full((2, 6), filler)
        prompt[0, :2], prompt[1] = torch.tensor([7, 8]), torch.arange(6)
        model(prompt, cache=cache)
        positions, mask = cache.advance()
        answers.append(model(torch.tensor([[1], [2]]), positions=positions, mask=mask, cache=cache))
    assert torch.equal(answers[0], answers[1]) and torch.equal(answers[0], answers[2])


def test_rows_can_be_dropped_and_reordered() -> None:
    cache = KVCache(CONFIG, 3, 20)
    cache.begin([2, 5, 3], 5)
    shape = (3, CONFIG.kv_heads, 5, CONFIG.head_width)
    key = torch.randn(shape)
    cache.update(0, key, key)
    cache.keep([2, 0])
    assert cache.lengths.tolist() == [3, 2]
    assert torch.equal(cache.keys[0, 0, :, :3], key[2, :, :3])
    _, mask = cache.advance()
    assert mask is not None
    assert mask[:, 0, 0].tolist() == [[True] * 4, [True] * 3 + [False]]


def test_memory_grows_with_the_text_not_with_the_limit() -> None:
    cache = KVCache(CONFIG, 1, 100_000)
    cache.begin([10], 10)
    assert cache.keys.shape[3] == 10 + FIRST_ROOM
    for _ in range(FIRST_ROOM + 1):
        cache.advance()
    assert cache.keys.shape[3] == 2 * (10 + FIRST_ROOM)
    small = KVCache(CONFIG, 1, 12)
    small.begin([10], 10)
    assert small.keys.shape[3] == 12
