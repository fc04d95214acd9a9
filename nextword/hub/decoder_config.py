"""What is no plain field in the config.json of decoders: positions, windows, biases."""

from __future__ import annotations

from typing import Any

from nextword.hub.config_keys import GEMMA3, GPT2, SMOLLM3
from nextword.hub.config_reader import (
    FULL,
    SLIDING,
    ConfigReader,
    layer_types,
    read_rope,
    read_ropes,
    write_ropes,
)
from nextword.hub.families import FORMATS
from nextword.models.config import Family, TransformerConfig

# Of tokens that the tokenizer has not: the defaults of these families are those of their own.
NO_TOKENS: dict[str, Any] = dict.fromkeys(f"{role}_token_id" for role in ("pad", "bos", "eos"))
GEMMA3_THETAS = {
    FULL: ("rope_theta", 1_000_000.0),
    SLIDING: ("rope_local_base_freq", 10_000.0),
}


def read_gpt2(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Return what config.json says of a GPT-2."""
    return values.read(GPT2, n_inner=4 * values.integer("n_embd", 768))


def write_gpt2(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of a GPT-2 beside its plain fields."""
    return {"embd_pdrop": config.dropout, "attn_pdrop": 0.0}


def read_llama(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Return what config.json says of a Llama, a Mistral or a Qwen."""
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


def write_llama(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of a Llama, a Mistral or a Qwen."""
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
    kinds = layer_types(config)
    return values | {
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "max_window_layers": kinds.index(SLIDING) if SLIDING in kinds else config.layers,
        "layer_types": kinds,
    }


def read_smollm3(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Return what config.json says of a SmolLM3, whose every fourth layer rotates nothing."""
    width, heads = values.integer("hidden_size"), values.integer("num_attention_heads")
    head_width = values.integer("head_dim", values.head_width(width, heads))
    ours = values.read(SMOLLM3, num_key_value_heads=heads, head_dim=head_width)
    layers = ours["layers"]
    scaling = values.section("rope_parameters" if values.get("rope_parameters") else "rope_scaling")
    default = values.number("rope_theta", 2_000_000.0, above=1)
    theta, rope_scaling = read_rope(values, scaling, default)
    unrotated = _unrotated_layers(values, layers)
    biased = values.boolean("attention_bias", False)
    ours |= {
        "rope_theta": theta,
        "rope_scaling": rope_scaling,
        "unrotated_layers": unrotated,
        "attention_bias": biased,
        "output_bias": biased,
        "mlp_bias": values.boolean("mlp_bias", False),
    }
    if values.get("sliding_window") is None or not values.boolean("use_sliding_window", False):
        return ours
    usual = [SLIDING if layer in unrotated else FULL for layer in range(layers)]
    window, windowed = values.integer("sliding_window"), values.windowed_layers(layers, usual)
    return ours | ({"window": window, "windowed_layers": windowed} if windowed else {})


def _unrotated_layers(values: ConfigReader, layers: int) -> tuple[int, ...]:
    """Return the layers with a 0 in `no_rope_layers`, or else every few."""
    every = values.integer("no_rope_layer_interval", 4)
    rotates = values.get("no_rope_layers")
    if rotates is None:
        rotates = [(layer + 1) % every != 0 for layer in range(layers)]
    if not isinstance(rotates, list) or len(rotates) < layers:
        raise values.wrong("no_rope_layers", f"a list of 1 or 0 for each of {layers} layers")
    return tuple(layer for layer in range(layers) if not rotates[layer])


def write_smollm3(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of a SmolLM3."""
    unrotated = config.unrotated_layers
    return {
        "rope_theta": config.rope_theta,
        "rope_scaling": config.rope_scaling,
        "no_rope_layers": [int(layer not in unrotated) for layer in range(config.layers)],
        "attention_bias": config.attention_bias,
        "attention_dropout": 0.0,
        "mlp_bias": config.mlp_bias,
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "layer_types": layer_types(config),
        **NO_TOKENS,
    }


def read_gemma3(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Return what config.json says of a Gemma 3's text model. Its older rope_scaling is that of
    layers without a window alone."""
    ours = values.read(GEMMA3)
    layers, head_width = ours["layers"], ours["head_width"]
    every = values.integer("sliding_window_pattern", 6)
    usual = [SLIDING if (layer + 1) % every else FULL for layer in range(layers)]
    windowed = values.windowed_layers(layers, usual)
    scale = values.positive("query_pre_attn_scalar", 256)
    return ours | {
        "window": values.integer("sliding_window", 4096) if windowed else None,
        "windowed_layers": windowed,
        "output_bias": ours["attention_bias"],
        "attention_scale": None if scale == head_width else scale**-0.5,
        **read_ropes(values, GEMMA3_THETAS, stretched=(FULL,)),
    }


def write_gemma3(config: TransformerConfig) -> dict[str, Any]:
    """Return new keys and those of older tools."""
    scale = config.head_width if config.attention_scale is None else config.attention_scale**-2
    return {
        "rope_parameters": write_ropes(config),
        "rope_theta": config.rope_theta,
        "rope_scaling": config.rope_scaling,
        "rope_local_base_freq": config.local_rope_theta,
        "query_pre_attn_scalar": round(scale) if abs(scale - round(scale)) < 1e-6 else scale,
        "sliding_window": config.window or config.context_length,  # never missing
        "layer_types": layer_types(config),
        "attention_dropout": 0.0,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        **NO_TOKENS,
    }
