"""Which of Hugging Face's tensors is which rows of which of our parameters.

One of our matrices may be several of theirs, stacked along its rows (query, key and value; gate and
input). GPT-2 keeps its matrices transposed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from nextword.hub.families import (
    FORMATS,
    T5_ATTENTION,
    T5_GATED_MLP,
    T5_MLP,
    T5_STACKS,
)
from nextword.hub.heads import HEADS
from nextword.models.config import ENCODER_DECODERS, Family, TransformerConfig
from nextword.models.encoder_decoder import GenerativeModel
from nextword.models.heads import ModelWithHead, QuestionAnsweringModel

BODY = "transformer."  # our name, and sometimes theirs, of the model below a head
# Their ...ForQuestionAnswering has a .transformer.
BODY_IN_SPANS = ("llama", "qwen2", "qwen3", "smollm3")
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
OLDER = {".gamma": ".weight", ".beta": ".bias"}  # of norms, in BERT's first checkpoints
BIAS = "vocabulary_bias"


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
    known = FORMATS[config.family]
    top = _top(config.family)
    for name, shape in shapes.items():
        if name == BIAS:
            yield StoredTensor(name, bias_names(config)[0], slice(0, shape[0]), shape)
            continue
        module, kind = name.removeprefix(BODY).rsplit(".", 1)
        if config.family in ENCODER_DECODERS:
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
    names = FORMATS[config.family].biases
    return names if config.tied else names[::-1]


def model_tensors(
    model: GenerativeModel | ModelWithHead, shapes: dict[str, tuple[int, ...]] | None = None
) -> Iterator[StoredTensor]:
    """Yield what stored_tensors does, by the names in Hugging Face's class of the model; by default
    for all of its parameters."""
    config, prefix = model_config(model), FORMATS[model_config(model).family].prefix
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
    top, prefix = _top(family), FORMATS[family].prefix
    outside = [module for module, name in top.items() if not name.startswith(prefix)]
    return tuple(f"{top[module]}." for module in modules or outside if module in top)


def _top(family: Family) -> dict[str, str]:
    """Return the names of the modules outside the blocks, those of all heads included."""
    heads = {h.modules[0]: h.weights.get(family, h.weight) for h in HEADS.values()}
    return FORMATS[family].top | heads


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


def full_names(config: TransformerConfig, stored: Collection[str]) -> dict[str, str]:
    """Return stored names, each with the one it has where a model is saved with its head."""
    prefix = FORMATS[config.family].prefix
    heads = head_names(config.family) + bias_names(config)
    known = (prefix, BODY) if config.family in BODY_IN_SPANS else (prefix,)
    prefixes = (p for p in known if any(name.startswith(p) for name in stored))
    stored_prefix = next(prefixes, "")
    full = {}
    for name in stored:
        new = name
        for old, suffix in OLDER.items() if not config.causal else ():
            new = new.removesuffix(old) + suffix if new.endswith(old) else new
        if new.startswith(stored_prefix) and not new.startswith(heads):
            new = prefix + new.removeprefix(stored_prefix)
        full[name] = new
    return full


def match_tensors(
    config: TransformerConfig, shapes: dict[str, tuple[int, ...]], stored: Collection[str]
) -> tuple[dict[str, StoredTensor], list[StoredTensor], list[str]]:
    """Return what each stored tensor is, those of the model that none of them is, and the names of
    those that are no part of the model. Copies are left out, as is what holds no weights."""
    expected = {tensor.name: tensor for tensor in stored_tensors(config, shapes)}
    full, (bias, *copies) = full_names(config, stored), bias_names(config) or ("",)
    embedding, head = (weight_name(config.family, name) for name in ("embedding", "head"))
    replaces = dict.fromkeys(copies, bias)  # which may be stored in its place
    if config.tied:
        replaces[head] = embedding
    matched, unexpected = {}, []
    for name, own in full.items():
        if (first := replaces.get(own)) is not None:
            if first not in full.values() and first in expected:
                matched[name] = expected[first]
        elif own in expected:
            matched[name] = expected[own]
        elif not own.endswith(IGNORED) and not own.startswith(LEFT_OUT):
            unexpected.append(name)
    present = {tensor.name for tensor in matched.values()}
    missing = [tensor for name, tensor in expected.items() if name not in present]
    return matched, missing, unexpected
