"""The families of models in Hugging Face's words, as data: what config.json calls the numbers of a
model, what safetensors files call its weights, and what transformers calls the whole.

T5's first version ties the output head to the embedding and scales the states that are scored; v1.1
(Flan, mT5) does neither, and its feed-forward networks are gated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from nextword.models.config import Family

HeadName = Literal["classifier", "spans", "tags"]
# What follows the family's name, and AutoModel, in the name of transformers' class.
HEAD_CLASSES: dict[HeadName, str] = {
    "classifier": "ForSequenceClassification",
    "spans": "ForQuestionAnswering",
    "tags": "ForTokenClassification",
}


@dataclass(frozen=True)
class Field:
    """A field of TransformerConfig that config.json has under a `key`, for reading and writing.

    `kind` is the method of ConfigReader that checks its type, or says what each of their words
    stands for; of several words for the same, the first is written.
    """

    ours: str
    key: str
    kind: Literal["integer", "positive", "fraction", "boolean"] | dict[str, Any]
    default: Any = None


@dataclass(frozen=True)
class FamilyFormat:
    """How a family is stored. `name` is that of transformers' classes, `language` ends the name of
    the one with a language model's head.

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
    language: str = "ForCausalLM"
    only: dict[str, Any] = field(default_factory=dict)


def _common(vocab_size: int | None, tied: bool) -> tuple[Field, ...]:
    """Return what most families have under the same keys, with a family's defaults."""
    return (
        Field("vocab_size", "vocab_size", "integer", vocab_size),
        Field("tied", "tie_word_embeddings", "boolean", tied),
        Field("init_std", "initializer_range", "positive", 0.02),
    )


ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
GPT2 = (
    *_common(50257, tied=True),
    Field("context_length", "n_positions", "integer", 1024),
    Field("width", "n_embd", "integer", 768),
    Field("layers", "n_layer", "integer", 12),
    Field("heads", "n_head", "integer", 12),
    Field("mlp_width", "n_inner", "integer"),
    Field("mlp", "activation_function", ACTIVATIONS, "gelu_new"),
    Field("norm_epsilon", "layer_norm_epsilon", "positive", 1e-5),
    Field("dropout", "resid_pdrop", "fraction", 0.1),
)
LLAMA_ACTIVATIONS = {"silu": "swiglu", "swish": "swiglu", "gelu_pytorch_tanh": "geglu_tanh"}
LLAMA = (
    *_common(None, tied=False),
    Field("context_length", "max_position_embeddings", "integer", 2048),
    Field("width", "hidden_size", "integer"),
    Field("layers", "num_hidden_layers", "integer"),
    Field("heads", "num_attention_heads", "integer"),
    Field("kv_heads", "num_key_value_heads", "integer"),
    Field("head_width", "head_dim", "integer"),
    Field("mlp_width", "intermediate_size", "integer"),
    Field("mlp", "hidden_act", LLAMA_ACTIVATIONS, "silu"),
    Field("norm_epsilon", "rms_norm_eps", "positive", 1e-6),
)


def _encoder_fields(vocab_size: int, context: int, layers: int, mlp: int) -> tuple[Field, ...]:
    """Return what BERT and its successors have under the same keys."""
    return (
        *_common(vocab_size, tied=True),
        Field("context_length", "max_position_embeddings", "integer", context),
        Field("width", "hidden_size", "integer", 768),
        Field("layers", "num_hidden_layers", "integer", layers),
        Field("heads", "num_attention_heads", "integer", 12),
        Field("mlp_width", "intermediate_size", "integer", mlp),
    )


def _bert_fields(vocab_size: int, activations: dict[str, Any]) -> tuple[Field, ...]:
    return (
        *_encoder_fields(vocab_size, 512, 12, 3072),
        Field("mlp", "hidden_act", activations, "gelu"),
        Field("norm_epsilon", "layer_norm_eps", "positive", 1e-12),
        Field("token_types", "type_vocab_size", "integer", 2),
        Field("dropout", "hidden_dropout_prob", "fraction", 0.1),
    )


