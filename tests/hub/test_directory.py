"""Directories that transformers writes open here, and ours open there, with the same logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from nextword.errors import UserError
from nextword.hub import directory as hub
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tokens.training import bytes_tokenizer

TOLERANCE = 1e-4  # of logits in fp32, largest absolute difference
SMALL: dict[str, Any] = {
    "vocab_size": 131,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.15,  # logits and attention far from flat
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
WINDOW = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}
GPT2 = {"vocab_size": 131, "n_positions": 128, "n_embd": 64, "n_layer": 3, "n_head": 4}

CONFIGS: dict[str, tuple[type, dict[str, Any]]] = {
    "gpt2": (transformers.GPT2Config, GPT2 | {"initializer_range": 0.15}),
    "gpt2 untied": (transformers.GPT2Config, GPT2 | {"tie_word_embeddings": False}),
    "gpt2 narrow": (transformers.GPT2Config, GPT2 | {"n_inner": 40, "activation_function": "gelu"}),
    "llama": (transformers.LlamaConfig, SMALL),
    "llama tied": (transformers.LlamaConfig, SMALL | {"tie_word_embeddings": True}),
    "llama without sharing": (transformers.LlamaConfig, SMALL | {"num_key_value_heads": 4}),
    "llama wide heads": (transformers.LlamaConfig, SMALL | {"head_dim": 32}),
    "llama biases": (transformers.LlamaConfig, SMALL | {"attention_bias": True, "mlp_bias": True}),
    "llama 3": (transformers.LlamaConfig, SMALL | {"rope_parameters": LLAMA3}),
    "llama linear": (
        transformers.LlamaConfig,
        SMALL | {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 100.0}},
    ),
    "qwen3": (transformers.Qwen3Config, SMALL | {"head_dim": 16}),
    "qwen3 tied": (transformers.Qwen3Config, SMALL | {"head_dim": 32, "tie_word_embeddings": True}),
    "qwen3 one key head": (
        transformers.Qwen3Config,
        SMALL | {"head_dim": 16, "num_key_value_heads": 1},
    ),
    "qwen3 yarn": (transformers.Qwen3Config, SMALL | {"head_dim": 16, "rope_parameters": YARN}),
    "qwen3 window": (transformers.Qwen3Config, SMALL | {"head_dim": 16} | WINDOW),
}


def theirs(name: str, directory: Path, **saving: Any) -> transformers.PreTrainedModel:
    """A random model of transformers', with biases and norms that are not 0 and 1, saved."""
    kind, values = CONFIGS[name]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(kind(**values)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(directory, **saving)
    return model


def prompt() -> torch.Tensor:
    return torch.randint(0, 131, (3, 90), generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def difference(ours: Transformer, model: Any) -> float:
    mine, reference = ours.logits(ours(prompt())), model(prompt()).logits
    assert reference.std() > 0.1
    return float((mine - reference).abs().max())


@pytest.mark.parametrize("name", CONFIGS)
def test_both_ways_give_the_same_logits(name: str, tmp_path: Path) -> None:
    model = theirs(name, tmp_path / "theirs")
    ours = hub.load_model(tmp_path / "theirs")
    assert difference(ours, model) < TOLERANCE
    hub.save(tmp_path / "ours", ours)
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    assert difference(ours, back) < TOLERANCE
    for (name_there, was), (_, now) in zip(
        model.named_parameters(), back.named_parameters(), strict=True
    ):
        assert torch.equal(was, now), name_there
    assert hub.load_model(tmp_path / "ours").config == ours.config


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3 tied"])
def test_shards_are_read_and_written(name: str, tmp_path: Path) -> None:
    model = theirs(name, tmp_path / "theirs", max_shard_size="60KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 2
    ours = hub.load_model(tmp_path / "theirs")
    assert difference(ours, model) < TOLERANCE
    hub.save(tmp_path / "ours", ours, shard_bytes=60_000)
    shards = sorted((tmp_path / "ours").glob("*.safetensors"))
    assert len(shards) > 2 and shards[0].name.startswith("model-00001-of-")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    assert difference(hub.load_model(tmp_path / "ours"), back) < TOLERANCE


@pytest.mark.parametrize("name", ["gpt2", "qwen3 tied"])
def test_a_model_saved_without_its_head_opens(name: str, tmp_path: Path) -> None:
    model = theirs(name, tmp_path / "whole")
    getattr(model, model.base_model_prefix).save_pretrained(tmp_path / "bare")
    assert difference(hub.load_model(tmp_path / "bare"), model) < TOLERANCE


def test_half_precision_becomes_fp32_and_can_be_written(tmp_path: Path) -> None:
    theirs("llama", tmp_path / "theirs")
    ours = hub.load_model(tmp_path / "theirs")
    hub.save(tmp_path / "half", ours, dtype=torch.bfloat16)
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="auto")
    assert back.dtype == torch.bfloat16
    again = hub.load_model(tmp_path / "half")
    assert all(p.dtype == torch.float32 for p in again.parameters())
    for was, now in zip(ours.parameters(), again.parameters(), strict=True):
        assert torch.equal(was.bfloat16().float(), now)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_a_new_model_opens_in_transformers_with_its_tokenizer(family: str, tmp_path: Path) -> None:
    tokenizer = bytes_tokenizer()
    settings = ModelSettings(family=family, layers=2, width=32, heads=2, context_length=64)
    model = Transformer(config_for(settings, tokenizer.vocab_size)).eval()
    run = tmp_path / "run"
    hub.save(run / "model", model, tokenizer, {"max_new_tokens": 20}, "Trained on a book.")
    there = transformers.AutoModelForCausalLM.from_pretrained(run / "model").eval()
    text = "It was the best of times — 時代"
    ids = transformers.AutoTokenizer.from_pretrained(run / "model")(text)["input_ids"]
    mine, again = hub.load(run)
    assert again.encode(text) == ids
    with torch.no_grad():
        row = torch.tensor([ids])
        logits = mine.logits(mine(row))
        assert (logits - there(row).logits).abs().max() < TOLERANCE
    assert there.generation_config.max_new_tokens == 20
    assert there.generation_config.eos_token_id == tokenizer.end_id
    assert "Trained on a book." in (run / "model" / "README.md").read_text(encoding="utf-8")


def test_a_tokenizer_too_large_for_its_model_is_refused(tmp_path: Path) -> None:
    model = Transformer(config_for(ModelSettings(layers=1, width=32, heads=2), 100))
    hub.save(tmp_path / "model", model, bytes_tokenizer())
    with pytest.raises(UserError, match="tokens, the model only 100"):
        hub.load(tmp_path / "model")


def test_a_save_replaces_a_model_whole_and_nothing_else(tmp_path: Path) -> None:
    model = Transformer(config_for(ModelSettings(layers=1, width=32, heads=2), 50))
    hub.save(tmp_path / "model", model)
    (tmp_path / "model" / "model-00001-of-00002.safetensors").write_text("of an older save")
    hub.save(tmp_path / "model", model)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
    }
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to_mother.txt").write_text("Dear mother")
    with pytest.raises(UserError, match="holds something else than a model"):
        hub.save(tmp_path / "letters", model)
    assert (tmp_path / "letters" / "to_mother.txt").read_text() == "Dear mother"


def test_a_save_that_fails_leaves_the_older_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Transformer(config_for(ModelSettings(layers=1, width=32, heads=2), 50))
    hub.save(tmp_path / "model", model)
    before = (tmp_path / "model" / "model.safetensors").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nextword.hub.directory.write_weights", full)
    with pytest.raises(OSError, match="No space"):
        hub.save(tmp_path / "model", Transformer(model.config, seed=9))
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_config_json_has_the_words_all_tools_read(tmp_path: Path) -> None:
    theirs("llama 3", tmp_path / "theirs")
    hub.save(tmp_path / "ours", hub.load_model(tmp_path / "theirs"))
    values = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert values["rope_theta"] == 500.0  # llama.cpp, vLLM and older transformers look here
    assert values["rope_scaling"]["rope_type"] == "llama3"
    assert values["architectures"] == ["LlamaForCausalLM"]
