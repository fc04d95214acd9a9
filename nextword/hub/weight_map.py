"""Hugging Face's names of each family's weights, as data.

One of our matrices may be several of theirs, stacked along its rows (query, key and value; gate and
input). GPT-2 keeps its matrices transposed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from nextword.hub.heads import HEADS
from nextword.models.config import DECODERS, Family, TransformerConfig
from nextword.models.encoder_decoder import GenerativeModel
from nextword.models.heads import ModelWithHead, QuestionAnsweringModel

BODY = "transformer."  # our name, and sometimes theirs, of the model below a head
BODY_IN_SPANS = ("llama", "qwen2", "qwen3")  # their ...ForQuestionAnswering has a .transformer
# No weights: masks and tables that old checkpoints contain; T5's embedding once more, and a bias
# that cross-attention has no use for.
IGNORED = (
    ".attn.bias",
    ".attn.masked_bias",
    ".rotary_emb.inv_freq",
    ".position_ids",
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "EncDecAttention.relative_attention_bias.weight",
)
# Weights of heads that are not supported.
LEFT_OUT = ("bert.pooler.", "cls.seq_relationship.", "roberta.pooler.")
BIAS = "vocabulary_bias"

GPT2_TOP = {
    "embedding": "transformer.wte",
    "positions": "transformer.wpe",
    "norm": "transformer.ln_f",
    "head": "lm_head",
}
GPT2_BLOCK = {
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.input": "mlp.c_fc",
    "mlp.output": "mlp.c_proj",
}
LLAMA_TOP = {"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
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
BERT_TOP = {ours: f"bert.{theirs}" for ours, theirs in EMBEDDINGS.items()} | {
    "transform.dense": "cls.predictions.transform.dense",
    "transform.norm": "cls.predictions.transform.LayerNorm",
    "head": "cls.predictions.decoder",
    "pooler": "bert.pooler.dense",
}
ROBERTA_TOP = {ours: f"roberta.{theirs}" for ours, theirs in EMBEDDINGS.items()} | {
    "transform.dense": "lm_head.dense",
    "transform.norm": "lm_head.layer_norm",
    "head": "lm_head.decoder",
    "pooler": "classifier.dense",
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
}
MODERNBERT_BLOCK = {
    "attention_norm": "attn_norm",
    "attention.qkv": "attn.Wqkv",
    "attention.output": "attn.Wo",
    "mlp_norm": "mlp_norm",
    "mlp.input": "mlp.Wi",
    "mlp.output": "mlp.Wo",
}
T5_TOP = {"embedding": "shared", "head": "lm_head"}
T5_STACKS = {
    "encoder.embedding": "shared",
    "encoder.norm": "encoder.final_layer_norm",
    "encoder.relative": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
    "decoder.norm": "decoder.final_layer_norm",
    "decoder.relative": "decoder.block.0.layer.0.SelfAttention.relative_attention_bias",
    "decoder.head": "lm_head",
}
T5_ATTENTION = {"qkv": "q k v", "output": "o"}
T5_MLP = {"input": "wi", "output": "wo"}
T5_GATED_MLP = {"input": "wi_0 wi_1", "output": "wo"}


@dataclass(frozen=True)
class FamilyNames:
    """A family's names: the `prefix` of its body, modules outside the blocks (`top`), `blocks`, the
    prefix of these, the modules of each (`block`), and those of the vocabulary's bias."""

    prefix: str
    top: dict[str, str]
    blocks: str = ""
    block: dict[str, str] = field(default_factory=dict)
    biases: tuple[str, ...] = ()


LLAMA = FamilyNames("model.", LLAMA_TOP, "model.layers.", LLAMA_BLOCK)
BERT_BIASES = ("cls.predictions.bias", "cls.predictions.decoder.bias")  # two names of one bias
ROBERTA_BIASES = ("lm_head.bias", "lm_head.decoder.bias")
NAMES: dict[Family, FamilyNames] = dict.fromkeys(DECODERS, LLAMA) | {
    "gpt2": FamilyNames("transformer.", GPT2_TOP, "transformer.h.", GPT2_BLOCK),
    "modernbert": FamilyNames(
        "model.", MODERNBERT_TOP, "model.layers.", MODERNBERT_BLOCK, ("decoder.bias",)
    ),
    "bert": FamilyNames("bert.", BERT_TOP, "bert.encoder.layer.", BERT_BLOCK, BERT_BIASES),
    "roberta": FamilyNames(
        "roberta.", ROBERTA_TOP, "roberta.encoder.layer.", BERT_BLOCK, ROBERTA_BIASES
    ),
    "t5": FamilyNames("", T5_TOP),
}


