from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nextword.errors import UserError
from nextword.hub.config import read_config, write_config

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
GPT2 = {"model_type": "gpt2"}
SMALL = {name: n for name, n in LLAMA.items() if name != "model_type"}
BERT = SMALL | {"model_type": "bert"}
ROBERTA = SMALL | {"model_type": "roberta", "pad_token_id": 3}
MODERN = SMALL | {"model_type": "modernbert", "classifier_pooling": "mean", "local_attention": 9}
QWEN3 = LLAMA | {"model_type": "qwen3", "head_dim": 16}


def read(tmp_path: Path, values: Any) -> Any:
    path = tmp_path / "config.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return read_config(path)


@pytest.mark.parametrize("values", [LLAMA, GPT2, QWEN3, BERT, ROBERTA, MODERN])
def test_a_config_comes_back_as_it_went(tmp_path: Path, values: dict[str, Any]) -> None:
    config = read(tmp_path, values)
    assert read(tmp_path, write_config(config)) == config


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not a JSON object"),
        ({}, "model_type None is not a model nextword knows; known are gpt2, llama, mistral"),
        ({"model_type": "mamba"}, "model_type 'mamba'"),
        ({"model_type": ["gpt2"]}, "model_type"),
        ({"model_type": "llama"}, "hidden_size is missing"),
        (LLAMA | {"num_hidden_layers": "many"}, "num_hidden_layers = 'many' is not a positive"),
        (LLAMA | {"num_hidden_layers": -1}, "num_hidden_layers = -1 is not a positive"),
        (LLAMA | {"num_attention_heads": 5}, "width 64 is not divisible by 5 heads"),
        (LLAMA | {"num_key_value_heads": 3}, "4 heads cannot share 3 key/value heads"),
        (LLAMA | {"rms_norm_eps": "small"}, "rms_norm_eps = 'small' is not a number"),
        (LLAMA | {"tie_word_embeddings": "no"}, "tie_word_embeddings = 'no' is not true or false"),
        (LLAMA | {"hidden_act": "xielu"}, "hidden_act 'xielu' is not supported"),
        (LLAMA | {"rope_scaling": {"type": "dynamic", "factor": 2}}, "rope_type 'dynamic'"),
        (LLAMA | {"rope_scaling": {"rope_type": "linear"}}, "factor is missing"),
        (LLAMA | {"rope_scaling": "twice"}, "is not an object"),
        (LLAMA | {"quantization_config": {"bits": 4}}, "the weights are quantised"),
        (
            GPT2 | {"scale_attn_by_inverse_layer_idx": True},
            "scale_attn_by_inverse_layer_idx = True",
        ),
        (GPT2 | {"add_cross_attention": True}, "add_cross_attention = True is not supported"),
        (BERT | {"is_decoder": True}, "is_decoder = True is not supported"),
        (BERT | {"add_cross_attention": True}, "add_cross_attention = True is not supported"),
        (
            ROBERTA | {"position_embedding_type": "relative_key"},
            "position_embedding_type = 'relative_key' is not supported",
        ),
        (BERT | {"hidden_act": "mish"}, "hidden_act 'mish' is not supported; known are"),
        (ROBERTA | {"hidden_act": "relu"}, "hidden_act 'relu' is not supported; known are gelu"),
        (ROBERTA | {"pad_token_id": 64}, "64 positions are too few: RoBERTa counts from"),
        (MODERN | {"classifier_activation": "silu"}, "classifier_activation is not hidden_act"),
        (MODERN | {"classifier_pooling": "max"}, "classifier_pooling 'max' is not supported"),
        (
            MODERN | {"rope_parameters": {"full_attention": {"type": "linear", "factor": 2.0}}},
            "rope_parameters stretch positions of one kind of layer otherwise",
        ),
    ],
)
def test_what_cannot_be_right_is_refused(tmp_path: Path, values: Any, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, values)
    assert sentence in str(caught.value) and "config.json" in str(caught.value)
