"""The config.json of decoders: GPT-2, and Llama with its relatives Mistral, Qwen2 and Qwen3."""

from __future__ import annotations

from typing import Any

from nextword.hub.config_reader import (
    ACTIVATIONS,
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


def read_gpt2(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Return GPT-2's config."""
    return values.read(GPT2, n_inner=4 * values.integer("n_embd", 768))


def write_gpt2(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of GPT-2's shape."""
    return write_fields(GPT2, config) | {"embd_pdrop": config.dropout, "attn_pdrop": 0.0}


def read_llama(values: ConfigReader, family: Family) -> dict[str, Any]:
    """Return the config of Llama, Mistral, Qwen2 or Qwen3."""
    width, heads = values.integer("hidden_size"), values.integer("num_attention_heads")
    head_width = 128
    if family != "qwen3" and values.get("head_dim") is None:
        head_width = values.head_width(width, heads)
    ours = values.read(LLAMA, num_key_value_heads=heads, head_dim=head_width)
    scaling = values.section("rope_parameters" if values.get("rope_parameters") else "rope_scaling")
    theta, rope_scaling = read_rope(values, scaling, values.number("rope_theta", 10_000.0, above=1))
    window, windowed = _windows(values, family, ours["layers"])
    biased = family in ("llama", "qwen3") and values.boolean("attention_bias", False)
    return ours | {
        "rope_theta": theta,
        "rope_scaling": rope_scaling,
        "attention_bias": biased or family == "qwen2",
        "output_bias": biased,
        "mlp_bias": family == "llama" and values.boolean("mlp_bias", False),
        "window": window,
        "windowed_layers": windowed,
    }


def _windows(
    values: ConfigReader, family: Family, layers: int
) -> tuple[int | None, tuple[int, ...]]:
    """Return the sliding window and the layers that have it."""
    if family == "mistral":  # all layers; the default is the window of the first Mistral
        if "sliding_window" in values.values and values.get("sliding_window") is None:
            return None, ()
        return values.integer("sliding_window", 4096), tuple(range(layers))
    if family not in ("qwen2", "qwen3") or values.get("sliding_window") is None:
        return None, ()
    if not values.boolean("use_sliding_window", False):
        return None, ()
    first = values.get("max_window_layers", 28)
    if not isinstance(first, int) or isinstance(first, bool):
        raise values.wrong("max_window_layers", "a whole number")
    usual = [SLIDING if layer >= first else FULL for layer in range(layers)]
    return values.integer("sliding_window"), values.windowed_layers(layers, usual)


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
