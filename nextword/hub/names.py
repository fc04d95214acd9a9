"""What Hugging Face calls each weight of each family, as data.

One of our matrices may be several of theirs, stacked along its rows (query, key and value; gate and
input). GPT-2 keeps its matrices transposed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nextword.models.config import DECODERS, Family, TransformerConfig

PREFIX: dict[Family, str] = dict.fromkeys(DECODERS, "model.") | {"gpt2": "transformer."}
BODY = "transformer."  # what ours, and some of theirs, call the model inside one with a head
TRANSFORMER_INSIDE = ("llama", "qwen2", "qwen3")  # their ...ForQuestionAnswering has a .transformer
# Not weights: masks and tables that old checkpoints carry along.
IGNORED = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")

HEAD, SCORE, SPAN = "lm_head.weight", "score.weight", "qa_outputs.weight"
HEADS = {"head": "lm_head", "score": "score", "span": "qa_outputs"}

GPT2_TOP = {
    "embedding": "transformer.wte",
    "positions": "transformer.wpe",
    "norm": "transformer.ln_f",
    **HEADS,
}
GPT2_BLOCK = {
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.input": "mlp.c_fc",
    "mlp.output": "mlp.c_proj",
}
LLAMA_TOP = {"embedding": "model.embed_tokens", "norm": "model.norm", **HEADS}
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
    gpt2 = config.family == "gpt2"
    top, inside = (GPT2_TOP, GPT2_BLOCK) if gpt2 else (LLAMA_TOP, LLAMA_BLOCK)
    for name, shape in shapes.items():
        module, kind = name.removeprefix(BODY).rsplit(".", 1)
        if module in top:
            names = [top[module]]
        else:
            _, layer, ours = module.split(".", 2)
            prefix = f"transformer.h.{layer}." if gpt2 else f"model.layers.{layer}."
            names = [prefix + theirs for theirs in inside[ours].split()]
        transposed = gpt2 and kind == "weight" and "c_" in names[0]
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


def span_name(name: str, family: Family) -> str:
    """What a tensor or module is called in their ...ForQuestionAnswering."""
    prefix = PREFIX[family]
    inside = family in TRANSFORMER_INSIDE and name.startswith(prefix)
    return BODY + name.removeprefix(prefix) if inside else name


def embedding_name(family: Family) -> str:
    top = GPT2_TOP if family == "gpt2" else LLAMA_TOP
    return f"{top['embedding']}.weight"


def _rows(config: TransformerConfig, module: str, rows: int, parts: int) -> list[int]:
    if parts == 3:
        queries, keys = config.heads * config.head_width, config.kv_heads * config.head_width
        return [queries, keys, keys]
    return [rows // parts] * parts
