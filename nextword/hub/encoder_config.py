"""The config.json of encoders (BERT, RoBERTa, ModernBERT) and of the encoder–decoder T5.

T5's first version ties the output head to the embedding and scales the states that are scored; v1.1
(Flan, mT5) does neither, and its feed-forward networks are gated.
"""

from __future__ import annotations

from typing import Any

from nextword.errors import UserError
from nextword.hub.config_reader import (
    FULL,
    SLIDING,
    ConfigReader,
    activation_name,
    layer_types,
    read_rope,
)
from nextword.models.config import Family, TransformerConfig
from nextword.models.sizes import STYLES

BERT_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
# RoBERTa's head has this one whatever the blocks have.
ROBERTA_ACTIVATIONS = {"gelu": "gelu"}
MODERNBERT_ACTIVATIONS = {
    "gelu": "geglu",
    "gelu_pytorch_tanh": "geglu_tanh",
    "gelu_new": "geglu_tanh",
    "silu": "swiglu",
}
T5_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gated-gelu": "geglu_tanh",  # theirs says gelu and means the approximation
    "gated-silu": "swiglu",
}
T5_CONTEXT = 512  # tokens, in pretraining; relative positions have no limit
T5_INIT_STD = 0.02


def read_bert(values: ConfigReader, family: Family) -> TransformerConfig:
    """Return the config of BERT or RoBERTa, whose positions begin after its padding token's id."""
    dimensions = values.multi_head("hidden_size", "num_attention_heads")
    roberta = family == "roberta"
    offset, entries = 0, values.integer("max_position_embeddings", 512)
    if roberta:
        offset = values.token("pad_token_id", 1) + 1
        if entries <= offset:
            raise UserError(
                f"{entries} positions are too few: RoBERTa counts from pad_token_id + 1 = {offset}",
                where=values.where,
            )
    return TransformerConfig(
        family=family,
        vocab_size=values.integer("vocab_size", 50265 if roberta else 30522),
        context_length=entries - offset,
        layers=values.integer("num_hidden_layers", 12),
        mlp_width=values.integer("intermediate_size", 3072),
        tied=values.boolean("tie_word_embeddings", True),
        dropout=values.fraction("hidden_dropout_prob", 0.1),
        init_std=values.number("initializer_range", 0.02, above=0),
        **STYLES[family]
        | dimensions
        | {
            "position_offset": offset,
            "token_types": values.integer("type_vocab_size", 2),
            "norm_epsilon": values.number("layer_norm_eps", 1e-12, above=0),
            "mlp": values.choice(
                "hidden_act", "gelu", ROBERTA_ACTIVATIONS if roberta else BERT_ACTIVATIONS
            ),
        },
    )


