"""What a model makes itself lies where its inputs do. Seen on PyTorch's "meta" device, which holds
no numbers and, like a GPU's, mixes with no other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nextword.inference.cache import decode_step, prefill
from nextword.models.encoder_decoder import GenerativeModel, build_model
from nextword.models.sizes import config_for
from nextword.objectives import heads, language_modeling
from nextword.settings import ModelSettings
from nextword.tokens.loader import Batch
from nextword.tokens.packing import Seq2SeqBatch

FAMILIES = ["gpt2", "llama", "qwen3", "modernbert", "bert", "t5"]


def model_elsewhere(family: Any) -> GenerativeModel:
    size = ModelSettings(family=family, layers=3, width=32, heads=4, context_length=16)
    model = build_model(config_for(size, 50), seed=None).to("meta")
    model.activation_dtype = torch.bfloat16
    return model


def numbers(*shape: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype, device="meta")


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_are_read_where_they_are(family: str) -> None:
    ids, documents = numbers(2, 12), numbers(2, 12, dtype=torch.int32)
    batch: Batch | Seq2SeqBatch = Batch(ids, ids, documents, ids, [])
    if family == "t5":
        batch = Seq2SeqBatch(ids, documents, ids, ids, ids, documents, ids, [])
    hidden = language_modeling.hidden_states(model_elsewhere(family), batch)
    assert (hidden.device.type, hidden.dtype) == ("meta", torch.bfloat16)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_tokens_are_added_to_a_cache_where_it_is(family: str) -> None:
    model = model_elsewhere(family)
    with torch.no_grad():
        cache, hidden = prefill(model, [[1, 2, 3], [4, 5]], max_new_tokens=4)
        for _ in range(2):
            hidden = decode_step(model, cache, numbers(2))
    assert (hidden.device.type, cache.keys.device.type) == ("meta", "meta")


@pytest.mark.parametrize("labels", [numbers(3), numbers(3, 2, dtype=torch.float32)])
def test_losses_of_examples_are_computed_where_they_are(labels: torch.Tensor) -> None:
    scores = torch.zeros(3, 2, device="meta")
    weights = torch.ones(2) if not labels.is_floating_point() else None  # made on the CPU
    assert heads.sequence_losses(scores, labels, weights).device.type == "meta"
