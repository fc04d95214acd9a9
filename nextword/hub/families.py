"""The families of models in Hugging Face's words, as data: what config.json calls the numbers of a
model, what safetensors files call its weights, and what transformers calls the whole.

A new family is a name in models/config.py, a style in models/sizes.py, a row of FORMATS here, and a
row of hub/config.py that says what of its config.json is no plain field.

T5's first version ties the output head to the embedding and scales the states that are scored; v1.1
(Flan, mT5) does neither, and its feed-forward networks are gated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from nextword.hub.config_keys import (
    BERT,
    DISTILBERT,
    GEMMA3,
    GPT2,
    LLAMA,
    MODERNBERT,
    MT5,
    ROBERTA,
    SMOLLM3,
    T5,
    XLM_ROBERTA,
    Field,
)
from nextword.models.config import Family

HeadName = Literal["classifier", "spans", "tags"]
# What follows the family's name, and AutoModel, in the name of transformers' class.
HEAD_CLASSES: dict[HeadName, str] = {
    "classifier": "ForSequenceClassification",
    "spans": "ForQuestionAnswering",
    "tags": "ForTokenClassification",
}


@dataclass(frozen=True)
class FamilyFormat:
    """How a family is stored. `name` begins the names of transformers' classes, and `language` is
    that of the one with a language model's head, where {} stands for the family's.

    Of config.json: its `fields`. A config that has another value than the `only` supported one
    would give wrong results without a word, and is refused.

    Of the weights: the `prefix` of the body, the modules outside the blocks (`top`), the prefix of
    `blocks` and the modules of each (`block`), which may be several of theirs for one of ours, and
    the names of the vocabulary's bias.
    """

    name: str
    fields: tuple[Field, ...]
    prefix: str
    top: dict[str, str]
    blocks: str = ""
    block: dict[str, str] = field(default_factory=dict)
    biases: tuple[str, ...] = ()
    language: str = "{}ForCausalLM"
    only: dict[str, Any] = field(default_factory=dict)


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
GEMMA3_BLOCK = LLAMA_BLOCK | {
    "attention_output_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_output_norm": "post_feedforward_layernorm",
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
DISTILBERT_TOP = {ours: f"distilbert.{theirs}" for ours, theirs in EMBEDDINGS.items()} | {
    "transform.dense": "vocab_transform",
    "transform.norm": "vocab_layer_norm",
    "head": "vocab_projector",
    "pooler": "pre_classifier",
}
DISTILBERT_BLOCK = {
    "attention.qkv": "attention.q_lin attention.k_lin attention.v_lin",
    "attention.output": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "mlp.input": "ffn.lin1",
    "mlp.output": "ffn.lin2",
    "mlp_norm": "output_layer_norm",
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
BERT_ONLY = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}


def _llama(name: str, fields: tuple[Field, ...] = LLAMA, **more: Any) -> FamilyFormat:
    block = more.pop("block", LLAMA_BLOCK)
    return FamilyFormat(name, fields, "model.", LLAMA_TOP, "model.layers.", block, **more)


def _roberta(name: str, fields: tuple[Field, ...]) -> FamilyFormat:
    return FamilyFormat(
        name,
        fields,
        "roberta.",
        ROBERTA_TOP,
        "roberta.encoder.layer.",
        BERT_BLOCK,
        ("lm_head.bias", "lm_head.decoder.bias"),
        "{}ForMaskedLM",
        BERT_ONLY,
    )


FORMATS: dict[Family, FamilyFormat] = {
    "gpt2": FamilyFormat(
        "GPT2",
        GPT2,
        "transformer.",
        GPT2_TOP,
        "transformer.h.",
        GPT2_BLOCK,
        language="{}LMHeadModel",
        only={
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
    ),
    "llama": _llama("Llama"),
    "mistral": _llama("Mistral"),
    "qwen2": _llama("Qwen2"),
    "qwen3": _llama("Qwen3"),
    "smollm3": _llama("SmolLM3", SMOLLM3),
    "gemma3_text": _llama(
        "Gemma3Text",
        GEMMA3,
        block=GEMMA3_BLOCK,
        language="Gemma3ForCausalLM",
        only={
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "use_bidirectional_attention": False,
        },
    ),
    "modernbert": FamilyFormat(
        "ModernBert",
        MODERNBERT,
        "model.",
        MODERNBERT_TOP,
        "model.layers.",
        MODERNBERT_BLOCK,
        ("decoder.bias",),
        "{}ForMaskedLM",
    ),
    "bert": FamilyFormat(
        "Bert",
        BERT,
        "bert.",
        BERT_TOP,
        "bert.encoder.layer.",
        BERT_BLOCK,
        ("cls.predictions.bias", "cls.predictions.decoder.bias"),  # two names of one bias
        "{}ForMaskedLM",
        BERT_ONLY,
    ),
    "roberta": _roberta("Roberta", ROBERTA),
    "xlm-roberta": _roberta("XLMRoberta", XLM_ROBERTA),
    "distilbert": FamilyFormat(
        "DistilBert",
        DISTILBERT,
        "distilbert.",
        DISTILBERT_TOP,
        "distilbert.transformer.layer.",
        DISTILBERT_BLOCK,
        ("vocab_projector.bias",),
        "{}ForMaskedLM",
    ),
    "t5": FamilyFormat("T5", T5, "", T5_TOP, language="{}ForConditionalGeneration"),
    "mt5": FamilyFormat("MT5", MT5, "", T5_TOP, language="{}ForConditionalGeneration"),
}
