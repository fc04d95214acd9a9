from __future__ import annotations

import pytest

from nextword.errors import UserError
from nextword.models.config import parameter_count
from nextword.models.sizes import SIZES, config_for, flops_per_token
from nextword.settings import ModelSettings

GPT2 = {  # what transformers counts in the published checkpoints
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
}


@pytest.mark.parametrize("name", [name for name in SIZES if not name.startswith("gpt2")])
@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_a_size_is_named_by_its_parameters(name: str, family: str) -> None:
    config = config_for(ModelSettings(size=name, family=family), SIZES[name].vocab_size)
    number, unit = float(name[:-1]), {"m": 1e6, "b": 1e9}[name[-1]]
    assert abs(parameter_count(config) / (number * unit) - 1) < 0.1
    assert config.head_width in (32, 64, 128)  # what attention kernels and llama.cpp take


@pytest.mark.parametrize("name", GPT2)
def test_gpt2s_four_sizes_are_gpt2s(name: str) -> None:
    config = config_for(ModelSettings(size=name), 50257)
    assert config.family == "gpt2" and config.context_length == 1024
    assert parameter_count(config) == GPT2[name]


def test_another_family_may_take_gpt2s_shape() -> None:
    config = config_for(ModelSettings(size="gpt2", family="llama"), 50257)
    assert (config.family, config.layers, config.width) == ("llama", 12, 768)


def test_dimensions_change_a_named_size() -> None:
    config = config_for(ModelSettings(size="10m", layers=3, mlp_width=100, tied=False), 500)
    assert (config.layers, config.width, config.mlp_width, config.tied) == (3, 320, 100, False)
    config = config_for(ModelSettings(width=128, layers=4, heads=4, context_length=64), 65)
    assert (config.width, config.heads, config.kv_heads, config.head_width) == (128, 4, 4, 32)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"width": 100, "heads": 3}, "width 100 is not divisible by 3 heads"),
        ({"width": 64, "heads": 4, "kv_heads": 3}, "4 heads cannot share 3 key/value heads"),
        ({"family": "gpt2", "width": 64, "heads": 4, "kv_heads": 2}, "a key/value head for every"),
        ({"size": "11m"}, "size '11m' is not known; did you mean"),
        ({"width": 9, "heads": 3}, "a head is 3 wide"),
    ],
)
def test_shapes_that_do_not_fit_say_why(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        config_for(ModelSettings(**settings), 100)


def test_work_is_six_flops_a_weight_and_half_the_attention() -> None:
    config = config_for(ModelSettings(size="gpt2"), 50257)
    matrices = 12 * 12 * 768**2 + 50257 * 768
    assert flops_per_token(config, 1024) == 6 * matrices + 12 * 12 * 768 * 512
