from __future__ import annotations

import torch

from nextword.inference.engine.attending import OneThreadAttention, is_steady
from nextword.models.blocks import Attention
from nextword.models.sizes import config_for
from nextword.settings import ModelSettings

CONFIG = config_for(ModelSettings(layers=1, width=128, heads=2, context_length=64), 100)


def test_attention_on_one_thread_is_attention_and_gives_the_threads_back() -> None:
    torch.manual_seed(0)
    inner = Attention(CONFIG, 0).requires_grad_(False)
    for parameter in inner.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 9, 128)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = inner(x)
        torch.testing.assert_close(OneThreadAttention(inner, 2)(x), expected)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_on_one_thread_attention_to_a_row_is_the_same_in_any_company() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert is_steady(CONFIG, torch.float32)
    finally:
        torch.set_num_threads(threads)
