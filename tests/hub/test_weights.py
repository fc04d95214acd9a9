"""What is damaged, hostile or of another model is refused in a sentence that names it."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from nextword.errors import UserError
from nextword.hub import directory as hub
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings

NORM = "model.layers.0.input_layernorm.weight"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    settings = ModelSettings(layers=1, width=32, heads=2, context_length=16)
    hub.save(tmp_path / "model", Transformer(config_for(settings, 50)))
    return tmp_path / "model"


def change(directory: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(directory / "model.safetensors")
    edit(tensors)
    save_file(tensors, directory / "model.safetensors")


def refusal(directory: Path) -> str:
    with pytest.raises(UserError) as caught:
        hub.load_model(directory)
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
    hub.load_model(directory)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.safetensors"])
def test_a_pickle_is_never_opened(directory: Path, name: str) -> None:
    opened = directory / "opened"

    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return Path.touch, (opened,)

    (directory / "model.safetensors").unlink()
    (directory / name).write_bytes(pickle.dumps(Trap()))
    assert "pickled weights" in refusal(directory) and name in refusal(directory)
    (directory / name).unlink()
    torch.save({"x": torch.ones(1)}, directory / name)
    assert "pickled weights" in refusal(directory)
    assert not opened.exists()


@pytest.mark.parametrize("file", ["../model.safetensors", "/etc/hostname", "a/b.safetensors", 7])
def test_an_index_names_only_files_beside_it(directory: Path, file: object) -> None:
    index = {"weight_map": {NORM: file}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "not a plain file name" in refusal(directory)


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


def test_damaged_files_never_crash_or_load(directory: Path) -> None:
    """Cut short, header bytes changed, a header's length of 2⁶³: refused, or the same model."""
    path = directory / "model.safetensors"
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    sound = {
        name: tensor.clone() for name, tensor in hub.load_model(directory).state_dict().items()
    }
    random_ = random.Random(0)
    damages = [b"", whole[:7], whole[: header - 1], whole[:-1], b"\xff" * 8 + whole[8:]]
    damages.append((2**63 - 1).to_bytes(8, "little") + whole[8:])
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(random_.randint(1, 4)):
            damaged[random_.randrange(header)] = random_.randrange(256)
        damages.append(bytes(damaged))
    refused = 0
    for damaged in damages:
        path.write_bytes(damaged)
        try:
            loaded = hub.load_model(directory)
        except UserError as error:
            refused += 1
            assert str(directory) in str(error)
        else:
            # Metadata, or spaces; or two tensors of one shape have changed their places.
            assert loaded.state_dict().keys() == sound.keys()
    assert refused > 250