def write_bert(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of the shape of BERT or RoBERTa."""
    values = {
        "max_position_embeddings": config.position_offset + config.context_length,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_width,
        "hidden_act": activation_name(config.mlp, BERT_ACTIVATIONS),
        "layer_norm_eps": config.norm_epsilon,
        "type_vocab_size": config.token_types,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": 0.0,
    }
    pad = config.position_offset - 1 if config.family == "roberta" else None
    return values | {"pad_token_id": pad}


def read_modernbert(values: ConfigReader, family: Family) -> TransformerConfig:
    """Return ModernBERT's config. `local_attention` is the whole width of a window without the
    token in its middle."""
    layers = values.integer("num_hidden_layers", 22)
    activation = values.choice("hidden_activation", "gelu", MODERNBERT_ACTIVATIONS)
    if values.choice("classifier_activation", "gelu", MODERNBERT_ACTIVATIONS) != activation:
        raise UserError(
            "classifier_activation is not hidden_activation, which is not supported",
            where=values.where,
        )
    every = values.integer("global_attn_every_n_layers", 3)
    usual = [SLIDING if layer % every else FULL for layer in range(layers)]
    thetas = {
        FULL: values.number("global_rope_theta", 160_000.0, above=1),
        SLIDING: values.number("local_rope_theta", 10_000.0, above=1),
    }
    scalings = values.section("rope_parameters")
    old = values.section("rope_scaling").values
    ropes = {
        kind: read_rope(
            values, ConfigReader(old | scalings.section(kind).values, values.where), theta
        )
        for kind, theta in thetas.items()
    }
    if ropes[FULL][1] != ropes[SLIDING][1]:
        raise UserError(
            "rope_parameters stretch positions of one kind of layer otherwise than the other's, "
            "which is not supported",
            where=values.where,
        )
    biased = values.boolean("attention_bias", False)
    pooling = values.choice("classifier_pooling", "cls", {"cls": False, "mean": True})
    return TransformerConfig(
        family=family,
        vocab_size=values.integer("vocab_size", 50368),
        context_length=values.integer("max_position_embeddings", 8192),
        layers=layers,
        mlp_width=values.integer("intermediate_size", 1152),
        tied=values.boolean("tie_word_embeddings", True),
        dropout=values.fraction("mlp_dropout", 0.0),
        window=values.integer("local_attention", 128) // 2 + 1,
        windowed_layers=values.windowed_layers(layers, usual),
        mean_pooling=pooling,
        init_std=values.number("initializer_range", 0.02, above=0),
        **STYLES["modernbert"]
        | values.multi_head("hidden_size", "num_attention_heads")
        | {
            "norm_epsilon": values.number("norm_eps", 1e-5, above=0),
            "norm_bias": values.boolean("norm_bias", False),
            "mlp": activation,
            "mlp_bias": values.boolean("mlp_bias", False),
            "attention_bias": biased,
            "output_bias": biased,
            "rope_theta": ropes[FULL][0],
            "local_rope_theta": ropes[SLIDING][0],
            "rope_scaling": ropes[FULL][1],
            "transform_bias": values.boolean("classifier_bias", False),
            "vocabulary_bias": values.boolean("decoder_bias", True),
        },
    )


def write_modernbert(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of ModernBERT's shape, in new keys and those of older tools."""
    kinds = layer_types(config)
    thetas = {FULL: config.rope_theta, SLIDING: config.local_rope_theta or config.rope_theta}
    scaling = config.rope_scaling or {"rope_type": "default"}
    full = [layer for layer, kind in enumerate(kinds) if kind == FULL]
    return {
        "max_position_embeddings": config.context_length,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_width,
        "hidden_activation": activation_name(config.mlp, MODERNBERT_ACTIVATIONS),
        "classifier_activation": activation_name(config.mlp, MODERNBERT_ACTIVATIONS),
        "norm_eps": config.norm_epsilon,
        "norm_bias": config.norm_bias,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "classifier_bias": config.transform_bias,
        "decoder_bias": config.vocabulary_bias,
        "classifier_pooling": "mean" if config.mean_pooling else "cls",
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


def read_t5(values: ConfigReader, family: Family) -> TransformerConfig:
    """Return T5's config. Whether head and embedding are tied only the weights tell: in config.json
    `tie_word_embeddings` says whether states are scaled."""
    width = values.integer("d_model", 512)
    heads, layers = values.integer("num_heads", 8), values.integer("num_layers", 6)
    tied = values.boolean("tie_word_embeddings", True)
    start = values.token("decoder_start_token_id", values.get("pad_token_id", 0))
    vocab_size = values.integer("vocab_size", 32128)
    if start >= vocab_size:
        raise values.wrong("decoder_start_token_id", f"below the vocabulary's {vocab_size:,}")
    return TransformerConfig(
        family=family,
        vocab_size=vocab_size,
        context_length=values.integer("n_positions", T5_CONTEXT),
        layers=layers,
        decoder_layers=values.integer("num_decoder_layers", layers),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=values.integer("d_kv", 64),
        mlp_width=values.integer("d_ff", 2048),
        dropout=values.fraction("dropout_rate", 0.1),
        init_std=T5_INIT_STD,
        **STYLES["t5"]
        | {
            "norm_epsilon": values.number("layer_norm_epsilon", 1e-6, above=0),
            "mlp": values.choice("feed_forward_proj", "relu", T5_ACTIVATIONS),
            "relative_buckets": values.integer("relative_attention_num_buckets", 32),
            "relative_distance": values.integer("relative_attention_max_distance", 128),
            "tied": tied,
            "start_id": start,
            "vocabulary_scale": width**-0.5
            if values.boolean("scale_decoder_outputs", tied)
            else 1.0,
        },
    )


def write_t5(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of T5's shape."""
    scaled = config.vocabulary_scale != 1
    return {
        "d_model": config.width,
        "d_kv": config.head_width,
        "d_ff": config.mlp_width,
        "num_layers": config.layers,
        "num_decoder_layers": config.decoder_layers,
        "num_heads": config.heads,
        "feed_forward_proj": activation_name(config.mlp, T5_ACTIVATIONS),
        "relative_attention_num_buckets": config.relative_buckets,
        "relative_attention_max_distance": config.relative_distance,
        "layer_norm_epsilon": config.norm_epsilon,
        "dropout_rate": config.dropout,
        "n_positions": config.context_length,
        "is_encoder_decoder": True,
        "decoder_start_token_id": config.start_id,
        "tie_word_embeddings": scaled,
        "scale_decoder_outputs": scaled,
    }
