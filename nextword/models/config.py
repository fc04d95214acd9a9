"""What a Transformer is made of. GPT-2, Llama, Mistral and Qwen are values of this, not classes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from nextword.errors import UserError

Family = Literal["gpt2", "llama", "mistral", "qwen2", "qwen3"]
FAMILIES: tuple[Family, ...] = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
GATED = ("swiglu", "geglu")  # the feed-forward network has a second, gating matrix
ROPE_SCALINGS = ("linear", "llama3", "yarn")


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of a model. Widths are in numbers, lengths in tokens.

    `rope_scaling` stretches rotary positions beyond the context trained on: {"rope_type": "linear",
    "factor": 4.0} and so on, with the keys Hugging Face uses. `windowed_layers` are the layers in
    which a token sees only the last `window` tokens, itself among them. `attention_bias` is on
    queries, keys and values, `output_bias` on what attention gives.

    Raises UserError where the numbers do not fit each other.
    """

    family: Family
    vocab_size: int
    context_length: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    mlp_width: int
    norm: Literal["layernorm", "rmsnorm"] = "rmsnorm"
    norm_epsilon: float = 1e-6
    positions: Literal["learned", "rotary"] = "rotary"
    rope_theta: float = 10_000.0
    rope_scaling: dict[str, Any] | None = field(default=None, hash=False)
    mlp: Literal["gelu_tanh", "gelu", "relu", "swiglu", "geglu"] = "swiglu"
    qk_norm: bool = False
    attention_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    tied: bool = True
    window: int | None = None
    windowed_layers: tuple[int, ...] = ()
    dropout: float = 0.0
    causal: bool = True
    init_std: float = 0.02

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "layers", "width", "heads", "kv_heads"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} = {getattr(self, name)}: a model needs at least 1")
        if self.heads % self.kv_heads:
            raise UserError(
                f"{self.heads} heads cannot share {self.kv_heads} key/value heads equally",
                mend=f"let kv_heads be one of {divisors(self.heads)}",
            )
        if self.positions == "rotary" and self.head_width % 2:
            raise UserError(
                f"rotary positions turn pairs of numbers, and a head is {self.head_width} wide",
                mend="choose heads so that width / heads is even",
            )
        kind = (self.rope_scaling or {"rope_type": "linear"}).get("rope_type")
        if kind not in ROPE_SCALINGS:
            raise UserError(
                f"rope_type {kind!r} is not known", mend="known are linear, llama3, yarn"
            )

    @property
    def gated(self) -> bool:
        return self.mlp in GATED

    def window_of(self, layer: int) -> int | None:
        """How many tokens a token of this layer sees; None for all before it."""
        return self.window if layer in self.windowed_layers else None


def divisors(number: int) -> list[int]:
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})
