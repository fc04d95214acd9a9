"""T5 (Raffel et al. 2020) in Hugging Face's words: config.json and the names of the weights.

Its first version ties the output head to the embedding and scales the states that are scored; v1.1
(Flan, mT5) does neither, and its feed-forward networks are gated.
"""

from __future__ import annotations

from typing import Any

from nextword.hub.values import Values, theirs
from nextword.models.config import TransformerConfig
from nextword.models.sizes import STYLES

ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gated-gelu": "geglu_tanh",  # theirs says gelu and means the approximation
    "gated-silu": "swiglu",
}
CONTEXT = 512  # tokens, in pretraining; relative positions know no end
INIT_STD = 0.02

# The embedding once more, and a bias that attention to a source has no use for.
TWICE = (
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "EncDecAttention.relative_attention_bias.weight",
)
OUTSIDE = {
    "embedding": "shared",
    "head": "lm_head",
    "score": "classification_head.out_proj",
    "span": "qa_outputs",
    "tag": "classifier",
}
STACKS = {
    "encoder.embedding": "shared",
    "encoder.norm": "encoder.final_layer_norm",
    "encoder.relative": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
    "decoder.norm": "decoder.final_layer_norm",
    "decoder.relative": "decoder.block.0.layer.0.SelfAttention.relative_attention_bias",
    "decoder.head": "lm_head",
}
ATTENTION = {"qkv": "q k v", "output": "o"}
MLP = {"input": "wi", "output": "wo"}
GATED_MLP = {"input": "wi_0 wi_1", "output": "wo"}


def read_t5(values: Values) -> TransformerConfig:
    """Whether head and embedding are tied is seen from the weights alone: the files say `true` of
    both kinds, and mean by it whether states are scaled."""
    width = values.integer("d_model", 512)
    heads, layers = values.integer("num_heads", 8), values.integer("num_layers", 6)
    tied = values.truth("tie_word_embeddings", True)
    start = values.get("decoder_start_token_id", values.get("pad_token_id", 0))
    if not isinstance(start, int) or isinstance(start, bool) or start < 0:
        raise values.wrong("decoder_start_token_id", "the number of a token")
    vocab_size = values.integer("vocab_size", 32128)
    if start >= vocab_size:
        raise values.wrong("decoder_start_token_id", f"below the vocabulary's {vocab_size:,}")
    return TransformerConfig(
        family="t5",
        vocab_size=vocab_size,
        context_length=values.integer("n_positions", CONTEXT),
        layers=layers,
        decoder_layers=values.integer("num_decoder_layers", layers),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=values.integer("d_kv", 64),
        mlp_width=values.integer("d_ff", 2048),
        dropout=values.share("dropout_rate", 0.1),
        init_std=INIT_STD,
        **STYLES["t5"]
        | {
            "norm_epsilon": values.number("layer_norm_epsilon", 1e-6, above=0),
            "mlp": values.one_of("feed_forward_proj", "relu", ACTIVATIONS),
            "relative_buckets": values.integer("relative_attention_num_buckets", 32),
            "relative_distance": values.integer("relative_attention_max_distance", 128),
            "tied": tied,
            "start_id": start,
            "vocabulary_scale": width**-0.5 if values.truth("scale_decoder_outputs", tied) else 1.0,
        },
    )


def write_t5(config: TransformerConfig) -> dict[str, Any]:
    scaled = config.vocabulary_scale != 1
    return {
        "d_model": config.width,
        "d_kv": config.head_width,
        "d_ff": config.mlp_width,
        "num_layers": config.layers,
        "num_decoder_layers": config.decoder_layers,
        "num_heads": config.heads,
        "feed_forward_proj": theirs(config.mlp, ACTIVATIONS),
        "relative_attention_num_buckets": config.relative_buckets,
        "relative_attention_max_distance": config.relative_distance,
        "layer_norm_epsilon": config.norm_epsilon,
        "dropout_rate": config.dropout,
        "n_positions": config.context_length,
        "is_encoder_decoder": True,
        "decoder_start_token_id": config.start_id,
        "tie_word_embeddings": scaled,
        "scale_decoder_outputs": scaled,
    }


def their_names(module: str, gated: bool) -> list[str]:
    """What they call one of our modules, or the several that it is made of."""
    if module in STACKS:
        return [STACKS[module]]
    stack, _, layer, part, *inner = module.split(".")
    number, name, parts = {
        "attention": (0, "SelfAttention", ATTENTION),
        "cross": (1, "EncDecAttention", ATTENTION),
        "mlp": (1 if stack == "encoder" else 2, "DenseReluDense", GATED_MLP if gated else MLP),
    }[part.removesuffix("_norm")]
    place = f"{stack}.block.{layer}.layer.{number}"
    if not inner:
        return [f"{place}.layer_norm"]
    return [f"{place}.{name}.{theirs}" for theirs in parts[inner[0]].split()]
