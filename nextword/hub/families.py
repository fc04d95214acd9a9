"""The config.json of each family: a table of fields, and what is no plain field.

T5's first version ties the output head to the embedding and scales the states that are scored; v1.1
(Flan, mT5) does neither, and its feed-forward networks are gated.
"""

from __future__ import annotations

from typing import Any

from nextword.hub.config_reader import (
    FULL,
    SLIDING,
    ConfigReader,
    Field,
    common_fields,
    layer_types,
    read_rope,
    write_fields,
)
from nextword.models.config import Family, TransformerConfig

ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
GPT2 = (
    *common_fields(50257, tied=True),
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
LLAMA = (
    *common_fields(None, tied=False),
    Field("context_length", "max_position_embeddings", "integer", 2048),
    Field("width", "hidden_size", "integer"),
    Field("layers", "num_hidden_layers", "integer"),
    Field("heads", "num_attention_heads", "integer"),
    Field("kv_heads", "num_key_value_heads", "integer"),
    Field("head_width", "head_dim", "integer"),
    Field("mlp_width", "intermediate_size", "integer"),
    Field("mlp", "hidden_act", LLAMA_ACTIVATIONS, "silu"),
    Field("norm_epsilon", "rms_norm_eps", "positive", 1e-6),
)


def _encoder_fields(vocab_size: int, context: int, layers: int, mlp: int) -> tuple[Field, ...]:
    """Return what BERT and its successors have under the same keys."""
    return (
        *common_fields(vocab_size, tied=True),
        Field("context_length", "max_position_embeddings", "integer", context),
        Field("width", "hidden_size", "integer", 768),
        Field("layers", "num_hidden_layers", "integer", layers),
        Field("heads", "num_attention_heads", "integer", 12),
        Field("mlp_width", "intermediate_size", "integer", mlp),
    )


def _bert_fields(vocab_size: int, activations: dict[str, Any]) -> tuple[Field, ...]:
    return (
        *_encoder_fields(vocab_size, 512, 12, 3072),
        Field("mlp", "hidden_act", activations, "gelu"),
        Field("norm_epsilon", "layer_norm_eps", "positive", 1e-12),
        Field("token_types", "type_vocab_size", "integer", 2),
        Field("dropout", "hidden_dropout_prob", "fraction", 0.1),
    )


BERT = _bert_fields(30522, ACTIVATIONS)
ROBERTA = _bert_fields(50265, {"gelu": "gelu"})  # its head has this one whatever the blocks have
MODERNBERT_ACTIVATIONS = {
    "gelu": "geglu",
    "gelu_pytorch_tanh": "geglu_tanh",
    "gelu_new": "geglu_tanh",
    "silu": "swiglu",
}
MODERNBERT = (
    *_encoder_fields(50368, 8192, 22, 1152),
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
T5 = (
    Field("vocab_size", "vocab_size", "integer", 32128),
    Field("width", "d_model", "integer", 512),
    Field("head_width", "d_kv", "integer", 64),
    Field("mlp_width", "d_ff", "integer", 2048),
    Field("layers", "num_layers", "integer", 6),
    Field("decoder_layers", "num_decoder_layers", "integer"),
    Field("heads", "num_heads", "integer", 8),
    Field("mlp", "feed_forward_proj", T5_ACTIVATIONS, "relu"),
    Field("relative_buckets", "relative_attention_num_buckets", "integer", 32),
    Field("relative_distance", "relative_attention_max_distance", "integer", 128),
    Field("norm_epsilon", "layer_norm_epsilon", "positive", 1e-6),
    Field("dropout", "dropout_rate", "fraction", 0.1),
    # That of pretraining; relative positions have no limit.
    Field("context_length", "n_positions", "integer", 512),
)


def read_gpt2(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Return the fields of GPT-2's config."""
    return values.read(GPT2, n_inner=4 * values.integer("n_embd", 768))


def write_gpt2(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of GPT-2's shape."""
    return write_fields(GPT2, config) | {"embd_pdrop": config.dropout, "attn_pdrop": 0.0}


def read_llama(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Return the fields of the config of Llama, Mistral, Qwen2 or Qwen3."""
    width, heads = values.integer("hidden_size"), values.integer("num_attention_heads")
    head_width = 128
    if family != "qwen3" and values.get("head_dim") is None:
        head_width = values.head_width(width, heads)
    ours = values.read(LLAMA, num_key_value_heads=heads, head_dim=head_width)
    scaling = values.section("rope_parameters" if values.get("rope_parameters") else "rope_scaling")
    theta, rope_scaling = read_rope(values, scaling, values.number("rope_theta", 10_000.0, above=1))
    windows = _windows(values, family, ours["layers"])
    biased = family in ("llama", "qwen3") and values.boolean("attention_bias", False)
    return (
        ours
        | windows
        | {
            "rope_theta": theta,
            "rope_scaling": rope_scaling,
            "attention_bias": biased or family == "qwen2",
            "output_bias": biased,
            "mlp_bias": family == "llama" and values.boolean("mlp_bias", False),
        }
    )


def _windows(values: ConfigReader, family: Family, layers: int) -> dict[str, Any]:
    """Return the sliding window and the layers that have it, if any do."""
    is_null = values.get("sliding_window") is None
    if family == "mistral":  # all layers; the default is the window of the first Mistral
        if is_null and "sliding_window" in values.values:
            return {}
        window = values.integer("sliding_window", 4096)
        return {"window": window, "windowed_layers": tuple(range(layers))}
    is_windowed = family in ("qwen2", "qwen3") and not is_null
    if not (is_windowed and values.boolean("use_sliding_window", False)):
        return {}
    first = values.get("max_window_layers", 28)
    if not isinstance(first, int) or isinstance(first, bool):
        raise values.wrong("max_window_layers", "a whole number")
    usual = [SLIDING if layer >= first else FULL for layer in range(layers)]
    window = values.integer("sliding_window")
    return {"window": window, "windowed_layers": values.windowed_layers(layers, usual)}


def write_llama(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of the shape of Llama, Mistral, Qwen2 or Qwen3."""
    values = write_fields(LLAMA, config) | {
        "rope_theta": config.rope_theta,
        "rope_scaling": config.rope_scaling,
        "attention_dropout": 0.0,
    }
    if config.family == "mistral":
        return values | {"sliding_window": config.window}
    if config.family in ("llama", "qwen3"):
        values["attention_bias"] = config.attention_bias
    if config.family == "llama":
        return values | {"mlp_bias": config.mlp_bias}
    kinds = layer_types(config)
    return values | {
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "max_window_layers": kinds.index(SLIDING) if SLIDING in kinds else config.layers,
        "layer_types": kinds,
    }


def read_bert(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Return the fields of BERT's config, or of RoBERTa's, whose positions begin after its padding
    token's id."""
    if family == "bert":
        return values.read(BERT)
    ours, offset = values.read(ROBERTA), values.token("pad_token_id", 1) + 1
    if (entries := ours["context_length"]) <= offset:
        raise values.error(
            f"{entries} positions are too few: RoBERTa counts from pad_token_id + 1 = {offset}"
        )
    return ours | {"context_length": entries - offset, "position_offset": offset}


def write_bert(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of the shape of BERT or RoBERTa."""
    return write_fields(BERT, config) | {
        "max_position_embeddings": config.position_offset + config.context_length,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": config.position_offset - 1 if config.family == "roberta" else None,
    }


def read_modernbert(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Return the fields of ModernBERT's config. `local_attention` is the whole width of a window
    without the token in its middle."""
    ours = values.read(MODERNBERT)
    if values.choice("hidden_activation", "gelu", MODERNBERT_ACTIVATIONS) != ours["mlp"]:
        raise values.error("classifier_activation is not hidden_activation, which is not supported")
    every = values.integer("global_attn_every_n_layers", 3)
    usual = [SLIDING if layer % every else FULL for layer in range(ours["layers"])]
    thetas = {
        FULL: values.number("global_rope_theta", 160_000.0, above=1),
        SLIDING: values.number("local_rope_theta", 10_000.0, above=1),
    }
    scalings, old = values.section("rope_parameters"), values.section("rope_scaling").values
    ropes = {}
    for kind, theta in thetas.items():
        scaling = ConfigReader(old | scalings.section(kind).values, values.where)
        ropes[kind] = read_rope(values, scaling, theta)
    if ropes[FULL][1] != ropes[SLIDING][1]:
        raise values.error(
            "rope_parameters stretch positions of one kind of layer otherwise than the other's, "
            "which is not supported"
        )
    return ours | {
        "dropout": values.fraction("mlp_dropout", 0.0),
        "window": values.integer("local_attention", 128) // 2 + 1,
        "windowed_layers": values.windowed_layers(ours["layers"], usual),
        "output_bias": ours["attention_bias"],
        "rope_theta": ropes[FULL][0],
        "local_rope_theta": ropes[SLIDING][0],
        "rope_scaling": ropes[FULL][1],
    }


def write_modernbert(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of ModernBERT's shape, in new keys and those of older tools."""
    kinds = layer_types(config)
    thetas = {FULL: config.rope_theta, SLIDING: config.local_rope_theta or config.rope_theta}
    scaling = config.rope_scaling or {"rope_type": "default"}
    full = [layer for layer, kind in enumerate(kinds) if kind == FULL]
    return write_fields(MODERNBERT, config) | {
        "layer_types": kinds,
        "local_attention": 2 * ((config.window or config.context_length) - 1),
        "rope_parameters": {kind: scaling | {"rope_theta": thetas[kind]} for kind in thetas},
        "global_attn_every_n_layers": full[1] if len(full) > 1 else config.layers,
        "global_rope_theta": thetas[FULL],
        "local_rope_theta": thetas[SLIDING],
        "embedding_dropout": config.dropout,
        "mlp_dropout": config.dropout,
        "attention_dropout": 0.0,
        **dict.fromkeys(f"{role}_token_id" for role in ("pad", "bos", "eos", "cls", "sep")),
    }


def read_t5(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Return the fields of T5's config. Whether head and embedding are tied only the weights tell:
    in config.json `tie_word_embeddings` says whether states are scaled."""
    ours = values.read(T5, num_decoder_layers=values.integer("num_layers", 6))
    tied = values.boolean("tie_word_embeddings", True)
    start = values.token("decoder_start_token_id", values.get("pad_token_id", 0))
    if start >= (vocab_size := ours["vocab_size"]):
        raise values.wrong("decoder_start_token_id", f"below the vocabulary's {vocab_size:,}")
    scaled = values.boolean("scale_decoder_outputs", tied)
    scale = ours["width"] ** -0.5 if scaled else 1.0
    return ours | {"tied": tied, "start_id": start, "vocabulary_scale": scale}


def write_t5(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of T5's shape."""
    scaled = config.vocabulary_scale != 1
    return write_fields(T5, config) | {
        "is_encoder_decoder": True,
        "decoder_start_token_id": config.start_id,
        "tie_word_embeddings": scaled,
        "scale_decoder_outputs": scaled,
    }
