"""The words of config.json for the decoders: GPT-2's, and those of Llama and its like."""

from __future__ import annotations

from typing import Any

from nextword.hub.values import Values, rope, theirs
from nextword.models.config import Family, TransformerConfig
from nextword.models.sizes import STYLES

ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
GATED_ACTIVATIONS = {"silu": "swiglu", "swish": "swiglu", "gelu_pytorch_tanh": "geglu_tanh"}
FULL, SLIDING = "full_attention", "sliding_attention"


def read_gpt2(values: Values) -> TransformerConfig:
    width, heads = values.integer("n_embd", 768), values.integer("n_head", 12)
    return TransformerConfig(
        family="gpt2",
        vocab_size=values.integer("vocab_size", 50257),
        context_length=values.integer("n_positions", 1024),
        layers=values.integer("n_layer", 12),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=values.head_width(width, heads),
        mlp_width=values.integer("n_inner", 4 * width),
        tied=values.truth("tie_word_embeddings", True),
        dropout=values.share("resid_pdrop", 0.1),
        init_std=values.number("initializer_range", 0.02, above=0),
        **STYLES["gpt2"]
        | {
            "norm_epsilon": values.number("layer_norm_epsilon", 1e-5, above=0),
            "mlp": values.one_of("activation_function", "gelu_new", ACTIVATIONS),
        },
    )


def write_gpt2(config: TransformerConfig) -> dict[str, Any]:
    return {
        "n_positions": config.context_length,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": config.mlp_width,
        "activation_function": theirs(config.mlp, ACTIVATIONS),
        "layer_norm_epsilon": config.norm_epsilon,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": 0.0,
    }


def read_llama(values: Values, family: Family) -> TransformerConfig:
    width, heads = values.integer("hidden_size"), values.integer("num_attention_heads")
    layers = values.integer("num_hidden_layers")
    if family == "qwen3" or values.get("head_dim") is not None:
        head_width = values.integer("head_dim", 128)
    else:
        head_width = values.head_width(width, heads)
    scaling = values.within("rope_parameters" if values.get("rope_parameters") else "rope_scaling")
    theta, stretch = rope(values, scaling, values.number("rope_theta", 10_000.0, above=1))
    window, windowed = _windows(values, family, layers)
    biased = family in ("llama", "qwen3") and values.truth("attention_bias", False)
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
        rope_scaling=stretch,
        mlp=values.one_of("hidden_act", "silu", GATED_ACTIVATIONS),
        qk_norm=family == "qwen3",
        attention_bias=biased or family == "qwen2",
        output_bias=biased,
        mlp_bias=family == "llama" and values.truth("mlp_bias", False),
        tied=values.truth("tie_word_embeddings", False),
        window=window,
        windowed_layers=windowed,
        init_std=values.number("initializer_range", 0.02, above=0),
    )


def _windows(values: Values, family: Family, layers: int) -> tuple[int | None, tuple[int, ...]]:
    if family == "mistral":  # all layers have it, and one that is not named is that of the first
        if "sliding_window" in values.values and values.get("sliding_window") is None:
            return None, ()
        return values.integer("sliding_window", 4096), tuple(range(layers))
    if family not in ("qwen2", "qwen3") or values.get("sliding_window") is None:
        return None, ()
    if not values.truth("use_sliding_window", False):
        return None, ()
    first = values.get("max_window_layers", 28)
    if not isinstance(first, int) or isinstance(first, bool):
        raise values.wrong("max_window_layers", "a whole number")
    usual = [SLIDING if layer >= first else FULL for layer in range(layers)]
    return values.integer("sliding_window"), values.layer_kinds(layers, usual)


def write_llama(config: TransformerConfig) -> dict[str, Any]:
    values: dict[str, Any] = {
        "max_position_embeddings": config.context_length,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.mlp_width,
        "hidden_act": theirs(config.mlp, GATED_ACTIVATIONS),
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
    kinds = [SLIDING if config.window_of(layer) else FULL for layer in range(config.layers)]
    return values | {
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "max_window_layers": kinds.index(SLIDING) if SLIDING in kinds else config.layers,
        "layer_types": kinds,
    }
