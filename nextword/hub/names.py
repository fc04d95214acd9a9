"""What Hugging Face calls each weight of each family, as data.

One of our matrices may be several of theirs, stacked along its rows (query, key and value; gate and
input). GPT-2 keeps its matrices transposed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nextword.hub import t5
from nextword.models.config import DECODERS, Family, TransformerConfig

PREFIX: dict[Family, str] = dict.fromkeys(DECODERS, "model.") | {
    "gpt2": "transformer.",
    "modernbert": "model.",
    "bert": "bert.",
    "roberta": "roberta.",
    "t5": "",
}
BODY = "transformer."  # what ours, and some of theirs, call the model inside one with a head
TRANSFORMER_INSIDE = ("llama", "qwen2", "qwen3")  # their ...ForQuestionAnswering has a .transformer
# Not weights: masks and tables that old checkpoints carry along.
IGNORED = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq", ".position_ids", *t5.TWICE)
# Weights of heads that are not built.
LEFT_OUT = ("bert.pooler.", "cls.seq_relationship.", "roberta.pooler.")
BIAS = "vocabulary_bias"
TRANSFORM = "transform."

HEADS = {"head": "lm_head", "score": "score", "span": "qa_outputs"}
GPT2_TOP = {
    "embedding": "transformer.wte",
    "positions": "transformer.wpe",
    "norm": "transformer.ln_f",
    **HEADS,
    "tag": "classifier",
}
GPT2_BLOCK = {
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.input": "mlp.c_fc",
    "mlp.output": "mlp.c_proj",
}
LLAMA_TOP = {"embedding": "model.embed_tokens", "norm": "model.norm", **HEADS, "tag": "score"}
LLAMA_BLOCK = {
    "attention_norm": "input_layernorm",
    "attention.qkv": "self_attn.q_proj self_attn.k_proj self_attn.v_proj",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "attention.output": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp.input": "mlp.gate_proj mlp.up_proj",
    "mlp.output": "mlp.down_proj",
}
EMBEDDINGS = {
    "embedding": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings",
    "embedding_norm": "embeddings.LayerNorm",
}
BERT_TOP = {
    **{ours: f"bert.{theirs}" for ours, theirs in EMBEDDINGS.items()},
    "transform.dense": "cls.predictions.transform.dense",
    "transform.norm": "cls.predictions.transform.LayerNorm",
    "head": "cls.predictions.decoder",
    "pooler": "bert.pooler.dense",
    "score": "classifier",
    "span": "qa_outputs",
    "tag": "classifier",
}
ROBERTA_TOP = {
    **{ours: f"roberta.{theirs}" for ours, theirs in EMBEDDINGS.items()},
    "transform.dense": "lm_head.dense",
    "transform.norm": "lm_head.layer_norm",
    "head": "lm_head.decoder",
    "pooler": "classifier.dense",
    "score": "classifier.out_proj",
    "span": "qa_outputs",
    "tag": "classifier",
}
BERT_BLOCK = {
    "attention.qkv": "attention.self.query attention.self.key attention.self.value",
    "attention.output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "mlp.input": "intermediate.dense",
    "mlp.output": "output.dense",
    "mlp_norm": "output.LayerNorm",
}
MODERNBERT_TOP = {
    "embedding": "model.embeddings.tok_embeddings",
    "embedding_norm": "model.embeddings.norm",
    "norm": "model.final_norm",
    "transform.dense": "head.dense",
    "transform.norm": "head.norm",
    "head": "decoder",
    "score": "classifier",
    "span": "classifier",
    "tag": "classifier",
}
MODERNBERT_BLOCK = {
    "attention_norm": "attn_norm",
    "attention.qkv": "attn.Wqkv",
    "attention.output": "attn.Wo",
    "mlp_norm": "mlp_norm",
    "mlp.input": "mlp.Wi",
    "mlp.output": "mlp.Wo",
}
TOP: dict[Family, dict[str, str]] = dict.fromkeys(DECODERS, LLAMA_TOP) | {
    "gpt2": GPT2_TOP,
    "modernbert": MODERNBERT_TOP,
    "bert": BERT_TOP,
    "roberta": ROBERTA_TOP,
    "t5": t5.OUTSIDE,
}
BLOCK: dict[Family, dict[str, str]] = dict.fromkeys(DECODERS, LLAMA_BLOCK) | {
    "gpt2": GPT2_BLOCK,
    "modernbert": MODERNBERT_BLOCK,
    "bert": BERT_BLOCK,
    "roberta": BERT_BLOCK,
}
BLOCKS: dict[Family, str] = dict.fromkeys(DECODERS, "model.layers.") | {
    "gpt2": "transformer.h.",
    "modernbert": "model.layers.",
    "bert": "bert.encoder.layer.",
    "roberta": "roberta.encoder.layer.",
}
# The vocabulary's bias, which BERT and RoBERTa keep under two names.
BIASES: dict[Family, tuple[str, ...]] = {
    "modernbert": ("decoder.bias",),
    "bert": ("cls.predictions.bias", "cls.predictions.decoder.bias"),
    "roberta": ("lm_head.bias", "lm_head.decoder.bias"),
}


@dataclass(frozen=True)
class Piece:
    """One tensor of theirs: these `rows` of our parameter. `shape` is as it is stored."""

    parameter: str
    theirs: str
    rows: slice
    shape: tuple[int, ...]
    transposed: bool = False


def pieces(config: TransformerConfig, shapes: dict[str, tuple[int, ...]]) -> Iterator[Piece]:
    """Every tensor of a model whose parameters have these shapes, in the model's order.

    It may be a Transformer or one inside a head: `transformer.blocks.0…` and `score.weight`.
    """
    top, inside = TOP[config.family], BLOCK.get(config.family, {})
    for name, shape in shapes.items():
        if name == BIAS:
            yield Piece(name, bias_names(config)[0], slice(0, shape[0]), shape)
            continue
        module, kind = name.removeprefix(BODY).rsplit(".", 1)
        if config.family == "t5":
            names = t5.their_names(module, config.gated)
        elif module in top:
            names = [top[module]]
        else:
            _, layer, ours = module.split(".", 2)
            prefix = f"{BLOCKS[config.family]}{layer}."
            names = [prefix + theirs for theirs in inside[ours].split()]
        transposed = config.family == "gpt2" and kind == "weight" and "c_" in names[0]
        begin = 0
        for theirs, rows in zip(names, _rows(config, module, shape[0], len(names)), strict=True):
            stored = (rows, *shape[1:])
            yield Piece(
                name,
                f"{theirs}.{kind}",
                slice(begin, begin + rows),
                stored[::-1] if transposed else stored,
                transposed,
            )
            begin += rows


def bias_names(config: TransformerConfig) -> tuple[str, ...]:
    """Names of the vocabulary's bias, that which counts first: where head and embedding are not
    tied, the head has the bias of its own."""
    names = BIASES.get(config.family, ())
    return names if config.tied else names[::-1]


def span_name(name: str, family: Family) -> str:
    """What a tensor or module is called in their ...ForQuestionAnswering."""
    prefix = PREFIX[family]
    inside = family in TRANSFORMER_INSIDE and name.startswith(prefix)
    return BODY + name.removeprefix(prefix) if inside else name


def weight_name(family: Family, module: str) -> str:
    """The weight of one of the modules outside the blocks: "embedding", "head", "score", "span"."""
    return f"{TOP[family][module]}.weight"


def head_names(family: Family, *modules: str) -> tuple[str, ...]:
    """What the names of these modules' tensors begin with; of all that are not inside the model
    which heads share, if none is named."""
    outside = [m for m, theirs in TOP[family].items() if not theirs.startswith(PREFIX[family])]
    return tuple(f"{TOP[family][m]}." for m in modules or outside if m in TOP[family])


def _rows(config: TransformerConfig, module: str, rows: int, parts: int) -> list[int]:
    if parts == 3:
        queries, keys = config.heads * config.head_width, config.kv_heads * config.head_width
        return [queries, keys, keys]
    return [rows // parts] * parts
