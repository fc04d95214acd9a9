"""A model's directory is written whole, with all that others need to open it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from nextword.errors import UserError
from nextword.hub import reading, writing
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tokens.tokenizer_training import byte_tokenizer

TOLERANCE = 1e-4  # of logits in fp32, largest absolute difference


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_a_new_model_opens_in_transformers_with_its_tokenizer(family: str, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    settings = ModelSettings(family=family, layers=2, width=32, heads=2, context_length=64)
    model = Transformer(config_for(settings, tokenizer.vocab_size)).eval()
    run = tmp_path / "run"
    writing.save(run / "model", model, tokenizer, "Trained on a book.")
    there = transformers.AutoModelForCausalLM.from_pretrained(run / "model").eval()
    text = "It was the best of times — 時代"
    ids = transformers.AutoTokenizer.from_pretrained(run / "model")(text)["input_ids"]
    mine, again = reading.load(run)
    assert again.encode(text) == ids
    with torch.no_grad():
        row = torch.tensor([ids])
        logits = mine.logits(mine(row))
        assert (logits - there(row).logits).abs().max() < TOLERANCE
    assert there.generation_config.eos_token_id == tokenizer.end_id
    assert "Trained on a book." in (run / "model" / "README.md").read_text(encoding="utf-8")


def test_a_save_replaces_a_model_whole_and_nothing_else(tmp_path: Path) -> None:
    model = Transformer(config_for(ModelSettings(layers=1, width=32, heads=2), 50))
    writing.save(tmp_path / "model", model)
    (tmp_path / "model" / "model-00001-of-00002.safetensors").write_text("of an older save")
    writing.save(tmp_path / "model", model)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
    }
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to_mother.txt").write_text("Dear mother")
    with pytest.raises(UserError, match="holds something else than a model"):
        writing.save(tmp_path / "letters", model)
    assert (tmp_path / "letters" / "to_mother.txt").read_text() == "Dear mother"


def test_a_save_that_fails_leaves_the_older_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Transformer(config_for(ModelSettings(layers=1, width=32, heads=2), 50))
    writing.save(tmp_path / "model", model)
    before = (tmp_path / "model" / "model.safetensors").read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nextword.hub.writing.save_file", full)
    with pytest.raises(OSError, match="No space"):
        writing.save(tmp_path / "model", Transformer(model.config, seed=9))
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_encoders_directory_says_how_gaps_are_filled(tmp_path: Path) -> None:
    model = Transformer(config_for(ModelSettings(family="bert", layers=1, width=32, heads=2), 260))
    writing.save(tmp_path / "model", model, byte_tokenizer())
    assert not (tmp_path / "model" / "generation_config.json").exists()
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: fill-mask" in card and "nextword fill" in card


def test_a_roberta_is_not_saved_with_a_tokenizer_that_pads_otherwise(tmp_path: Path) -> None:
    settings = ModelSettings(family="bert", layers=1, width=32, heads=2)
    config = replace(config_for(settings, 260), family="roberta", position_offset=2)
    with pytest.raises(UserError, match="pads with token 1, its tokenizer with 259"):
        writing.save(tmp_path / "model", Transformer(config), byte_tokenizer())


def test_config_json_has_the_words_all_tools_read(tmp_path: Path) -> None:
    settings = ModelSettings(family="llama", layers=1, width=32, heads=2)
    stretched = {"rope_type": "linear", "factor": 2.0}
    config = replace(config_for(settings, 50), rope_theta=500.0, rope_scaling=stretched)
    writing.save(tmp_path / "ours", Transformer(config))
    values = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert values["rope_theta"] == 500.0  # llama.cpp, vLLM and older transformers look here
    assert values["rope_scaling"] == stretched
    assert values["architectures"] == ["LlamaForCausalLM"]
