"""config.json to TransformerConfig and back, in the words Hugging Face's families use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.files import read_json
from nextword.models.config import FAMILIES, GATED, ROPE_SCALINGS, TransformerConfig
from nextword.models.sizes import STYLES

CLASSES = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
GATED_ACTIVATIONS = {"silu": "swiglu", "swish": "swiglu", "gelu_pytorch_tanh": "geglu"}

# What is not built: a config that asks for it would give wrong results without a word.
UNSUPPORTED: dict[str, dict[str, Any]] = {
    "gpt2": {
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    "llama": {},
    "qwen3": {},
}


class _Values:
    """config.json's values, each checked for its type when it is read."""

    def __init__(self, values: dict[str, Any], where: Path) -> None:
        self.values, self.where = values, where

    def get(self, key: str, default: Any = None) -> Any:
        value = self.values.get(key)
        return default if value is None else value

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            found = "is missing" if value is None else f"= {value!r} is not a positive whole number"
            raise UserError(f"{key} {found}", where=self.where)
        return value

    def number(self, key: str, default: float) -> float:
        value = self.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise UserError(f"{key} = {value!r} is not a number", where=self.where)
        return float(value)

    def truth(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise UserError(f"{key} = {value!r} is neither true nor false", where=self.where)
        return value


def read_config(path: Path) -> TransformerConfig:
    """A model's config.json. Raises UserError for what is not known, missing or of a wrong type."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError("is not a JSON object", where=path)
    family = values.get("model_type")
    if family not in FAMILIES:
        raise UserError(
            f"model_type {family!r} is not a model nextword knows",
            where=path,
            mend="known are " + ", ".join(FAMILIES),
        )
    if values.get("quantization_config"):
        raise UserError("the weights are quantised", where=path, mend="use the original weights")
    for key, only in UNSUPPORTED[family].items():
        if values.get(key, only) != only:
            raise UserError(f"{key} = {values[key]!r} is not supported", where=path)
    try:
        found = _Values(values, path)
        return _gpt2(found) if family == "gpt2" else _llama(found, family)
    except UserError as error:
        if error.where is not None:
            raise
        raise UserError(error.what, where=path) from None


def _gpt2(values: _Values) -> TransformerConfig:
    width, heads = values.integer("n_embd", 768), values.integer("n_head", 12)
    _whole_heads(width, heads, values.where)
    return TransformerConfig(
        family="gpt2",
        vocab_size=values.integer("vocab_size", 50257),
        context_length=values.integer("n_positions", 1024),
        layers=values.integer("n_layer", 12),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        mlp_width=values.integer("n_inner", 4 * width),
        tied=values.truth("tie_word_embeddings", True),
        dropout=values.number("resid_pdrop", 0.1),
        init_std=values.number("initializer_range", 0.02),
        **STYLES["gpt2"]
        | {
            "norm_epsilon": values.number("layer_norm_epsilon", 1e-5),
            "mlp": _activation(values, "activation_function", "gelu_new", ACTIVATIONS),
        },
    )


def _llama(values: _Values, family: Any) -> TransformerConfig:
    width, heads = values.integer("hidden_size"), values.integer("num_attention_heads")
    layers = values.integer("num_hidden_layers")
    if "head_dim" not in values.values:
        _whole_heads(width, heads, values.where)
    head_width = values.integer("head_dim", 128 if family == "qwen3" else width // heads)
    theta, scaling = _rope(values)
    window, windowed = _windows(values, layers) if family == "qwen3" else (None, ())
    attention_bias = values.truth("attention_bias", False)
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
        norm_epsilon=values.number("rms_norm_eps", 1e-6),
        rope_theta=theta,
        rope_scaling=scaling,
        mlp=_activation(values, "hidden_act", "silu", GATED_ACTIVATIONS),
        qk_norm=family == "qwen3",
        attention_bias=attention_bias,
        mlp_bias=values.truth("mlp_bias", False),
        tied=values.truth("tie_word_embeddings", False),
        window=window,
        windowed_layers=windowed,
        init_std=values.number("initializer_range", 0.02),
    )


def _whole_heads(width: int, heads: int, where: Path) -> None:
    if width % heads:
        raise UserError(f"width {width} is not divisible by {heads} heads", where=where)


def _activation(values: _Values, key: str, default: str, known: dict[str, str]) -> Any:
    name = values.get(key, default)
    if name not in known:
        raise UserError(
            f"{key} {name!r} is not supported",
            where=values.where,
            mend="known are " + ", ".join(known),
        )
    return known[name]


def _rope(values: _Values) -> tuple[float, dict[str, Any] | None]:
    """Old files have rope_theta and rope_scaling, new ones rope_parameters with both in it."""
    scaling = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(scaling, dict):
        raise UserError(f"rope_scaling = {scaling!r} is not an object", where=values.where)
    scaling = {key: value for key, value in scaling.items() if value is not None}
    theta = scaling.pop("rope_theta", None) or values.number("rope_theta", 10_000.0)
    kind = scaling.pop("rope_type", None) or scaling.pop("type", "default")
    scaling.pop("type", None)
    if float(scaling.pop("partial_rotary_factor", 1.0)) != 1.0:
        raise UserError("partial_rotary_factor is not supported", where=values.where)
    if kind == "default":
        return float(theta), None
    if kind not in ROPE_SCALINGS:
        raise UserError(
            f"rope_type {kind!r} is not supported",
            where=values.where,
            mend="known are default, " + ", ".join(ROPE_SCALINGS),
        )
    needed = ["factor"] + ["low_freq_factor", "high_freq_factor"] * (kind == "llama3")
    for key in needed:
        if not isinstance(scaling.get(key), int | float):
            raise UserError(f"rope_scaling lacks a number {key!r}", where=values.where)
    return float(theta), {"rope_type": kind, **scaling}


def _windows(values: _Values, layers: int) -> tuple[int | None, tuple[int, ...]]:
    if not values.truth("use_sliding_window", False) or values.get("sliding_window") is None:
        return None, ()
    first = values.get("max_window_layers", 28)
    kinds = values.get("layer_types") or [
        "sliding_attention" if layer >= first else "full_attention" for layer in range(layers)
    ]
    if len(kinds) != layers or not set(kinds) <= {"sliding_attention", "full_attention"}:
        raise UserError(
            f"layer_types {sorted(set(kinds))} do not fit the layers", where=values.where
        )
    windowed = tuple(layer for layer, kind in enumerate(kinds) if kind == "sliding_attention")
    return values.integer("sliding_window"), windowed


def write_config(config: TransformerConfig, dtype: str = "float32") -> dict[str, Any]:
    """What config.json holds for this model; Hugging Face's older words, which all tools read."""
    common = {
        "architectures": [CLASSES[config.family]],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied,
        "initializer_range": config.init_std,
        "dtype": dtype,
    }
    if config.family == "gpt2":
        return common | {
            "n_positions": config.context_length,
            "n_embd": config.width,
            "n_layer": config.layers,
            "n_head": config.heads,
            "n_inner": config.mlp_width,
            "activation_function": _theirs(config.mlp, ACTIVATIONS),
            "layer_norm_epsilon": config.norm_epsilon,
            "resid_pdrop": config.dropout,
            "embd_pdrop": config.dropout,
            "attn_pdrop": 0.0,
        }
    values = common | {
        "max_position_embeddings": config.context_length,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.mlp_width,
        "hidden_act": _theirs(config.mlp, GATED_ACTIVATIONS),
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_theta,
        "rope_scaling": config.rope_scaling,
        "attention_bias": config.attention_bias,
        "attention_dropout": 0.0,
    }
    if config.family == "llama":
        return values | {"mlp_bias": config.mlp_bias}
    full, sliding = "full_attention", "sliding_attention"
    kinds = [sliding if config.window_of(layer) else full for layer in range(config.layers)]
    return values | {
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "max_window_layers": kinds.index(sliding) if sliding in kinds else config.layers,
        "layer_types": kinds,
    }


def _theirs(mlp: str, known: dict[str, str]) -> str:
    assert (mlp in GATED) == (known is GATED_ACTIVATIONS), f"{mlp} is not of this family"
    return next(theirs for theirs, ours in known.items() if ours == mlp)