@dataclass(frozen=True)
class StoredTensor:
    """A stored tensor: its name, its shape as it is stored, and the `rows` of our parameter."""

    parameter: str
    name: str
    rows: slice
    shape: tuple[int, ...]
    transposed: bool = False


def stored_tensors(
    config: TransformerConfig, shapes: dict[str, tuple[int, ...]]
) -> Iterator[StoredTensor]:
    """Yield every stored tensor of a model whose parameters have these shapes, in their order.

    The model may be a Transformer, an EncoderDecoder or a model with a head, whose parameters are
    `transformer.blocks.0…` and `score.weight`.
    """
    known = NAMES[config.family]
    top = _top(config.family)
    for name, shape in shapes.items():
        if name == BIAS:
            yield StoredTensor(name, bias_names(config)[0], slice(0, shape[0]), shape)
            continue
        module, kind = name.removeprefix(BODY).rsplit(".", 1)
        if config.family == "t5":
            names = _t5_names(module, config.gated)
        elif module in top:
            names = [top[module]]
        else:
            _, layer, ours = module.split(".", 2)
            prefix = f"{known.blocks}{layer}."
            names = [prefix + theirs for theirs in known.block[ours].split()]
        transposed = config.family == "gpt2" and kind == "weight" and "c_" in names[0]
        equal = [shape[0] // len(names)] * len(names)
        begin = 0
        for theirs, rows in zip(names, config.qkv_rows if names[2:] else equal, strict=True):
            stored = (rows, *shape[1:])
            yield StoredTensor(
                name,
                f"{theirs}.{kind}",
                slice(begin, begin + rows),
                stored[::-1] if transposed else stored,
                transposed,
            )
            begin += rows


def bias_names(config: TransformerConfig) -> tuple[str, ...]:
    """Return the names of the vocabulary's bias, first the one that counts: an untied head's bias
    is the head's own."""
    names = NAMES[config.family].biases
    return names if config.tied else names[::-1]


def model_tensors(
    model: GenerativeModel | ModelWithHead, shapes: dict[str, tuple[int, ...]] | None = None
) -> Iterator[StoredTensor]:
    """Yield what stored_tensors does, by the names in Hugging Face's class of the model; by default
    for all of its parameters."""
    config, prefix = model_config(model), NAMES[model_config(model).family].prefix
    if shapes is None:
        shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    is_renamed = isinstance(model, QuestionAnsweringModel) and config.family in BODY_IN_SPANS
    for tensor in stored_tensors(config, shapes):
        if is_renamed and tensor.name.startswith(prefix):
            tensor = replace(tensor, name=BODY + tensor.name.removeprefix(prefix))
        yield tensor


def model_config(model: GenerativeModel | ModelWithHead) -> TransformerConfig:
    """Return the config of any model."""
    return model.config if isinstance(model, GenerativeModel) else model.transformer.config


def weight_name(family: Family, module: str) -> str:
    """Return the name of a weight outside the blocks: of "embedding", "head", "score", "span"."""
    return f"{_top(family)[module]}.weight"


def head_names(family: Family, *modules: str) -> tuple[str, ...]:
    """Return the prefixes of the tensors of these modules; without any, of all modules that are not
    part of the body."""
    top, prefix = _top(family), NAMES[family].prefix
    outside = [module for module, name in top.items() if not name.startswith(prefix)]
    return tuple(f"{top[module]}." for module in modules or outside if module in top)


def _top(family: Family) -> dict[str, str]:
    """Return the names of the modules outside the blocks, those of all heads included."""
    heads = {h.modules[0]: h.weights.get(family, h.weight) for h in HEADS.values()}
    return NAMES[family].top | heads


def _t5_names(module: str, gated: bool) -> list[str]:
    """Return T5's name of one of our modules, or the names of the several that it consists of."""
    if module in T5_STACKS:
        return [T5_STACKS[module]]
    stack, _, layer, part, *inner = module.split(".")
    number, name, parts = {
        "attention": (0, "SelfAttention", T5_ATTENTION),
        "cross": (1, "EncDecAttention", T5_ATTENTION),
        "mlp": (1 + (stack == "decoder"), "DenseReluDense", T5_GATED_MLP if gated else T5_MLP),
    }[part.removesuffix("_norm")]
    place = f"{stack}.block.{layer}.layer.{number}"
    if not inner:
        return [f"{place}.layer_norm"]
    return [f"{place}.{name}.{theirs}" for theirs in parts[inner[0]].split()]
