"""What config.json calls the numbers of a model, and which of its words stand for ours, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Field:
    """A field of TransformerConfig that config.json has under a `key`, for reading and writing.

    `kind` is the method of ConfigReader that checks its type, or says what each of their words
    stands for; of several words for the same, the first is written.
    """

    ours: str
    key: str
    kind: Literal["integer", "positive", "fraction", "boolean"] | dict[str, Any]
    default: Any = None


def _common(vocab_size: int | None, tied: bool) -> tuple[Field, ...]:
    """Return what most families have under the same keys, with a family's defaults."""
    return (
        Field("vocab_size", "vocab_size", "integer", vocab_size),
        Field("tied", "tie_word_embeddings", "boolean", tied),
        Field("init_std", "initializer_range", "positive", 0.02),
    )


def _shape(
    context: int,
    width: int | None = None,
    layers: int | None = None,
    heads: int | None = None,
    mlp_width: int | None = None,
    shared: tuple[Field, ...] = (),
) -> tuple[Field, ...]:
    """Return what most families call their sizes, with a family's defaults; `shared` says how heads
    share keys and values."""
    return (
        Field("context_length", "max_position_embeddings", "integer", context),
        Field("width", "hidden_size", "integer", width),
        Field("layers", "num_hidden_layers", "integer", layers),
        Field("heads", "num_attention_heads", "integer", heads),
        *shared,
        Field("mlp_width", "intermediate_size", "integer", mlp_width),
    )


def _shared(kv_heads: int | None, head_width: int | None) -> tuple[Field, ...]:
    return (
        Field("kv_heads", "num_key_value_heads", "integer", kv_heads),
        Field("head_width", "head_dim", "integer", head_width),
    )


ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
GPT2 = (
    *_common(50257, tied=True),
    Field("context_length", "n_positions", "integer", 1024),
    Field("width", "n_embd", "integer", 768),
    Field("layers", "n_layer", "integer", 12),
    Field("heads", "n_head", "integer", 12),
    Field("mlp_width", "n_inner", "integer"),
    Field("mlp", "activation_function", ACTIVATIONS, "gelu_new"),
    Field("norm_epsilon", "layer_norm_epsilon", "positive", 1e-5),
    Field("dropout", "resid_pdrop", "fraction", 0.1),
)
LLAMA_ACTIVATIONS = {"silu": "swiglu", "swish": "swiglu", "gelu_pytorch_tanh": "geglu_tanh"}
LLAMA_SHAPE = (
    *_shape(2048, shared=_shared(None, None)),
    Field("mlp", "hidden_act", LLAMA_ACTIVATIONS, "silu"),
    Field("norm_epsilon", "rms_norm_eps", "positive", 1e-6),
)
LLAMA = (*_common(None, tied=False), *LLAMA_SHAPE)
SMOLLM3 = (*_common(None, tied=True), *LLAMA_SHAPE)
GEMMA3 = (
    *_common(262_208, tied=True),
    *_shape(131_072, 2304, 26, 8, 9216, _shared(4, 256)),
    Field("mlp", "hidden_activation", LLAMA_ACTIVATIONS, "gelu_pytorch_tanh"),
    Field("norm_epsilon", "rms_norm_eps", "positive", 1e-6),
    Field("attention_bias", "attention_bias", "boolean", False),
)


def _bert_fields(vocab_size: int, activations: dict[str, Any]) -> tuple[Field, ...]:
    return (
        *_common(vocab_size, tied=True),
        *_shape(512, 768, 12, 12, 3072),
        Field("mlp", "hidden_act", activations, "gelu"),
        Field("norm_epsilon", "layer_norm_eps", "positive", 1e-12),
        Field("token_types", "type_vocab_size", "integer", 2),
        Field("dropout", "hidden_dropout_prob", "fraction", 0.1),
    )


BERT = _bert_fields(30522, ACTIVATIONS)
ROBERTA = _bert_fields(50265, {"gelu": "gelu"})  # its head has this one whatever the blocks have
XLM_ROBERTA = _bert_fields(30522, {"gelu": "gelu"})
DISTILBERT = (
    *_common(30522, tied=True),
    Field("context_length", "max_position_embeddings", "integer", 512),
    Field("width", "dim", "integer", 768),
    Field("layers", "n_layers", "integer", 6),
    Field("heads", "n_heads", "integer", 12),
    Field("mlp_width", "hidden_dim", "integer", 3072),
    Field("mlp", "activation", ACTIVATIONS, "gelu"),
    Field("dropout", "dropout", "fraction", 0.1),
)
MODERNBERT_ACTIVATIONS = {
    "gelu": "geglu",
    "gelu_pytorch_tanh": "geglu_tanh",
    "gelu_new": "geglu_tanh",
    "silu": "swiglu",
}
MODERNBERT = (
    *_common(50368, tied=True),
    *_shape(8192, 768, 22, 12, 1152),
    Field("mlp", "hidden_activation", MODERNBERT_ACTIVATIONS, "gelu"),
    Field("mlp", "classifier_activation", MODERNBERT_ACTIVATIONS, "gelu"),
    Field("norm_epsilon", "norm_eps", "positive", 1e-5),
    Field("norm_bias", "norm_bias", "boolean", False),
    Field("attention_bias", "attention_bias", "boolean", False),
    Field("mlp_bias", "mlp_bias", "boolean", False),
    Field("transform_bias", "classifier_bias", "boolean", False),
    Field("vocabulary_bias", "decoder_bias", "boolean", True),
    Field("mean_pooling", "classifier_pooling", {"cls": False, "mean": True}, "cls"),
)
T5_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gated-gelu": "geglu_tanh",  # theirs says gelu and means the approximation
    "gated-silu": "swiglu",
}


def _t5(vocab_size: int, mlp_width: int, layers: int, heads: int, mlp: str) -> tuple[Field, ...]:
    return (
        Field("vocab_size", "vocab_size", "integer", vocab_size),
        Field("width", "d_model", "integer", 512),
        Field("head_width", "d_kv", "integer", 64),
        Field("mlp_width", "d_ff", "integer", mlp_width),
        Field("layers", "num_layers", "integer", layers),
        Field("decoder_layers", "num_decoder_layers", "integer"),
        Field("heads", "num_heads", "integer", heads),
        Field("mlp", "feed_forward_proj", T5_ACTIVATIONS, mlp),
        Field("relative_buckets", "relative_attention_num_buckets", "integer", 32),
        Field("relative_distance", "relative_attention_max_distance", "integer", 128),
        Field("norm_epsilon", "layer_norm_epsilon", "positive", 1e-6),
        Field("dropout", "dropout_rate", "fraction", 0.1),
        # That of pretraining; relative positions have no limit.
        Field("context_length", "n_positions", "integer", 512),
    )


T5 = _t5(32128, 2048, 6, 8, "relu")
MT5 = _t5(250_112, 1024, 8, 6, "gated-gelu")
