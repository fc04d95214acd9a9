"""The words of config.json for the encoders: BERT, RoBERTa and ModernBERT."""

from __future__ import annotations

from typing import Any

from nextword.errors import UserError
from nextword.hub.decoder_config import ACTIVATIONS, FULL, SLIDING
from nextword.hub.values import Values, rope, theirs
from nextword.models.config import Family, TransformerConfig
from nextword.models.sizes import STYLES

GATED_ACTIVATIONS = {
    "gelu": "geglu",
    "gelu_pytorch_tanh": "geglu_tanh",
    "gelu_new": "geglu_tanh",
    "silu": "swiglu",
}
# RoBERTa's head has this one whatever the blocks have.
ROBERTA_ACTIVATIONS = {"gelu": "gelu"}


def read_bert(values: Values, family: Family) -> TransformerConfig:
    """RoBERTa numbers its positions from the one after its padding token's id."""
    width, heads = values.integer("hidden_size", 768), values.integer("num_attention_heads", 12)
    roberta = family == "roberta"
    offset, entries = 0, values.integer("max_position_embeddings", 512)
    if roberta:
        pad = values.get("pad_token_id", 1)
        if not isinstance(pad, int) or isinstance(pad, bool) or pad < 0:
            raise values.wrong("pad_token_id", "the number of a token")
        offset = pad + 1
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
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=values.head_width(width, heads),
        mlp_width=values.integer("intermediate_size", 3072),
        tied=values.truth("tie_word_embeddings", True),
        dropout=values.share("hidden_dropout_prob", 0.1),
        init_std=values.number("initializer_range", 0.02, above=0),
        **STYLES[family]
        | {
            "position_offset": offset,
            "token_types": values.integer("type_vocab_size", 2),
            "norm_epsilon": values.number("layer_norm_eps", 1e-12, above=0),
            "mlp": values.one_of(
                "hidden_act", "gelu", ROBERTA_ACTIVATIONS if roberta else ACTIVATIONS
            ),
        },
    )


def write_bert(config: TransformerConfig) -> dict[str, Any]:
    values = {
        "max_position_embeddings": config.position_offset + config.context_length,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_width,
        "hidden_act": theirs(config.mlp, ACTIVATIONS),
        "layer_norm_eps": config.norm_epsilon,
        "type_vocab_size": config.token_types,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": 0.0,
    }
    pad = config.position_offset - 1 if config.family == "roberta" else None
    return values | {"pad_token_id": pad}


def read_modernbert(values: Values) -> TransformerConfig:
    """`local_attention` is a window's whole width, the token in its middle not counted."""
    width, heads = values.integer("hidden_size", 768), values.integer("num_attention_heads", 12)
    layers = values.integer("num_hidden_layers", 22)
    activation = values.one_of("hidden_activation", "gelu", GATED_ACTIVATIONS)
    if values.one_of("classifier_activation", "gelu", GATED_ACTIVATIONS) != activation:
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
    scalings = values.within("rope_parameters")
    old = values.within("rope_scaling").values
    found = {
        kind: rope(values, Values(old | scalings.within(kind).values, values.where), theta)
        for kind, theta in thetas.items()
    }
    if found[FULL][1] != found[SLIDING][1]:
        raise UserError(
            "rope_parameters stretch positions of one kind of layer otherwise than the other's, "
            "which is not supported",
            where=values.where,
        )
    biased = values.truth("attention_bias", False)
    pooling = values.one_of("classifier_pooling", "cls", {"cls": False, "mean": True})
    return TransformerConfig(
        family="modernbert",
        vocab_size=values.integer("vocab_size", 50368),
        context_length=values.integer("max_position_embeddings", 8192),
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=values.head_width(width, heads),
        mlp_width=values.integer("intermediate_size", 1152),
        tied=values.truth("tie_word_embeddings", True),
        dropout=values.share("mlp_dropout", 0.0),
        window=values.integer("local_attention", 128) // 2 + 1,
        windowed_layers=values.layer_kinds(layers, usual),
        mean_pooling=pooling,
        init_std=values.number("initializer_range", 0.02, above=0),
        **STYLES["modernbert"]
        | {
            "norm_epsilon": values.number("norm_eps", 1e-5, above=0),
            "norm_bias": values.truth("norm_bias", False),
            "mlp": activation,
            "mlp_bias": values.truth("mlp_bias", False),
            "attention_bias": biased,
            "output_bias": biased,
            "rope_theta": found[FULL][0],
            "local_rope_theta": found[SLIDING][0],
            "rope_scaling": found[FULL][1],
            "transform_bias": values.truth("classifier_bias", False),
            "vocabulary_bias": values.truth("decoder_bias", True),
        },
    )


def write_modernbert(config: TransformerConfig) -> dict[str, Any]:
    """In the words of the newer files and, for older tools, those of the older ones beside them."""
    kinds = [SLIDING if config.window_of(layer) else FULL for layer in range(config.layers)]
    thetas = {FULL: config.rope_theta, SLIDING: config.local_rope_theta or config.rope_theta}
    stretch = config.rope_scaling or {"rope_type": "default"}
    full = [layer for layer, kind in enumerate(kinds) if kind == FULL]
    return {
        "max_position_embeddings": config.context_length,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_width,
        "hidden_activation": theirs(config.mlp, GATED_ACTIVATIONS),
        "classifier_activation": theirs(config.mlp, GATED_ACTIVATIONS),
        "norm_eps": config.norm_epsilon,
        "norm_bias": config.norm_bias,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "classifier_bias": config.transform_bias,
        "decoder_bias": config.vocabulary_bias,
        "classifier_pooling": "mean" if config.mean_pooling else "cls",
        "layer_types": kinds,
        "local_attention": 2 * ((config.window or config.context_length) - 1),
        "rope_parameters": {kind: stretch | {"rope_theta": thetas[kind]} for kind in thetas},
        "global_attn_every_n_layers": full[1] if len(full) > 1 else config.layers,
        "global_rope_theta": thetas[FULL],
        "local_rope_theta": thetas[SLIDING],
        "embedding_dropout": config.dropout,
        "mlp_dropout": config.dropout,
        "attention_dropout": 0.0,
        **dict.fromkeys(f"{role}_token_id" for role in ("pad", "bos", "eos", "cls", "sep")),
    }
