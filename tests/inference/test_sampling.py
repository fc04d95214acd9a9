from __future__ import annotations

import math
import random

import pytest
import torch
from transformers.generation import logits_process as reference

from nextword.inference.sampling import (
    TokenHistory,
    draw_tokens,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    likeliest,
    penalize_repetition,
    pick,
    warp,
)
from nextword.settings import GenerateSettings

VOCABULARY = 97


@pytest.fixture
def logits() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(5, VOCABULARY) * 4


@pytest.mark.parametrize("penalty", [0.5, 1.3, 4.0])
def test_repetition_penalty_equals_transformers(logits: torch.Tensor, penalty: float) -> None:
    ids = torch.randint(0, VOCABULARY, (5, 23))
    seen = torch.zeros(5, VOCABULARY, dtype=torch.bool).scatter_(1, ids, True)
    expected = reference.RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.clone())
    assert torch.equal(penalize_repetition(logits, seen, penalty), expected)


@pytest.mark.parametrize("k", [1, 7, 1000])
def test_top_k_equals_transformers(logits: torch.Tensor, k: int) -> None:
    logits[:, 3] = logits[:, 4]  # equals are kept together
    expected = reference.TopKLogitsWarper(k)(None, logits)
    assert torch.equal(keep_top_k(logits, k), expected)


@pytest.mark.parametrize("p", [0.001, 0.3, 0.9, 0.999])
def test_top_p_equals_transformers(logits: torch.Tensor, p: float) -> None:
    assert torch.equal(keep_top_p(logits, p), reference.TopPLogitsWarper(p)(None, logits))


@pytest.mark.parametrize("p", [0.01, 0.3, 1.0])
def test_min_p_equals_transformers(logits: torch.Tensor, p: float) -> None:
    assert torch.equal(keep_min_p(logits, p), reference.MinPLogitsWarper(p)(None, logits))


def test_all_settings_together_give_the_probabilities_of_transformers(logits: torch.Tensor) -> None:
    settings = GenerateSettings(temperature=0.7, top_k=20, top_p=0.85, min_p=0.02)
    expected = reference.LogitsProcessorList(
        [
            reference.TemperatureLogitsWarper(0.7),
            reference.TopKLogitsWarper(20),
            reference.TopPLogitsWarper(0.85),
            reference.MinPLogitsWarper(0.02),
        ]
    )(None, logits)
    torch.testing.assert_close(
        warp(logits, settings).softmax(-1), expected.softmax(-1), rtol=1e-5, atol=1e-7
    )


def test_presence_and_frequency_penalties_count_what_was_written_not_the_prompt() -> None:
    history = TokenHistory([[1, 1, 2]], 5, torch.device("cpu"))
    for token in (3, 3, 4):
        history.add(torch.tensor([token]))
    settings = GenerateSettings(presence_penalty=1.0, frequency_penalty=0.25)
    penalized = history.penalize(torch.zeros(1, 5), settings)
    assert penalized.tolist() == [[0.0, 0.0, 0.0, -1.5, -1.25]]


def test_draws_follow_the_distribution() -> None:
    weights = torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05])
    rng = random.Random(7)
    uniforms = [rng.random() for _ in range(40_000)]
    points = torch.tensor(uniforms, dtype=torch.float64)
    drawn = draw_tokens(weights.log().expand(len(uniforms), -1), points)
    observed = torch.bincount(drawn, minlength=5).double()
    expected = weights.double() * len(uniforms)
    possible = expected > 0
    assert observed[~possible].sum() == 0
    squares = (observed - expected)[possible] ** 2 / expected[possible]
    assert squares.sum() < 16.27  # chi-square, 3 degrees of freedom, p = 0.001


@pytest.mark.parametrize("chance", [0.0, 0.5, math.nextafter(1.0, 0.0)])
def test_a_token_ruled_out_is_never_drawn(chance: float) -> None:
    logits = torch.full((1, 1000), -math.inf)
    logits[0, [200, 600]] = 0.0
    points = torch.tensor([chance], dtype=torch.float64)
    assert draw_tokens(logits, points).item() in (200, 600)


@pytest.mark.parametrize("size", [7, 512, 513, 640, 5_257])
def test_the_likeliest_token_is_the_first_of_the_highest_scores(size: int) -> None:
    logits = torch.randn(6, size, generator=torch.Generator().manual_seed(size))
    logits[0] = 1.0
    logits[1, -1] = 50.0
    logits[2, size // 3 :] = 9.0
    logits[3] = logits[3].round()
    logits[4] = -math.inf
    logits[4, 5] = 0.0
    assert likeliest(logits).tolist() == logits.numpy().argmax(-1).tolist()


@pytest.mark.parametrize("temperature", [1e-9, 1e-300, 5e-324])
def test_a_temperature_next_to_nothing_takes_the_likeliest(
    logits: torch.Tensor, temperature: float
) -> None:
    settings = GenerateSettings(temperature=temperature)
    chosen = pick(logits, settings, torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]).double())
    assert torch.equal(chosen, logits.argmax(-1))
