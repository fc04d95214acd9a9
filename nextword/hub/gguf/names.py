"""What GGUF files call the tensors of a model, and how their rows are stored there.

llama.cpp has its own names, keeps GPT-2's matrices the usual way round, and interleaves the rows of
Llama's queries and keys, because it rotates neighbouring numbers where Hugging Face rotates halves.
The weights of Gemma's norms are there what values are multiplied by, here their distance from 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.hub.families import FORMATS
from nextword.models.config import Family

# llama.cpp's name of an architecture, and ours. Mistral's models are Llamas there.
ARCHITECTURES: dict[str, Family] = {
    "gpt2": "gpt2",
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "smollm3": "smollm3",
    "gemma3": "gemma3_text",
}
TOP = {
    "embedding": "token_embd",
    "positions": "position_embd",
    "norm": "output_norm",
    "head": "output",
}
BLOCK = {
    "attention_norm": "attn_norm",
    "attention.query_norm": "attn_q_norm",
    "attention.key_norm": "attn_k_norm",
    "attention.output": "attn_output",
    "attention_output_norm": "post_attention_norm",
    "mlp_norm": "ffn_norm",
    "mlp_output_norm": "post_ffw_norm",
    "mlp.output": "ffn_down",
}
SPLIT = {"attention.qkv": "attn_q attn_k attn_v", "mlp.input": "ffn_gate ffn_up"}
FUSED = {"attention.qkv": "attn_qkv", "mlp.input": "ffn_up"}
BLOCKS = "blk."
ROPE_FACTORS = "rope_freqs.weight"  # by which Llama 3.1 slows the rotation of each pair
_IN_BLOCK = re.compile(r"blk\.(\d+)\.(.+)\.(weight|bias)")


@dataclass(frozen=True)
class Layout:
    """How a tensor is stored: its two dimensions `transposed`, its rows interleaved within each of
    so many `heads` (0 for neither), or all its numbers larger by a `shift`."""

    transposed: bool = False
    heads: int = 0
    shift: int = 0

    def to_hub(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a GGUF file's values as Hugging Face stores them."""
        if self.shift:
            values = values - np.float32(self.shift)
        if self.heads:  # [heads, pairs, 2, …] to [heads, 2, pairs, …]
            split = values.reshape(self.heads, -1, 2, *values.shape[1:])
            values = split.swapaxes(1, 2).reshape(values.shape)
        return np.ascontiguousarray(values.T) if self.transposed else values

    def to_gguf(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what Hugging Face stores as a GGUF file has it."""
        if self.transposed:
            values = np.ascontiguousarray(values.T)
        if self.heads:
            split = values.reshape(self.heads, 2, -1, *values.shape[1:])
            values = split.swapaxes(1, 2).reshape(values.shape)
        return values + np.float32(self.shift) if self.shift else values


def hub_name(family: Family, name: str) -> str | None:
    """Return Hugging Face's name of a GGUF file's tensor; None for one that is no weight of such a
    model."""
    module, _, kind = name.rpartition(".")
    form = FORMATS[family]
    for ours, theirs in TOP.items():
        if module == theirs and ours in form.top:
            return f"{form.top[ours]}.{kind}"
    if (found := _IN_BLOCK.fullmatch(name)) is None:
        return None
    layer, part, kind = found.groups()
    hub = {theirs: ours for ours, theirs in _parts(family).items()}.get(part)
    return hub and f"{form.blocks}{int(layer)}.{hub}.{kind}"


def gguf_name(family: Family, name: str) -> str:
    """Return the name in a GGUF file of a tensor that Hugging Face calls `name`. Raises KeyError
    for one that has none."""
    module, _, kind = name.rpartition(".")
    form = FORMATS[family]
    if module.startswith(form.blocks):
        layer, _, part = module.removeprefix(form.blocks).partition(".")
        return f"{BLOCKS}{layer}.{_parts(family)[part]}.{kind}"
    top = {form.top[ours]: theirs for ours, theirs in TOP.items() if ours in form.top}
    return f"{top[module]}.{kind}"


def layout(family: Family, name: str, heads: int, kv_heads: int) -> Layout:
    """Return how the tensor that Hugging Face calls `name` is stored in a GGUF file."""
    if family == "gpt2":
        return Layout(transposed=".c_" in name and name.endswith(".weight"))
    if family == "gemma3_text":
        return Layout(shift=int(name.endswith("norm.weight")))
    if family in ("llama", "mistral", "smollm3"):
        return Layout(heads=heads * (".q_proj." in name) or kv_heads * (".k_proj." in name))
    return Layout()


def _parts(family: Family) -> dict[str, str]:
    """Return Hugging Face's names of the modules of a block, with those of a GGUF file."""
    known = BLOCK | (FUSED if family == "gpt2" else SPLIT)
    parts: dict[str, str] = {}
    for ours, theirs in FORMATS[family].block.items():
        parts |= zip(theirs.split(), known[ours].split(), strict=True)
    return parts
