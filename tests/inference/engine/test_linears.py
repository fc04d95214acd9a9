from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nextword.inference.engine.linears import (
    INT8,
    PACKED,
    UNQUANTIZED,
    Make,
    PlainLinear,
    rebuilt,
)
from nextword.inference.engine.tuning import divergence, prepare
from nextword.models.lora import add_lora
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from tests.inference.engine.conftest import TOKENIZER, Pair, prompts

WEIGHTS = torch.randn(96, 128, generator=torch.Generator().manual_seed(1)) / 11
BIAS = torch.randn(96, generator=torch.Generator().manual_seed(2))
X = torch.randn(12, 1, 128, generator=torch.Generator().manual_seed(3))


def made(make: Make, bias: torch.Tensor | None) -> torch.nn.Module:
    try:
        return make(WEIGHTS, bias)
    except RuntimeError as error:
        pytest.skip(f"not on this machine: {error}")


@pytest.mark.parametrize("bias", [None, BIAS], ids=["no bias", "bias"])
@pytest.mark.parametrize("kind", [*UNQUANTIZED, *INT8])
def test_products_equal_those_of_the_weight_as_it_is(kind: str, bias: torch.Tensor | None) -> None:
    product = made((UNQUANTIZED | INT8)[kind], bias)(X)
    error = (product - F.linear(X, WEIGHTS, bias)).norm() / F.linear(X, WEIGHTS).norm()
    assert product.shape == (12, 1, 96) and product.dtype == torch.float32
    assert float(error) < (0.02 if kind in INT8 else 1e-6)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu"])
def test_an_activation_computed_with_its_product_is_the_same(activation: Any) -> None:
    size = ModelSettings(layers=1, width=64, heads=2, context_length=32)
    config = replace(config_for(size, 50), mlp=activation)
    model = Transformer(config, seed=1).requires_grad_(False)
    packed, _ = rebuilt(model, PACKED["packed"], 50)
    x = torch.randn(5, 1, 64, generator=torch.Generator().manual_seed(3))
    expected, found = (each.blocks[0].mlp(x) for each in (model, packed))  # type: ignore[operator, union-attr]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert packed.blocks[0].mlp.activation is not model.blocks[0].mlp.activation  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["fbgemm", "onednn"])
def test_a_row_in_int8_does_not_depend_on_its_neighbours(kind: str) -> None:
    linear = made(INT8[kind], BIAS)
    together = linear(X)
    louder = torch.cat((X[:3], 1000 * X[3:]))
    assert torch.equal(linear(louder)[:3], together[:3])
    for row in range(len(X)):
        assert torch.equal(linear(X[row : row + 1]), together[row : row + 1])
    assert torch.equal(linear(torch.zeros(1, 1, 128)), BIAS.view(1, 1, -1))


def test_int8_does_not_overflow_on_processors_that_add_in_16_bits() -> None:
    code = """
import torch
from nextword.inference.engine.linears import FbgemmLinear, fbgemm_levels
x = torch.rand(4, 1, 128) + 1
weight = torch.rand(32, 128) + 1
error = (FbgemmLinear(weight, None)(x) - x @ weight.T).norm() / (x @ weight.T).norm()
print(fbgemm_levels(), float(error))
"""
    environment = os.environ | {"FBGEMM_ENABLE_INSTRUCTIONS": "AVX2"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if "linear_prepack" in ran.stderr:
        pytest.skip("PyTorch was built without FBGEMM")
    levels, error = ran.stdout.split()
    assert int(levels) in (63, 127) and float(error) < 0.01


def test_a_model_made_anew_shares_all_else_and_leaves_the_first_unchanged(
    pairs: dict[str, Pair],
) -> None:
    model = pairs["gpt2"].ours.transformer
    tokens = torch.tensor(prompts(20))
    with torch.no_grad():
        before = model(tokens)
        other, head = rebuilt(model, PlainLinear, 200)  # type: ignore[arg-type]
        assert torch.equal(other(tokens), before) and torch.equal(model(tokens), before)
        logits = head(other.to_output(before))
        torch.testing.assert_close(logits, model.logits(before)[..., :200])
    assert other.embedding is not model.embedding
    assert other.embedding.weight is model.embedding.weight


def test_low_rank_updates_are_part_of_the_weights(pairs: dict[str, Pair]) -> None:
    import copy

    model = copy.deepcopy(pairs["llama"].ours.transformer)
    add_lora(model, rank=2, alpha=8)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("lora_b"):
                parameter.normal_()
        tokens = torch.tensor(prompts(20))
        other, _ = rebuilt(model, PlainLinear, 200)  # type: ignore[arg-type]
        torch.testing.assert_close(other(tokens), model(tokens), atol=1e-3, rtol=1e-4)


def test_the_divergence_of_int8_is_that_of_its_predictions(pairs: dict[str, Pair]) -> None:
    model = pairs["qwen3"].ours.transformer
    exact = prepare(model, TOKENIZER, "none", 1, True)  # type: ignore[arg-type]
    int8 = prepare(model, TOKENIZER, "int8", 1, True)  # type: ignore[arg-type]
    assert divergence(exact, exact, TOKENIZER) == 0
    assert int8.setup.divergence is not None and 0 < int8.setup.divergence < 0.1
    assert "int8" in str(int8.setup) and "do not depend" in str(int8.setup)