BERT = _bert_fields(30522, ACTIVATIONS)
ROBERTA = _bert_fields(50265, {"gelu": "gelu"})  # its head has this one whatever the blocks have
MODERNBERT_ACTIVATIONS = {
    "gelu": "geglu",
    "gelu_pytorch_tanh": "geglu_tanh",
    "gelu_new": "geglu_tanh",
    "silu": "swiglu",
}
MODERNBERT = (
    *_encoder_fields(50368, 8192, 22, 1152),
    Field("mlp", "hidden_activation", MODERNBERT_ACTIVATIONS, "gelu"),
    Field("mlp", "classifier_activation", MODERNBERT_ACTIVATIONS, "gelu"),
    Field("norm_epsilon", "norm_eps", "positive", 1e-5),
    Field("norm_bias", "norm_bias", "boolean", False),
    Field("attention_bias", "attention_bias", "boolean", False),
    Field("mlp_bias", "mlp_bias", "boolean", False),
    Field("transform_bias", "classifier_bias", "boolean", False),
    Field("vocabulary_bias", "decoder_bias", "boolean", True),
    Field("mean_pooling", "classifier_pooling", {"cls": False, "mean": True}, "cls"),
)
T5_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gated-gelu": "geglu_tanh",  # theirs says gelu and means the approximation
    "gated-silu": "swiglu",
}
T5 = (
    Field("vocab_size", "vocab_size", "integer", 32128),
    Field("width", "d_model", "integer", 512),
    Field("head_width", "d_kv", "integer", 64),
    Field("mlp_width", "d_ff", "integer", 2048),
    Field("layers", "num_layers", "integer", 6),
    Field("decoder_layers", "num_decoder_layers", "integer"),
    Field("heads", "num_heads", "integer", 8),
    Field("mlp", "feed_forward_proj", T5_ACTIVATIONS, "relu"),
    Field("relative_buckets", "relative_attention_num_buckets", "integer", 32),
    Field("relative_distance", "relative_attention_max_distance", "integer", 128),
    Field("norm_epsilon", "layer_norm_epsilon", "positive", 1e-6),
    Field("dropout", "dropout_rate", "fraction", 0.1),
    # That of pretraining; relative positions have no limit.
    Field("context_length", "n_positions", "integer", 512),
)

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
BERT_ONLY = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}


def _llama(name: str) -> FamilyFormat:
    return FamilyFormat(name, LLAMA, "model.", LLAMA_TOP, "model.layers.", LLAMA_BLOCK)


FORMATS: dict[Family, FamilyFormat] = {
    "gpt2": FamilyFormat(
        "GPT2",
        GPT2,
        "transformer.",
        GPT2_TOP,
        "transformer.h.",
        GPT2_BLOCK,
        language="LMHeadModel",
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
    "modernbert": FamilyFormat(
        "ModernBert",
        MODERNBERT,
        "model.",
        MODERNBERT_TOP,
        "model.layers.",
        MODERNBERT_BLOCK,
        ("decoder.bias",),
        "ForMaskedLM",
    ),
    "bert": FamilyFormat(
        "Bert",
        BERT,
        "bert.",
        BERT_TOP,
        "bert.encoder.layer.",
        BERT_BLOCK,
        ("cls.predictions.bias", "cls.predictions.decoder.bias"),  # two names of one bias
        "ForMaskedLM",
        BERT_ONLY,
    ),
    "roberta": FamilyFormat(
        "Roberta",
        ROBERTA,
        "roberta.",
        ROBERTA_TOP,
        "roberta.encoder.layer.",
        BERT_BLOCK,
        ("lm_head.bias", "lm_head.decoder.bias"),
        "ForMaskedLM",
        BERT_ONLY,
    ),
    "t5": FamilyFormat("T5", T5, "", T5_TOP, language="ForConditionalGeneration"),
}
