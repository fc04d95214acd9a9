"""What is no plain field in the config.json of encoders, and of T5."""

from __future__ import annotations

from typing import Any

from nextword.hub.config_keys import DISTILBERT, MODERNBERT, MODERNBERT_ACTIVATIONS
from nextword.hub.config_reader import (
    FULL,
    SLIDING,
    ConfigReader,
    layer_types,
    read_ropes,
    write_ropes,
)
from nextword.hub.families import FORMATS
from nextword.models.config import Family, TransformerConfig

MODERNBERT_THETAS = {
    FULL: ("global_rope_theta", 160_000.0),
    SLIDING: ("local_rope_theta", 10_000.0),
}


def read_bert(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Return what config.json says of a BERT or a RoBERTa, whose positions begin after its padding
    token's id."""
    ours = values.read(FORMATS[family].fields)
    if family == "bert":
        return ours
    offset = values.integer("pad_token_id", 1, least=0) + 1
    if (entries := ours["context_length"]) <= offset:
        raise values.error(
            f"{entries} positions are too few: RoBERTa counts from pad_token_id + 1 = {offset}"
        )
    return ours | {"context_length": entries - offset, "position_offset": offset}


def write_bert(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of a BERT or a RoBERTa beside its plain fields."""
    return {
        "max_position_embeddings": config.position_offset + config.context_length,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": config.position_offset - 1 if config.position_offset else None,
    }


def read_distilbert(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Return what config.json says of a DistilBERT. Positions that began as sinuses are weights
    like any."""
    return values.read(DISTILBERT)


def write_distilbert(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of a DistilBERT."""
    rates = dict.fromkeys(("qa_dropout", "seq_classif_dropout"), config.dropout)
    return {"attention_dropout": 0.0, "sinusoidal_pos_embds": False, "pad_token_id": None} | rates


def read_modernbert(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Return what config.json says of a ModernBERT. `local_attention` is the whole width of a
    window without the token in its middle."""
    ours = values.read(MODERNBERT)
    if values.choice("hidden_activation", "gelu", MODERNBERT_ACTIVATIONS) != ours["mlp"]:
        raise values.error("classifier_activation is not hidden_activation, which is not supported")
    every = values.integer("global_attn_every_n_layers", 3)
    usual = [SLIDING if layer % every else FULL for layer in range(ours["layers"])]
    return ours | {
        "dropout": values.fraction("mlp_dropout", 0.0),
        "window": values.integer("local_attention", 128) // 2 + 1,
        "windowed_layers": values.windowed_layers(ours["layers"], usual),
        "output_bias": ours["attention_bias"],
        **read_ropes(values, MODERNBERT_THETAS, stretched=(FULL, SLIDING)),
    }


def write_modernbert(config: TransformerConfig) -> dict[str, Any]:
    """Return new keys and those of older tools."""
    kinds = layer_types(config)
    full = [layer for layer, kind in enumerate(kinds) if kind == FULL]
    return {
        "layer_types": kinds,
        "local_attention": 2 * ((config.window or config.context_length) - 1),
        "rope_parameters": write_ropes(config),
        "global_attn_every_n_layers": full[1] if len(full) > 1 else config.layers,
        "global_rope_theta": config.rope_theta,
        "local_rope_theta": config.local_rope_theta or config.rope_theta,
        "embedding_dropout": config.dropout,
        "mlp_dropout": config.dropout,
        "attention_dropout": 0.0,
        **dict.fromkeys(f"{role}_token_id" for role in ("pad", "bos", "eos", "cls", "sep")),
    }


def read_t5(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Return what config.json says of a T5 or an mT5. Whether head and embedding are tied only the
    weights tell: `tie_word_embeddings` says whether a T5's states are scaled; mT5's never are."""
    layers = values.integer("num_layers", 8 if family == "mt5" else 6)
    ours = values.read(FORMATS[family].fields, num_decoder_layers=layers)
    tied = values.boolean("tie_word_embeddings", family == "t5")
    start = values.get("pad_token_id", 0)
    start = values.integer("decoder_start_token_id", start, least=0)
    if start >= (vocab_size := ours["vocab_size"]):
        raise values.wrong("decoder_start_token_id", f"below the vocabulary's {vocab_size:,}")
    scaled = family == "t5" and values.boolean("scale_decoder_outputs", tied)
    scale = ours["width"] ** -0.5 if scaled else 1.0
    return ours | {"tied": tied, "start_id": start, "vocabulary_scale": scale}


def write_t5(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of a T5 or an mT5 beside its plain fields."""
    scaled = config.vocabulary_scale != 1
    return {
        "is_encoder_decoder": True,
        "decoder_start_token_id": config.start_id,
        "tie_word_embeddings": scaled,
        "scale_decoder_outputs": scaled,
    }
