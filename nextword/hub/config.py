"""config.json to TransformerConfig and back, in the words Hugging Face's families use."""

from __future__ import annotations

import math
import reprlib
from pathlib import Path
from typing import Any, Literal

from nextword.errors import UserError
from nextword.files import read_json
from nextword.models.config import DECODERS, GATED, ROPE_SCALINGS, Family, TransformerConfig
from nextword.models.sizes import STYLES

NAMES: dict[Family, str] = {
    "gpt2": "GPT2",
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
}
Head = Literal["language", "classifier", "spans"]
HEADS: dict[Head, str] = {
    "language": "ForCausalLM",
    "classifier": "ForSequenceClassification",
    "spans": "ForQuestionAnswering",
}
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
}
MOST = {"num_hidden_layers": 10_000, "n_layer": 10_000}  # what is larger is damaged
LARGEST = 2**31 - 1


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
            raise self.wrong(key, "a positive whole number")
        if value > (most := MOST.get(key, LARGEST)):
            raise self.wrong(key, f"a whole number up to {most:,}")
        return value

    def number(self, key: str, default: float | None = None, *, above: float = -math.inf) -> float:
        value = self.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.wrong(key, "a number")
        if not above < value < math.inf:
            raise self.wrong(key, "a finite number" + f" above {above:g}" * (above > -math.inf))
        return float(value)

    def truth(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def wrong(self, key: str, expected: str) -> UserError:
        value = self.get(key)
        found = "is missing" if value is None else f"= {reprlib.repr(value)} is not {expected}"
        return UserError(f"{key} {found}", where=self.where)


def read_config(path: Path) -> TransformerConfig:
    """A model's config.json. Raises UserError for what is not known, missing or of a wrong type."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError("is not a JSON object", where=path)
    family = values.get("model_type")
    if family not in DECODERS:
        raise UserError(
            f"model_type {reprlib.repr(family)} is not a model nextword knows",
            where=path,
            mend="known are " + ", ".join(DECODERS),
        )
    if values.get("quantization_config"):
        raise UserError("the weights are quantised", where=path, mend="use the original weights")
    for key, only in UNSUPPORTED.get(family, {}).items():
        if values.get(key, only) != only:
            raise UserError(f"{key} = {reprlib.repr(values[key])} is not supported", where=path)
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
        dropout=_dropout(values),
        init_std=values.number("initializer_range", 0.02, above=0),
        **STYLES["gpt2"]
        | {
            "norm_epsilon": values.number("layer_norm_epsilon", 1e-5, above=0),
            "mlp": _activation(values, "activation_function", "gelu_new", ACTIVATIONS),
        },
    )


def _llama(values: _Values, family: Family) -> TransformerConfig:
    width, heads = values.integer("hidden_size"), values.integer("num_attention_heads")
    layers = values.integer("num_hidden_layers")
    if family != "qwen3" and values.get("head_dim") is None:
        _whole_heads(width, heads, values.where)
    head_width = values.integer("head_dim", 128 if family == "qwen3" else width // heads)
    theta, scaling = _rope(values)
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
        rope_scaling=scaling,
        mlp=_activation(values, "hidden_act", "silu", GATED_ACTIVATIONS),
        qk_norm=family == "qwen3",
        attention_bias=biased or family == "qwen2",
        output_bias=biased,
        mlp_bias=family == "llama" and values.truth("mlp_bias", False),
        tied=values.truth("tie_word_embeddings", False),
        window=window,
        windowed_layers=windowed,
        init_std=values.number("initializer_range", 0.02, above=0),
    )


def _dropout(values: _Values) -> float:
    dropout = values.number("resid_pdrop", 0.1)
    if not 0 <= dropout < 1:
        raise values.wrong("resid_pdrop", "a share of at least 0 and below 1")
    return dropout


def _whole_heads(width: int, heads: int, where: Path) -> None:
    if width % heads:
        raise UserError(f"width {width} is not divisible by {heads} heads", where=where)


def _activation(values: _Values, key: str, default: str, known: dict[str, str]) -> Any:
    name = values.get(key, default)
    if not isinstance(name, str) or name not in known:
        raise UserError(
            f"{key} {reprlib.repr(name)} is not supported",
            where=values.where,
            mend="known are " + ", ".join(known),
        )
    return known[name]


def _rope(values: _Values) -> tuple[float, dict[str, Any] | None]:
    """Old files have rope_theta and rope_scaling, new ones rope_parameters with both in it."""
    given = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(given, dict):
        raise UserError(
            f"rope_scaling = {reprlib.repr(given)} is not an object", where=values.where
        )
    scaling = _Values(given, values.where)
    theta = scaling.number("rope_theta", values.number("rope_theta", 10_000.0, above=1), above=1)
    if scaling.number("partial_rotary_factor", values.number("partial_rotary_factor", 1.0)) != 1:
        raise UserError("partial_rotary_factor is not supported", where=values.where)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind not in ROPE_SCALINGS:
        raise UserError(
            f"rope_type {reprlib.repr(kind)} is not supported",
            where=values.where,
            mend="known are default, " + ", ".join(ROPE_SCALINGS),
        )
    stretch: dict[str, Any] = {"rope_type": kind, "factor": scaling.number("factor", above=0)}
    if kind == "llama3":
        stretch["low_freq_factor"] = low = scaling.number("low_freq_factor", above=0)
        stretch["high_freq_factor"] = scaling.number("high_freq_factor", above=low)
    if kind in ("llama3", "yarn") and scaling.get("original_max_position_embeddings") is not None:
        key = "original_max_position_embeddings"
        stretch[key] = scaling.integer(key)
    if kind == "yarn":
        for key in ("beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim"):
            if scaling.get(key):
                stretch[key] = scaling.number(key, above=0)
        if scaling.get("truncate") is not None:
            stretch["truncate"] = scaling.truth("truncate", True)
    return theta, stretch


def _windows(values: _Values, family: Family, layers: int) -> tuple[int | None, tuple[int, ...]]:
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
    kinds = values.get("layer_types") or [
        "sliding_attention" if layer >= first else "full_attention" for layer in range(layers)
    ]
    known = ("sliding_attention", "full_attention")
    if not isinstance(kinds, list) or any(kind not in known for kind in kinds):
        raise values.wrong("layer_types", "a list of " + " and ".join(known))
    if len(kinds) != layers:
        raise UserError(
            f"layer_types has {len(kinds)} entries for {layers} layers", where=values.where
        )
    windowed = tuple(layer for layer, kind in enumerate(kinds) if kind == "sliding_attention")
    return values.integer("sliding_window"), windowed


def class_name(family: Family, head: Head = "language") -> str:
    """What transformers calls a model of this family with this head."""
    if family == "gpt2" and head == "language":
        return "GPT2LMHeadModel"
    return NAMES[family] + HEADS[head]


def write_config(
    config: TransformerConfig, dtype: str = "float32", head: Head = "language"
) -> dict[str, Any]:
    """What config.json holds for this model; Hugging Face's older words, which all tools read."""
    common = {
        "architectures": [class_name(config.family, head)],
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
        "attention_dropout": 0.0,
    }
    if config.family == "mistral":
        return values | {"sliding_window": config.window}
    if config.family in ("llama", "qwen3"):
        values["attention_bias"] = config.attention_bias
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
