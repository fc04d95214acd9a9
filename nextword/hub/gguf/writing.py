"""A model and its tokenizer written as a GGUF file, for llama.cpp and what is built on it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.files import PARTIAL
from nextword.hub.gguf.config_fields import (
    ACTIVATIONS,
    LAYERS,
    implied_fields,
    rope_factors,
    write_config_fields,
)
from nextword.hub.gguf.names import ARCHITECTURES, ROPE_FACTORS, gguf_name, layout
from nextword.hub.gguf.tokenizer_writing import TextEnds, tokenizer_fields
from nextword.hub.weight_map import model_tensors
from nextword.models.config import TransformerConfig
from nextword.models.encoder_decoder import GenerativeModel
from nextword.tokens.tokenizer import Tokenizer

Quantization = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
FILE_TYPES: dict[Quantization, str] = {
    "f32": "ALL_F32",
    "f16": "MOSTLY_F16",
    "bf16": "MOSTLY_BF16",
    "q8_0": "MOSTLY_Q8_0",
    "q4_0": "MOSTLY_Q4_0",
}
GROUP = 32  # numbers that share a scale where they are quantised
GEMMA3_LOCAL_THETA = 10_000.0
PLAIN = ("position_embd.weight", ROPE_FACTORS)  # read as fp32 by llama.cpp
SCORED = ("token_embd.weight", "output.weight")  # 4 bits of these would cost the most


def write_gguf(
    path: Path,
    model: GenerativeModel,
    tokenizer: Tokenizer,
    ends: TextEnds,
    quantization: Quantization = "f16",
    name: str = "model",
) -> dict[str, int]:
    """Write a decoder as a GGUF file, or nothing; return how many tensors have which type.

    Vectors stay fp32. With "q4_0" the embedding and the output head are q8_0, and a matrix whose
    rows do not divide into groups of 32 is f16. Raises UserError for a model or a tokenizer that
    llama.cpp would read otherwise, and for weights too large for f16; OSError where the disk is
    full.
    """
    import gguf

    config = model.config
    architecture = architecture_of(config)
    aside = path.with_name(f".{path.name}{PARTIAL}")
    writer = gguf.GGUFWriter(aside, architecture)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[FILE_TYPES[quantization]])
    if quantization.startswith("q"):
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add(writer, architecture, write_config_fields(config, architecture))
    _add(writer, "tokenizer.ggml", tokenizer_fields(tokenizer, config.vocab_size, ends))
    if ends.template:
        writer.add_chat_template(ends.template)
    kinds: dict[str, int] = {}
    for tensor, values in _tensors(model):  # their numbers are written one after another below
        kind = _type_of(tensor, values.shape, quantization)
        kinds[kind] = kinds.get(kind, 0) + 1
        stored = gguf.GGMLQuantizationType[kind]
        size = gguf.GGML_QUANT_SIZES[stored]
        count = values.size // size[0] * size[1]
        writer.add_tensor_info(tensor, values.shape, np.dtype(np.float32), count, stored)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor, values in _tensors(model):
            kind = _type_of(tensor, values.shape, quantization)
            writer.write_tensor_data(_quantized(tensor, values, kind))
        writer.flush()
        writer.close()
        os.replace(aside, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # it writes what is left
            writer.close()
        aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is None:  # numpy's, of a write cut short
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
        raise
    return kinds


def architecture_of(config: TransformerConfig) -> str:
    """Return llama.cpp's name of a model's architecture. Raises UserError where it would compute
    something else."""
    kind = "encoder–decoder" if config.decoder_layers else "encoder"
    if config.decoder_layers or not config.causal:
        raise UserError(f"is an {kind} ({config.family}): only decoders are exported to GGUF")
    names = {ours: theirs for theirs, ours in ARCHITECTURES.items()} | {"mistral": "llama"}
    family = names[config.family]
    window = min((w for w in map(config.window_of, range(config.layers)) if w), default=None)
    is_narrow = window is not None and window < config.context_length
    problems = {
        f"a sliding window of {window} tokens": is_narrow and family != "gemma3",
        f"the activation {config.mlp}": config.mlp != ACTIVATIONS.get(config.family, "swiglu"),
        "biases in attention": family in ("qwen3", "smollm3", "gemma3") and config.attention_bias,
        **_other_than_implied(config),
        "rotary positions scaled by yarn with factors of its own": any(
            key in (config.rope_scaling or {})
            for key in ("attention_factor", "mscale", "mscale_all_dim")
        ),
    }
    for what, is_so in problems.items():
        if is_so:
            raise UserError(f"has {what}, which llama.cpp does not have in a {family} model")
    return family


def _other_than_implied(config: TransformerConfig) -> dict[str, bool]:
    """Return what a Gemma 3 or a SmolLM3 may have that llama.cpp takes for granted otherwise."""
    if config.family not in LAYERS:
        return {}
    implied = implied_fields(config.family, vars(config), config.window or 0)
    names = {
        "window": "windows in all layers but these",
        "windowed_layers": "windows in other layers than every sixth's five before it",
        "unrotated_layers": "positions in other layers than all but every fourth",
        "attention_scale": "attention scores of another scale",
    }
    found = {names[key]: getattr(config, key) != value for key, value in implied.items()}
    if config.family == "gemma3_text" and config.windowed_layers:
        found["other rotary positions in layers with a window"] = (
            config.local_rope_theta != GEMMA3_LOCAL_THETA or config.local_rope_scaling is not None
        )
    return found


def _add(writer: Any, prefix: str, fields: dict[str, Any]) -> None:
    """Add fields by the types of their values."""
    for key, value in fields.items():
        name = f"{prefix}.{key}"
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        else:
            writer.add_array(name, value)


@torch.no_grad()
def _tensors(model: GenerativeModel) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the name of each tensor in a GGUF file and its numbers as they are stored there."""
    config, parameters = model.config, dict(model.named_parameters())
    for piece in model_tensors(model):
        rows = parameters[piece.parameter][piece.rows].detach().float().cpu()
        hub = (rows.t() if piece.transposed else rows).contiguous().numpy()
        stored = layout(config.family, piece.name, config.heads, config.kv_heads)
        yield gguf_name(config.family, piece.name), stored.to_gguf(hub)
    if (factors := rope_factors(config)) is not None:
        yield ROPE_FACTORS, factors


def _type_of(name: str, shape: tuple[int, ...], quantization: Quantization) -> str:
    if len(shape) < 2 or name in PLAIN:
        return "F32"
    if not quantization.startswith("q"):
        return quantization.upper()
    if shape[-1] % GROUP:
        return "F16"
    return "Q8_0" if name in SCORED else quantization.upper()


def _quantized(name: str, values: NDArray[np.float32], kind: str) -> NDArray[Any]:
    import gguf

    largest = np.abs(values).max(initial=0.0)
    if not np.isfinite(largest) or (kind == "F16" and largest > np.finfo(np.float16).max):
        raise UserError(f"tensor {name!r} holds {largest:g}, too large for {kind}")
    quantized: NDArray[Any] = gguf.quantize(values, gguf.GGMLQuantizationType[kind])
    return np.ascontiguousarray(quantized)
