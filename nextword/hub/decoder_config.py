"""The config.json of decoders: GPT-2, and Llama with its relatives Mistral, Qwen2 and Qwen3."""

from __future__ import annotations

from typing import Any

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

GPT2_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
LLAMA_ACTIVATIONS = {"silu": "swiglu", "swish": "swiglu", "gelu_pytorch_tanh": "geglu_tanh"}


def read_gpt2(values: ConfigReader, family: Family) -> TransformerConfig:
    """Return GPT-2's config."""
    dimensions = values.multi_head("n_embd", "n_head")
    return TransformerConfig(
        family=family,
        vocab_size=values.integer("vocab_size", 50257),
        context_length=values.integer("n_positions", 1024),
        layers=values.integer("n_layer", 12),
        mlp_width=values.integer("n_inner", 4 * dimensions["width"]),
        tied=values.boolean("tie_word_embeddings", True),
        dropout=values.fraction("resid_pdrop", 0.1),
        init_std=values.number("initializer_range", 0.02, above=0),
        **STYLES["gpt2"]
        | dimensions
        | {
            "norm_epsilon": values.number("layer_norm_epsilon", 1e-5, above=0),
            "mlp": values.choice("activation_function", "gelu_new", GPT2_ACTIVATIONS),
        },
    )


def write_gpt2(config: TransformerConfig) -> dict[str, Any]:
    """Return what config.json holds of GPT-2's shape."""
    return {
        "n_positions": config.context_length,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": config.mlp_width,
        "activation_function": activation_name(config.mlp, GPT2_ACTIVATIONS),
        "layer_norm_epsilon": config.norm_epsilon,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": 0.0,
    }


def read_llama(values: ConfigReader, family: Family) -> TransformerConfig:
    """Return the config of Llama, Mistral, Qwen2 or Qwen3."""
    width, heads = values.integer("hidden_size"), values.integer("num_attention_heads")
    layers = values.integer("num_hidden_layers")
    if family == "qwen3" or values.get("head_dim") is not None:
        head_width = values.integer("head_dim", 128)
    else:
        head_width = values.head_width(width, heads)
    scaling = values.section("rope_parameters" if values.get("rope_parameters") else "rope_scaling")
    theta, rope_scaling = read_rope(values, scaling, values.number("rope_theta", 10_000.0, above=1))
    window, windowed = _windows(values, family, layers)
    biased = family in ("llama", "qwen3") and values.boolean("attention_bias", False)
    return TransformerConfig(
        family=family,
        vocab_size=values.integer("vocab_size"),
        context_length=values.integer("max_position_embeddings", 2048),
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=values.integer("num_key_value_heads", heads),
        head_width=head_width,
        mlp_width=values.integer("intermediate_size"),
        norm_epsilon=values.number("rms_norm_eps", 1e-6, above=0),
        rope_theta=theta,
        rope_scaling=rope_scaling,
        mlp=values.choice("hidden_act", "silu", LLAMA_ACTIVATIONS),
        qk_norm=family == "qwen3",
        attention_bias=biased or family == "qwen2",
        output_bias=biased,
        mlp_bias=family == "llama" and values.boolean("mlp_bias", False),
        tied=values.boolean("tie_word_embeddings", False),
        window=window,
        windowed_layers=windowed,
        init_std=values.number("initializer_range", 0.02, above=0),
    )


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
    values: dict[str, Any] = {
        "max_position_embeddings": config.context_length,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.mlp_width,
        "hidden_act": activation_name(config.mlp, LLAMA_ACTIVATIONS),
        "rms_norm_eps": config.norm_epsilon,
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
