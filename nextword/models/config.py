"""What a Transformer is made of. GPT-2, Llama, BERT and T5 are values of this, not classes."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from typing import Any, Literal

from nextword.errors import UserError

Family = Literal[
    "gpt2", "llama", "mistral", "qwen2", "qwen3", "modernbert", "bert", "roberta", "t5"
]
DECODERS: tuple[Family, ...] = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
ENCODERS: tuple[Family, ...] = ("modernbert", "bert", "roberta")
ENCODER_DECODERS: tuple[Family, ...] = ("t5",)
FAMILIES: tuple[Family, ...] = DECODERS + ENCODERS + ENCODER_DECODERS
GATED = ("swiglu", "geglu", "geglu_tanh")  # the feed-forward network has a second, gating matrix
ROPE_SCALINGS = ("linear", "llama3", "yarn")


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of a model. Widths are in numbers, lengths in tokens.

    `rope_scaling` stretches rotary positions beyond the context trained on: {"rope_type": "linear",
    "factor": 4.0} and so on, with the keys Hugging Face uses. `windowed_layers` are the layers in
    which a token sees only tokens less than `window` away, and whose rotary positions turn by
    `local_rope_theta`. `attention_bias` is on queries, keys and values, `output_bias` on what
    attention gives.

    An encoder is not `causal`. Where tokens are predicted by more than a linear map, it is the
    `transform`: a linear map, the activation and a norm before it. An encoder–decoder has
    `decoder_layers`; its `layers` are the encoder's, and its config that of both stacks but for
    `causal` and `cross`, attention to what the encoder gives.

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
    norm_bias: bool = True
    post_norm: bool = False  # after each addition to the residual stream, not before each part
    first_norm: bool = True  # before the first layer's attention
    embedding_norm: bool = False
    positions: Literal["learned", "rotary", "relative"] = "rotary"
    position_offset: int = 0  # entries of learned positions before that of the first token
    relative_buckets: int = 32
    relative_distance: int = 128  # from here on all positions are one bucket
    token_types: int = 0
    rope_theta: float = 10_000.0
    local_rope_theta: float | None = None
    rope_scaling: dict[str, Any] | None = field(default=None, hash=False)
    mlp: Literal["gelu_tanh", "gelu", "relu", "swiglu", "geglu", "geglu_tanh"] = "swiglu"
    qk_norm: bool = False
    attention_bias: bool = False
    attention_scale: float | None = None  # of the scores; 1 / sqrt(head_width) if not given
    output_bias: bool = False
    mlp_bias: bool = False
    transform: bool = False
    transform_bias: bool = True
    vocabulary_bias: bool = False  # on the scores of the vocabulary
    vocabulary_scale: float = 1.0  # of the states that are scored
    tied: bool = True
    mean_pooling: bool = False  # an encoder's classifier reads the mean of all tokens' states
    window: int | None = None
    windowed_layers: tuple[int, ...] = ()
    dropout: float = 0.0
    causal: bool = True
    cross: bool = False
    decoder_layers: int = 0
    start_id: int | None = None  # the token before the first that an encoder–decoder writes
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

    @property
    def writes(self) -> bool:
        """Whether it writes texts, as a decoder does: alone, or at an encoder's side."""
        return self.causal or self.decoder_layers > 0

    @property
    def most_tokens(self) -> int:
        """The most that can be seen at once: no number where positions are relative, as these know
        no last one, and `context_length` is only what the model was trained on."""
        return sys.maxsize if self.positions == "relative" else self.context_length

    def window_of(self, layer: int) -> int | None:
        """How near tokens must be for one of this layer to see them; None for no limit."""
        return self.window if layer in self.windowed_layers else None


def divisors(number: int) -> list[int]:
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})
