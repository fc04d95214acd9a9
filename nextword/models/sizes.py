"""Named sizes: settings to a config, and the floating-point operations of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nextword.errors import UserError, nearest
from nextword.models.config import ENCODER_DECODERS, GATED, Family, TransformerConfig, divisors
from nextword.settings import ModelSettings

DEFAULT_SIZE = "10m"
DEFAULT_CONTEXT = 1024
HEAD_WIDTHS = (64, 32, 128, 96, 80, 48, 40, 16, 8)  # tried in this order
# The window of a new encoder's local layers, in tokens. With ModernBERT's own 65 it takes thousands
# of steps to learn that neighbours matter most.
LOCAL_WINDOW = 4
WIDTH_A_LAYER = 64  # Kaplan et al. 2020: loss hardly depends on the shape near this


@dataclass(frozen=True)
class Size:
    """A shape, named by its number of parameters with a vocabulary of `vocab_size`."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    vocab_size: int
    mlp_width: int | None = None


SIZES: dict[str, Size] = {
    "0.15m": Size(2, 64, 2, 2, 640),
    "0.5m": Size(4, 96, 3, 3, 1024),
    "1m": Size(4, 128, 2, 2, 2048),
    "2m": Size(4, 192, 3, 3, 2048),
    "5m": Size(5, 256, 4, 4, 4096),
    "10m": Size(7, 320, 5, 5, 4096),
    "20m": Size(7, 448, 7, 7, 8192),
    "50m": Size(10, 576, 9, 9, 16384),
    "100m": Size(12, 768, 12, 4, 32768),
    "200m": Size(16, 1024, 16, 4, 32768),
    "300m": Size(24, 1024, 16, 4, 32768),
    "500m": Size(24, 1280, 20, 5, 65536),
    "1b": Size(26, 1792, 28, 7, 65536),
    "1.5b": Size(28, 2048, 16, 8, 65536, 6144),
    "gpt2": Size(12, 768, 12, 12, 50257),
    "gpt2-medium": Size(24, 1024, 16, 16, 50257),
    "gpt2-large": Size(36, 1280, 20, 20, 50257),
    "gpt2-xl": Size(48, 1600, 25, 25, 50257),
}

# Whose heads may share keys and values.
GROUPED_QUERY = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma3_text")
BIASED = dict.fromkeys(("attention_bias", "output_bias", "mlp_bias"), True)
BERT: dict[str, Any] = BIASED | {
    "norm": "layernorm",
    "norm_epsilon": 1e-12,
    "post_norm": True,
    "embedding_norm": True,
    "positions": "learned",
    "token_types": 2,
    "mlp": "gelu",
    "transform": True,
    "pooler": "tanh",
    "vocabulary_bias": True,
    "causal": False,
}
ROBERTA = BERT | {"position_offset": 2, "token_types": 1, "norm_epsilon": 1e-5}
T5: dict[str, Any] = {
    "norm_epsilon": 1e-6,
    "positions": "relative",
    "mlp": "geglu_tanh",
    "attention_scale": 1.0,
    "tied": False,
    "causal": False,
    "start_id": 0,
}
STYLES: dict[Family, dict[str, Any]] = {
    "gpt2": BIASED
    | {"norm": "layernorm", "norm_epsilon": 1e-5, "positions": "learned", "mlp": "gelu_tanh"},
    "llama": {"norm_epsilon": 1e-5},
    "mistral": {"norm_epsilon": 1e-5},
    "qwen2": {"norm_epsilon": 1e-6, "attention_bias": True},
    "qwen3": {"norm_epsilon": 1e-6, "qk_norm": True},
    "smollm3": {"norm_epsilon": 1e-6, "rope_theta": 2_000_000.0},
    "gemma3_text": {
        "norm_epsilon": 1e-6,
        "unit_offset": True,
        "output_norm": True,
        "scaled_embedding": True,
        "qk_norm": True,
        "mlp": "geglu_tanh",
        "rope_theta": 1_000_000.0,
        "local_rope_theta": 10_000.0,
    },
    "modernbert": {
        "norm": "layernorm",
        "norm_bias": False,
        "norm_epsilon": 1e-5,
        "first_norm": False,
        "embedding_norm": True,
        "attention_bias": True,
        "output_bias": True,
        "mlp": "geglu",
        "rope_theta": 160_000.0,
        "local_rope_theta": 10_000.0,
        "transform": True,
        "transform_bias": False,
        "vocabulary_bias": True,
        "causal": False,
    },
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "distilbert": BERT | {"token_types": 0, "pooler": "relu"},
    "t5": T5,
    "mt5": T5,
}


