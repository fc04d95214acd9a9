from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file

from nextword.errors import UserError
from nextword.hub.config import read_config, write_config
from nextword.hub.reading import load_model

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
XLM_ROBERTA = ROBERTA | {"model_type": "xlm-roberta"}
SMOLLM3 = LLAMA | {"model_type": "smollm3", "no_rope_layers": [1, 0], "mlp_bias": True}
GEMMA3 = LLAMA | {
    "model_type": "gemma3_text",
    "head_dim": 16,
    "num_key_value_heads": 2,
    "query_pre_attn_scalar": 24,
    "sliding_window_pattern": 2,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    "rope_local_base_freq": 100,
    "final_logit_softcapping": None,
}
DISTILBERT = {"model_type": "distilbert", "dim": 64, "n_heads": 4, "hidden_dim": 96, "n_layers": 2}
MT5 = {"model_type": "mt5", "d_model": 64, "num_heads": 4, "num_layers": 2, "vocab_size": 100}
FAMILIES = [
    LLAMA,
    GPT2,
    QWEN3,
    BERT,
    ROBERTA,
    MODERN,
    XLM_ROBERTA,
    SMOLLM3,
    GEMMA3,
    DISTILBERT,
    MT5,
]


def read(tmp_path: Path, values: Any) -> Any:
    path = tmp_path / "config.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return read_config(path)


@pytest.mark.parametrize("values", FAMILIES, ids=lambda values: values["model_type"])
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
        (XLM_ROBERTA | {"pad_token_id": 64}, "64 positions are too few: RoBERTa counts from"),
        (SMOLLM3 | {"no_rope_layers": [1]}, "no_rope_layers = [1] is not a list of 1 or 0 for"),
        (GEMMA3 | {"final_logit_softcapping": 30.0}, "final_logit_softcapping = 30.0 is not supp"),
        (GEMMA3 | {"use_bidirectional_attention": True}, "use_bidirectional_attention = True"),
        ({"model_type": "gemma2"}, "model_type 'gemma2' is not a model nextword knows"),
        (
            {"model_type": "gemma3", "text_config": GEMMA3, "vision_config": {}},
            "model_type 'gemma3' reads more than text, which is not supported",
        ),
    ],
)
def test_what_cannot_be_right_is_refused(tmp_path: Path, values: Any, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, values)
    assert sentence in str(caught.value) and "config.json" in str(caught.value)


# What the files on the Hub say, but for their size.
PUBLISHED: dict[str, dict[str, Any]] = {
    "Llama 3.2": {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 128000,
        "eos_token_id": [128001, 128008, 128009],
        "head_dim": 64,
        "hidden_act": "silu",
        "hidden_size": 2048,
        "initializer_range": 0.02,
        "intermediate_size": 8192,
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 32,
        "num_hidden_layers": 2,
        "num_key_value_heads": 8,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": 128256,
    },
    "Qwen2.5": {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "hidden_act": "silu",
        "hidden_size": 896,
        "initializer_range": 0.02,
        "intermediate_size": 4864,
        "max_position_embeddings": 32768,
        "max_window_layers": 21,
        "model_type": "qwen2",
        "num_attention_heads": 14,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": 151936,
    },
    "Gemma 3": {
        "architectures": ["Gemma3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_logit_softcapping": None,
        "bos_token_id": 2,
        "cache_implementation": "hybrid",
        "eos_token_id": [1, 106],
        "final_logit_softcapping": None,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 1152,
        "initializer_range": 0.02,
        "intermediate_size": 6912,
        "max_position_embeddings": 32768,
        "model_type": "gemma3_text",
        "num_attention_heads": 4,
        "num_hidden_layers": 7,
        "num_key_value_heads": 1,
        "pad_token_id": 0,
        "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": 512,
        "sliding_window_pattern": 6,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": 262144,
    },
    "SmolLM3": {
        "architectures": ["SmolLM3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": 128012,
        "hidden_act": "silu",
        "hidden_size": 2048,
        "initializer_range": 0.02,
        "intermediate_size": 11008,
        "layer_types": ["full_attention"] * 5,
        "max_position_embeddings": 65536,
        "max_window_layers": 28,
        "mlp_bias": False,
        "model_type": "smollm3",
        "no_rope_layer_interval": 4,
        "no_rope_layers": [1, 1, 1, 0, 1],
        "num_attention_heads": 16,
        "num_hidden_layers": 5,
        "num_key_value_heads": 4,
        "pad_token_id": 128004,
        "pretraining_tp": 2,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 5000000.0,
        "sliding_window": None,
        "torch_dtype": "bfloat16",
        "use_cache": False,
        "use_sliding_window": False,
        "vocab_size": 128256,
    },
}
SMALLER = {"hidden_size": 64, "intermediate_size": 96, "vocab_size": 200, "head_dim": 16}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
NO_IDS = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_means_here_what_it_means_in_transformers(
    name: str, tmp_path: Path
) -> None:
    """With smaller matrices and as many positions; 700 tokens reach beyond Gemma's window."""
    values = PUBLISHED[name] | SMALLER | HEADS | NO_IDS
    (tmp_path / "config.json").write_text(json.dumps(values))
    torch.manual_seed(0)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    config.initializer_range = 0.15
    theirs = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    save_file(
        {n: t.contiguous() for n, t in theirs.state_dict().items() if n != "lm_head.weight"},
        tmp_path / "model.safetensors",
    )
    ours = load_model(tmp_path)
    ids = torch.randint(0, 200, (1, 700), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(ids).logits
        assert (ours.logits(ours(ids)) - expected).abs().max() < 1e-4
    assert expected.std() > 0.1


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_shape_of_a_published_model_is_read_as_it_is(name: str, tmp_path: Path) -> None:
    values = PUBLISHED[name]
    config = read(tmp_path, values)
    assert (config.width, config.heads) == (values["hidden_size"], values["num_attention_heads"])
    assert config.head_width == values.get("head_dim", config.width // config.heads)
    assert config.tied and config.context_length == values["max_position_embeddings"]
    assert config.windowed_layers == ((0, 1, 2, 3, 4, 6) if name == "Gemma 3" else ())
    assert config.unrotated_layers == ((3,) if name == "SmolLM3" else ())
