"""What is missing, or of another model, is refused in a sentence that names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from nextword.errors import UserError
from nextword.hub.reading import load, load_model
from nextword.hub.writing import save
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tokens.tokenizer_training import byte_tokenizer

NORM = "model.layers.0.input_layernorm.weight"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    settings = ModelSettings(layers=1, width=32, heads=2, context_length=16)
    save(tmp_path / "model", Transformer(config_for(settings, 50)))
    return tmp_path / "model"


def change(directory: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(directory / "model.safetensors")
    edit(tensors)
    save_file(tensors, directory / "model.safetensors")


def refusal(directory: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_model(directory)
    return str(caught.value)


def test_a_missing_tensor_is_named(directory: Path) -> None:
    change(directory, lambda tensors: tensors.pop(NORM))
    assert f"tensor {NORM!r} is missing" in refusal(directory)


def test_a_tensor_nothing_needs_is_named_with_its_file(directory: Path) -> None:
    change(directory, lambda tensors: tensors.update({"model.layers.7.extra": torch.ones(1)}))
    message = refusal(directory)
    assert "'model.layers.7.extra' is not part of a qwen3 model" in message
    assert "model.safetensors" in message


def test_a_wrong_shape_is_named_with_both_shapes(directory: Path) -> None:
    change(directory, lambda tensors: tensors.update({NORM: torch.ones(31)}))
    assert f"tensor {NORM!r} has shape [31], config.json says [32]" in refusal(directory)


def test_whole_numbers_are_not_weights(directory: Path) -> None:
    change(directory, lambda tensors: tensors.update({NORM: torch.ones(32, dtype=torch.int32)}))
    assert f"tensor {NORM!r} is of type I32, which is no float" in refusal(directory)


def test_an_untied_model_without_its_head_is_refused(directory: Path) -> None:
    values = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(values | {"tie_word_embeddings": False}))
    assert "tensor 'lm_head.weight' is missing" in refusal(directory)


def test_old_constants_beside_the_weights_are_left_alone(directory: Path) -> None:
    old = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    change(directory, lambda tensors: tensors.update(old))
    load_model(directory)


def test_a_shard_that_is_missing_or_holds_less_is_named(directory: Path) -> None:
    index: dict[str, Any] = {"weight_map": {NORM: "model-00001-of-00002.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00001-of-00002.safetensors: no such file" in refusal(directory)
    index = {"weight_map": {"x": "model.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "tensor 'x' is missing" in refusal(directory)


def test_no_weights_at_all_is_said(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    assert "holds no weights: model.safetensors is missing" in refusal(directory)


def test_a_tokenizer_too_large_for_its_model_is_refused(tmp_path: Path) -> None:
    model = Transformer(config_for(ModelSettings(layers=1, width=32, heads=2), 100))
    save(tmp_path / "model", model, byte_tokenizer())
    with pytest.raises(UserError, match="tokens, the model only 100"):
        load(tmp_path / "model")