def config_for(settings: ModelSettings, vocab_size: int) -> TransformerConfig:
    """Return the config of a named size, changed by any dimension given beside it.

    GPT-2's sizes are of its family unless another is given. Raises UserError where dimensions do
    not fit together.
    """
    family: Family = settings.family or "qwen3"
    if settings.family is None and settings.size and settings.size.startswith("gpt2"):
        family = "gpt2"
    size = _size(settings)
    layers, width = settings.layers or size.layers, settings.width or size.width
    if family in ENCODER_DECODERS and not settings.layers:
        layers = -(-layers // 2)  # of each stack
    if settings.width is None and settings.size is None and settings.layers:
        width = WIDTH_A_LAYER * layers
    heads = settings.heads or (size.heads if width == size.width else _heads(width))
    if width % heads:
        raise UserError(
            f"width {width} is not divisible by {heads} heads",
            mend=f"try --heads {min(divisors(width), key=lambda n: abs(n - heads))}"
            f" or --width {heads * max(1, round(width / heads))}",
        )
    kv_heads = settings.kv_heads or (size.kv_heads if heads == size.heads else heads)
    if family not in GROUPED_QUERY:
        if settings.kv_heads not in (None, heads):
            raise UserError(
                f"{family} has a key/value head for every head, not {kv_heads} for {heads}",
                mend="leave out --kv-heads or choose --family llama or qwen3",
            )
        kv_heads = heads
    style = STYLES[family]
    if family == "modernbert":  # every third layer sees the whole text, the others near tokens
        local = tuple(layer for layer in range(layers) if layer % 3)
        style = style | {"window": LOCAL_WINDOW, "windowed_layers": local}
    return TransformerConfig(
        family=family,
        vocab_size=vocab_size,
        context_length=settings.context_length or DEFAULT_CONTEXT,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=width // heads,
        mlp_width=settings.mlp_width or _mlp_width(size, width, style.get("mlp", "swiglu")),
        dropout=settings.dropout,
        decoder_layers=layers if family in ENCODER_DECODERS else 0,
        **style | {"tied": style.get("tied", True) if settings.tied is None else settings.tied},
    )


def _size(settings: ModelSettings) -> Size:
    name = (settings.size or DEFAULT_SIZE).lower()
    if name not in SIZES:
        raise UserError(f"size {settings.size!r} is not known", mend=nearest(name, SIZES))
    size = SIZES[name]
    if settings.size is None and settings.width and not settings.layers:
        layers = max(1, round(settings.width / WIDTH_A_LAYER))
        return Size(layers, size.width, size.heads, size.kv_heads, size.vocab_size)
    return size


def _heads(width: int) -> int:
    """Return a number of heads of a usual width, 1 where none divides the model's."""
    for head_width in HEAD_WIDTHS:
        if width % head_width == 0 and width // head_width > 1:
            return width // head_width
    return 1


def _mlp_width(size: Size, width: int, mlp: str) -> int:
    """Return four times the width; two thirds of that with a gate's third matrix (Shazeer 2020)."""
    if mlp not in GATED:
        return 4 * width
    if size.mlp_width and width == size.width:
        return size.mlp_width
    multiple = 64 if width >= 256 else 32
    return -(-8 * width // (3 * multiple)) * multiple


def flops_per_token(config: TransformerConfig, context: int, scored: float = 1.0) -> float:
    """Return the floating-point operations to train on one token, forward and backward.

    Six for each weight of a matrix product, and those of attention: over half the context on
    average, in an encoder over all of it, or over the window where that is shorter (Chowdhery et
    al. 2022, appendix B, who count all of it). `scored` is the fraction of tokens whose vocabulary
    is scored; an encoder–decoder's targets are that fraction of its source.
    """
    if config.decoder_layers:
        return flops_per_pair(config, context, scored * context) / context
    weights = config.layers * block_weights(config) + scored * config.vocab_size * config.width
    fraction, sides = (0.5, 1) if config.causal else (1.0, 2)
    seen = sum(
        min(context * fraction, sides * (config.window_of(layer) or context))
        for layer in range(config.layers)
    )
    return 6.0 * weights + 12.0 * config.query_width * seen


def flops_per_pair(config: TransformerConfig, source: float, target: float) -> float:
    """Return the floating-point operations to train an encoder–decoder on a pair of a `source` and
    a `target` of so many tokens."""
    queries, keys = config.query_width, config.key_width
    block, width = block_weights(config), config.width
    encoding = config.layers * block + config.decoder_layers * 2 * width * keys
    decoding = config.decoder_layers * (block + 2 * width * queries) + config.vocab_size * width
    seen = config.layers * source**2 + config.decoder_layers * target * (target / 2 + source)
    return 6.0 * (source * encoding + target * decoding) + 12.0 * queries * seen


def block_weights(config: TransformerConfig) -> int:
    """Return the number of weights in a block's matrices, cross-attention left out."""
    matrices = 3 if config.gated else 2
    attention = 2 * (config.query_width + config.key_width)
    return config.width * (attention + matrices * config.mlp_width)
