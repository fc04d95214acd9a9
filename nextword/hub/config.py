"""config.json to TransformerConfig and back: the table's fields, and what is no plain field."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub.config_reader import FULL, SLIDING, ConfigReader, read_rope
from nextword.hub.families import FORMATS, HEAD_CLASSES, MODERNBERT_ACTIVATIONS, HeadName
from nextword.models.config import DECODERS, FAMILIES, Family, TransformerConfig
from nextword.models.sizes import STYLES


def read_config(path: Path) -> TransformerConfig:
    """Read a model's config.json. Raises UserError for a value that is missing, of a wrong type, or
    of something that is not supported."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError("is not a JSON object", where=path)
    family = values.get("model_type")
    if family not in FAMILIES:
        raise UserError(
            f"model_type {reprlib.repr(family)} is not a model nextword knows",
            where=path,
            mend="known are " + ", ".join(FAMILIES),
        )
    if values.get("quantization_config"):
        raise UserError("the weights are quantised", where=path, mend="use the original weights")
    for key, only in FORMATS[family].only.items():
        if values.get(key, only) != only:
            raise UserError(f"{key} = {reprlib.repr(values[key])} is not supported", where=path)
    try:
        ours = READ[family](ConfigReader(values, path), family)
        return TransformerConfig(**{"family": family} | STYLES[family] | ours)
    except UserError as error:
        if error.where is not None:
            raise
        raise UserError(error.what, where=path) from None


def write_config(
    config: TransformerConfig, dtype: str = "float32", head: HeadName | None = None
) -> dict[str, Any]:
    """Return what config.json holds for a model with this head, by default a language model's.

    The keys are Hugging Face's older ones, which all tools read.
    """
    form = FORMATS[config.family]
    values: dict[str, Any] = {
        "architectures": [form.name + (HEAD_CLASSES[head] if head else form.language)],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied,
        "initializer_range": config.init_std,
        "dtype": dtype,
    }
    for field in form.fields:
        value = values[field.key] = getattr(config, field.ours)
        if isinstance(field.kind, dict):
            values[field.key] = next(name for name, ours in field.kind.items() if ours == value)
    return values | WRITE[config.family](config)


def head_of(architectures: Any) -> HeadName | None:
    """Return the head of a model whose config.json has these `architectures`; None for a language
    model, and where they name no known class."""
    for name in map(str, architectures if isinstance(architectures, list) else ()):
        for head, ending in HEAD_CLASSES.items():
            if name.endswith(ending):
                return head
    return None


def _read_gpt2(values: ConfigReader, family: Family) -> dict[str, Any]:
    return values.read(FORMATS[family].fields, n_inner=4 * values.integer("n_embd", 768))


def _read_llama(values: ConfigReader, family: Family) -> dict[str, Any]:
    width, heads = values.integer("hidden_size"), values.integer("num_attention_heads")
    head_width = 128
    if family != "qwen3" and values.get("head_dim") is None:
        head_width = values.head_width(width, heads)
    fields = FORMATS[family].fields
    ours = values.read(fields, num_key_value_heads=heads, head_dim=head_width)
    scaling = values.section("rope_parameters" if values.get("rope_parameters") else "rope_scaling")
    theta, rope_scaling = read_rope(values, scaling, values.number("rope_theta", 10_000.0, above=1))
    biased = family in ("llama", "qwen3") and values.boolean("attention_bias", False)
    return {
        **ours,
        **_windows(values, family, ours["layers"]),
        "rope_theta": theta,
        "rope_scaling": rope_scaling,
        "attention_bias": biased or family == "qwen2",
        "output_bias": biased,
        "mlp_bias": family == "llama" and values.boolean("mlp_bias", False),
    }


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
    first = values.integer("max_window_layers", 28, least=0)
    usual = [SLIDING if layer >= first else FULL for layer in range(layers)]
    window = values.integer("sliding_window")
    return {"window": window, "windowed_layers": values.windowed_layers(layers, usual)}


def _write_llama(config: TransformerConfig) -> dict[str, Any]:
    values: dict[str, Any] = {
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
    kinds = _layer_types(config)
    return values | {
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "max_window_layers": kinds.index(SLIDING) if SLIDING in kinds else config.layers,
        "layer_types": kinds,
    }


def _layer_types(config: TransformerConfig) -> list[str]:
    return [SLIDING if config.window_of(layer) else FULL for layer in range(config.layers)]


def _read_bert(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Positions of RoBERTa begin after its padding token's id."""
    ours = values.read(FORMATS[family].fields)
    if family == "bert":
        return ours
    offset = values.integer("pad_token_id", 1, least=0) + 1
    if (entries := ours["context_length"]) <= offset:
        raise values.error(
            f"{entries} positions are too few: RoBERTa counts from pad_token_id + 1 = {offset}"
        )
    return ours | {"context_length": entries - offset, "position_offset": offset}


def _write_bert(config: TransformerConfig) -> dict[str, Any]:
    return {
        "max_position_embeddings": config.position_offset + config.context_length,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": config.position_offset - 1 if config.family == "roberta" else None,
    }


def _read_modernbert(values: ConfigReader, family: Family) -> dict[str, Any]:
    """`local_attention` is the whole width of a window without the token in its middle."""
    ours = values.read(FORMATS[family].fields)
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


def _write_modernbert(config: TransformerConfig) -> dict[str, Any]:
    """Return new keys and those of older tools."""
    kinds = _layer_types(config)
    thetas = {FULL: config.rope_theta, SLIDING: config.local_rope_theta or config.rope_theta}
    scaling = config.rope_scaling or {"rope_type": "default"}
    full = [layer for layer, kind in enumerate(kinds) if kind == FULL]
    return {
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


def _read_t5(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Whether head and embedding are tied only the weights tell: in config.json
    `tie_word_embeddings` says whether states are scaled."""
    layers = values.integer("num_layers", 6)
    ours = values.read(FORMATS[family].fields, num_decoder_layers=layers)
    tied = values.boolean("tie_word_embeddings", True)
    start = values.get("pad_token_id", 0)
    start = values.integer("decoder_start_token_id", start, least=0)
    if start >= (vocab_size := ours["vocab_size"]):
        raise values.wrong("decoder_start_token_id", f"below the vocabulary's {vocab_size:,}")
    scaled = values.boolean("scale_decoder_outputs", tied)
    scale = ours["width"] ** -0.5 if scaled else 1.0
    return ours | {"tied": tied, "start_id": start, "vocabulary_scale": scale}


def _write_t5(config: TransformerConfig) -> dict[str, Any]:
    scaled = config.vocabulary_scale != 1
    return {
        "is_encoder_decoder": True,
        "decoder_start_token_id": config.start_id,
        "tie_word_embeddings": scaled,
        "scale_decoder_outputs": scaled,
    }


READ: dict[Family, Callable[[ConfigReader, Family], dict[str, Any]]] = {
    **dict.fromkeys(DECODERS, _read_llama),
    "gpt2": _read_gpt2,
    "bert": _read_bert,
    "roberta": _read_bert,
    "modernbert": _read_modernbert,
    "t5": _read_t5,
}
WRITE: dict[Family, Callable[[TransformerConfig], dict[str, Any]]] = {
    **dict.fromkeys(DECODERS, _write_llama),
    "gpt2": lambda config: {"embd_pdrop": config.dropout, "attn_pdrop": 0.0},
    "bert": _write_bert,
    "roberta": _write_bert,
    "modernbert": _write_modernbert,
    "t5": _write_t5,
}
