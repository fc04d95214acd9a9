"""A GGUF file's fields to TransformerConfig and back: llama.cpp's names of a model's numbers."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.hub.gguf.fields import Fields
from nextword.hub.gguf.names import ARCHITECTURES
from nextword.models.attention import rotary_frequencies
from nextword.models.config import Family, TransformerConfig
from nextword.models.sizes import STYLES

EPSILONS = {
    "layernorm": "attention.layer_norm_epsilon",
    "rmsnorm": "attention.layer_norm_rms_epsilon",
}
# What makes other computations of a known architecture; ignoring it would give wrong results.
UNSUPPORTED = (
    "expert_count",
    "attention.scale",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "use_parallel_residual",
)
ROPE_KEYS = {"beta_fast": "yarn_beta_fast", "beta_slow": "yarn_beta_slow"}
# Of Llama 3.1 and later; the files hold only the factors that come of them.
LLAMA3 = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
ACTIVATIONS = {"gpt2": "gelu_tanh", "gemma3_text": "geglu_tanh"}  # all others: swiglu
WINDOW = "attention.sliding_window"


LAYERS: dict[Family, int] = {"smollm3": 4, "gemma3_text": 6}  # every so many one is different
GEMMA3_27B = 62  # layers, by which llama.cpp knows that it scales scores in another way


def family_of(fields: Fields) -> Family:
    """Return the family of a file's model. Raises UserError for an unknown architecture."""
    architecture = fields.get("general.architecture", str)
    if architecture not in ARCHITECTURES:
        raise UserError(
            f"is a model of the architecture {architecture!r}, which is not supported",
            where=fields.where,
            mend="of GGUF files those are read: " + ", ".join(ARCHITECTURES),
        )
    return ARCHITECTURES[architecture]


