"""The config of a Transformer. GPT-2, Llama, BERT and T5 are values of it, not classes."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from nextword.errors import UserError

# By Hugging Face's model_type.
DecoderFamily = Literal["gpt2", "llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma3_text"]
EncoderFamily = Literal["modernbert", "bert", "roberta", "xlm-roberta", "distilbert"]
EncoderDecoderFamily = Literal["t5", "mt5"]
Family = Literal[DecoderFamily, EncoderFamily, EncoderDecoderFamily]
DECODERS: tuple[Family, ...] = get_args(DecoderFamily)
ENCODERS: tuple[Family, ...] = get_args(EncoderFamily)
ENCODER_DECODERS: tuple[Family, ...] = get_args(EncoderDecoderFamily)
FAMILIES: tuple[Family, ...] = DECODERS + ENCODERS + ENCODER_DECODERS
GATED = ("swiglu", "geglu", "geglu_tanh")  # the feed-forward network has a second, gating matrix
ROPE_SCALINGS = ("linear", "llama3", "yarn")


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of a model. Lengths are in tokens.

    Norms stand before attention and before the feed-forward network; with `post_norm` after each
    addition to the residual stream instead (Vaswani et al. 2017), with `output_norm` also after
    each of the two, before the addition (Gemma 2). Their weights are one more than what is stored
    with `unit_offset` (Gemma).

    `rope_scaling` extends rotary positions beyond the context trained on: {"rope_type": "linear",
    "factor": 4.0} and so on, with Hugging Face's keys. In the `windowed_layers` a token sees only
    tokens less than `window` away, and where `local_rope_theta` is given, rotary positions use it
    and `local_rope_scaling`. The `unrotated_layers` have no positions at all (SmolLM3; Yang et al.
    2025). `attention_bias` is that of queries, keys and values, `output_bias` that of attention's
    output.

    An encoder is not `causal`. With `transform`, a masked language model has a linear map, the
    activation and a norm before its output head; a classifier made of it begins with that, or with
    a `pooler` of its own. An encoder–decoder has `decoder_layers`; `layers` are then the encoder's,
    and both stacks share the config but for `causal` and `cross` (attention to the encoder's
    states).

    Raises UserError where the numbers do not fit together.
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
    unit_offset: bool = False
    post_norm: bool = False
    output_norm: bool = False
    first_norm: bool = True  # before the first layer's attention
    embedding_norm: bool = False
    scaled_embedding: bool = False  # by the root of the width (Vaswani et al. 2017, 3.4)
    positions: Literal["learned", "rotary", "relative"] = "rotary"
    position_offset: int = 0  # entries of learned positions before that of the first token
    relative_buckets: int = 32
    relative_distance: int = 128  # all distances from here on share one bucket
    token_types: int = 0
    rope_theta: float = 10_000.0
    local_rope_theta: float | None = None
    rope_scaling: dict[str, Any] | None = field(default=None, hash=False)
    local_rope_scaling: dict[str, Any] | None = field(default=None, hash=False)
    unrotated_layers: tuple[int, ...] = ()
    mlp: Literal["gelu_tanh", "gelu", "relu", "swiglu", "geglu", "geglu_tanh"] = "swiglu"
    qk_norm: bool = False
    attention_bias: bool = False
    attention_scale: float | None = None  # of the scores; 1 / sqrt(head_width) if not given
    output_bias: bool = False
    mlp_bias: bool = False
    transform: bool = False
    transform_bias: bool = True
    pooler: Literal["tanh", "relu"] | None = None  # the activation of a layer before the scores
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
    start_id: int | None = None  # the token that an encoder–decoder's target begins with
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
                f"rotary positions rotate pairs of numbers, and a head is {self.head_width} wide",
                mend="choose heads so that width / heads is even",
            )
        for scaling in (self.rope_scaling, self.local_rope_scaling):
            kind = (scaling or {"rope_type": "linear"}).get("rope_type")
            if kind not in ROPE_SCALINGS:
                known = "known are " + ", ".join(ROPE_SCALINGS)
                raise UserError(f"rope_type {kind!r} is not known", mend=known)

    @property
    def gated(self) -> bool:
        return self.mlp in GATED

    @property
    def query_width(self) -> int:
        return self.heads * self.head_width

    @property
    def key_width(self) -> int:
        return self.kv_heads * self.head_width

    @property
    def qkv_rows(self) -> list[int]:
        """The rows of queries, keys and values in their fused matrix."""
        return [self.query_width, self.key_width, self.key_width]

    @property
    def is_generative(self) -> bool:
        """Whether it generates text: a decoder, alone or with an encoder."""
        return self.causal or self.decoder_layers > 0

    @property
    def context_limit(self) -> int:
        """The most tokens that can be seen at once. Relative positions have no limit: for them
        `context_length` is only the length trained on."""
        return sys.maxsize if self.positions == "relative" else self.context_length

    def window_of(self, layer: int) -> int | None:
        """Return the window of a layer in tokens, None for no limit."""
        return self.window if layer in self.windowed_layers else None


def parameter_count(config: TransformerConfig) -> int:
    """Return the number of parameters; a tied head counts once."""
    width = config.width
    norm = width * (2 if config.norm == "layernorm" and config.norm_bias else 1)
    queries, keys = config.query_width, config.key_width
    attention = (
        2 * width * (queries + keys)
        + config.attention_bias * (queries + 2 * keys)
        + config.output_bias * width
        + config.qk_norm * 2 * config.head_width
    )
    inner = config.mlp_width * (2 if config.gated else 1)
    mlp = width * (inner + config.mlp_width) + config.mlp_bias * (inner + width)
    norms = (4 if config.output_norm else 2) * norm
    blocks = config.layers * (attention + mlp + norms) - (0 if config.first_norm else norm)
    blocks += config.decoder_layers * (2 * attention + mlp + 3 * norm)
    embeddings = width * (
        config.vocab_size * (1 if config.tied else 2)
        + config.token_types
        + (config.positions == "learned") * (config.position_offset + config.context_length)
    )
    stacks = 2 if config.decoder_layers else 1
    if config.positions == "relative":
        embeddings += stacks * config.relative_buckets * config.heads
    others = config.vocabulary_bias * config.vocab_size + config.embedding_norm * norm
    others += config.transform * (width * width + norm + config.transform_bias * width)
    return embeddings + blocks + others + (not config.post_norm) * stacks * norm


def divisors(number: int) -> list[int]:
    """Return the divisors of a positive number, ascending."""
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})