def read_config_fields(
    fields: Fields,
    shapes: dict[str, tuple[int, ...]],
    rope_factors: NDArray[np.float32] | None = None,
) -> TransformerConfig:
    """Return the config of a file's model.

    `shapes` are those of its tensors by their names there, and `rope_factors` what Llama 3.1's
    rotations are divided by, [head / 2]. Raises UserError for a field that is missing, of a wrong
    type, or of something that is not supported.
    """
    family = family_of(fields)
    prefix = fields.get("general.architecture", str)
    for key in (*UNSUPPORTED, *([] if family == "gemma3_text" else [WINDOW])):
        if value := fields.values.get(f"{prefix}.{key}"):
            raise UserError(f"{prefix}.{key} = {value} is not supported", where=fields.where)
    style = STYLES[family]

    def count(key: str, default: int | None = None) -> int:
        return fields.get(f"{prefix}.{key}", int, default)

    width, heads = count("embedding_length"), count("attention.head_count")
    if min(width, heads) < 1:
        raise UserError(f"describes {heads} heads of width {width}", where=fields.where)
    head_width = count("attention.key_length", width // heads)
    if count("attention.value_length", head_width) != head_width:
        raise UserError("has values wider or narrower than its keys", where=fields.where)
    if count("rope.dimension_count", head_width) != head_width and family != "gpt2":
        raise UserError(
            "rotates only part of each head, which is not supported", where=fields.where
        )
    embedding = shapes.get("token_embd.weight", (0,))
    ours: dict[str, Any] = {
        "vocab_size": embedding[0],
        "context_length": count("context_length"),
        "layers": count("block_count"),
        "width": width,
        "heads": heads,
        "kv_heads": count("attention.head_count_kv", heads),
        "head_width": head_width,
        "mlp_width": count("feed_forward_length"),
        "norm_epsilon": fields.get(f"{prefix}.{EPSILONS[style.get('norm', 'rmsnorm')]}", float),
        "tied": "output.weight" not in shapes,
    }
    if family != "gpt2":
        ours |= _read_rope(fields, prefix, ours, rope_factors) | _read_biases(shapes)
    if family in LAYERS:
        window = count(WINDOW, 0) if family == "gemma3_text" else 0
        ours |= implied_fields(family, ours, window)
    return _checked(family, style | ours, fields.where)


def implied_fields(family: Family, shape: dict[str, Any], window: int) -> dict[str, Any]:
    """Return the fields of a Gemma 3's or a SmolLM3's config that no GGUF file holds, because
    llama.cpp derives them from the model's `shape` and its `window` (0 for none)."""
    layers, every = shape["layers"], LAYERS[family]
    others = [layer for layer in range(layers) if (layer + 1) % every]
    if family == "smollm3":
        return {"unrotated_layers": tuple(n for n in range(layers) if n not in others)}
    windowed = tuple(others) if window else ()
    largest = layers == GEMMA3_27B
    return {
        "window": window if windowed else None,
        "windowed_layers": windowed,
        "attention_scale": (shape["width"] / shape["heads"]) ** -0.5 if largest else None,
    }


def write_config_fields(config: TransformerConfig, architecture: str) -> dict[str, Any]:
    """Return the fields that describe a model, without the architecture's name before them."""
    epsilon = EPSILONS[config.norm]
    fields: dict[str, Any] = {
        "context_length": config.context_length,
        "embedding_length": config.width,
        "block_count": config.layers,
        "feed_forward_length": config.mlp_width,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        epsilon: float(config.norm_epsilon),
        "vocab_size": config.vocab_size,
    }
    if architecture == "gpt2":
        return fields
    fields |= {
        "attention.key_length": config.head_width,
        "attention.value_length": config.head_width,
        "rope.dimension_count": config.head_width,
        "rope.freq_base": float(config.rope_theta),
    }
    if config.window is not None:
        fields[WINDOW] = config.window
    scaling = config.rope_scaling or {}
    if scaling.get("rope_type") in ("linear", "yarn"):
        fields["rope.scaling.type"] = scaling["rope_type"]
        fields["rope.scaling.factor"] = float(scaling["factor"])
    if scaling.get("rope_type") == "yarn":
        trained = scaling.get("original_max_position_embeddings") or config.context_length
        fields["rope.scaling.original_context_length"] = trained
        for ours, theirs in ROPE_KEYS.items():
            if ours in scaling:
                fields[f"rope.scaling.{theirs}"] = float(scaling[ours])
    return fields


def rope_factors(config: TransformerConfig) -> NDArray[np.float32] | None:
    """Return what Llama 3.1's rotations are divided by, [head / 2]; None for other models."""
    scaling = config.rope_scaling or {}
    if scaling.get("rope_type") != "llama3":
        return None
    half = config.head_width // 2
    plain = 1.0 / config.rope_theta ** (np.arange(half, dtype=np.float32) / half)
    scaled, _ = rotary_frequencies(config)
    return (plain / scaled.numpy()).astype(np.float32)


def _read_rope(
    fields: Fields, prefix: str, ours: dict[str, Any], factors: NDArray[np.float32] | None
) -> dict[str, Any]:
    theta = fields.get(f"{prefix}.rope.freq_base", float, 10_000.0)
    if theta <= 1:
        raise UserError(f"{prefix}.rope.freq_base = {theta} is not above 1", where=fields.where)
    kind = fields.get(f"{prefix}.rope.scaling.type", str, "none")
    if factors is not None:
        return {"rope_theta": theta, "rope_scaling": _llama3(fields, ours, theta, factors)}
    if kind == "none":
        return {"rope_theta": theta, "rope_scaling": None}
    if kind not in ("linear", "yarn"):
        raise UserError(f"positions scaled by {kind!r} are not supported", where=fields.where)
    scaling: dict[str, Any] = {
        "rope_type": kind,
        "factor": fields.get(f"{prefix}.rope.scaling.factor", float),
    }
    if kind == "yarn":
        trained = f"{prefix}.rope.scaling.original_context_length"
        scaling["original_max_position_embeddings"] = fields.get(trained, int)
        for key, theirs in ROPE_KEYS.items():
            if (name := f"{prefix}.rope.scaling.{theirs}") in fields.values:
                scaling[key] = fields.get(name, float)
    return {"rope_theta": theta, "rope_scaling": scaling}


def _llama3(
    fields: Fields, ours: dict[str, Any], theta: float, factors: NDArray[np.float32]
) -> dict[str, Any]:
    """Return the scaling of Llama 3.1 that these factors come of, where there is one."""
    scaling = {"rope_type": "llama3", "factor": round(float(factors.max()), 3)} | LLAMA3
    config = TransformerConfig(
        family="llama", **ours | {"rope_theta": theta, "rope_scaling": scaling}
    )
    expected = rope_factors(config)
    if expected is None or expected.shape != factors.shape:
        raise UserError("has rotation factors of another shape than a head", where=fields.where)
    if not np.allclose(expected, factors, rtol=1e-4):
        what = "scales the rotation of its positions otherwise than Llama 3.1 does"
        raise UserError(f"{what}, which is not supported", where=fields.where)
    return scaling


def _read_biases(names: Collection[str]) -> dict[str, Any]:
    return {
        "attention_bias": "blk.0.attn_q.bias" in names,
        "output_bias": "blk.0.attn_output.bias" in names,
        "mlp_bias": "blk.0.ffn_up.bias" in names,
    }


def _checked(family: Family, values: dict[str, Any], where: Path) -> TransformerConfig:
    for name, value in values.items():
        if isinstance(value, int) and not 0 <= value < 2**31:
            raise UserError(f"{name} = {value} cannot be", where=where)
        if isinstance(value, float) and not 0 < value < math.inf:
            raise UserError(f"{name} = {value} cannot be", where=where)
    try:
        return TransformerConfig(**{"family": family} | values)
    except UserError as error:
        raise UserError(error.what, where=where) from None
