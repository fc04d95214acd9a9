"""config.json to TransformerConfig and back, in the words Hugging Face's families use."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any, Literal

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub.decoder_config import read_gpt2, read_llama, write_gpt2, write_llama
from nextword.hub.encoder_config import read_bert, read_modernbert, write_bert, write_modernbert
from nextword.hub.t5 import read_t5, write_t5
from nextword.hub.values import Values
from nextword.models.config import ENCODERS, FAMILIES, Family, TransformerConfig

NAMES: dict[Family, str] = {
    "gpt2": "GPT2",
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "modernbert": "ModernBert",
    "bert": "Bert",
    "roberta": "Roberta",
    "t5": "T5",
}
Head = Literal["language", "classifier", "spans", "tags"]
HEADS: dict[Head, str] = {
    "language": "ForCausalLM",
    "classifier": "ForSequenceClassification",
    "spans": "ForQuestionAnswering",
    "tags": "ForTokenClassification",
}

# What is not built: a config that asks for it would give wrong results without a word.
BERT_ALONE: dict[str, Any] = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}
UNSUPPORTED: dict[str, dict[str, Any]] = {
    "gpt2": {
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    "bert": BERT_ALONE,
    "roberta": BERT_ALONE,
}


def read_config(path: Path) -> TransformerConfig:
    """A model's config.json. Raises UserError for what is not known, missing or of a wrong type."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError("is not a JSON object", where=path)
    family = values.get("model_type")
    if family not in FAMILIES:
        raise UserError(
            f"model_type {reprlib.repr(family)} is not a model nextword knows",
            where=path,
            mend="known are " + ", ".join(FAMILIES),
        )
    if values.get("quantization_config"):
        raise UserError("the weights are quantised", where=path, mend="use the original weights")
    for key, only in UNSUPPORTED.get(family, {}).items():
        if values.get(key, only) != only:
            raise UserError(f"{key} = {reprlib.repr(values[key])} is not supported", where=path)
    try:
        return _read(Values(values, path), family)
    except UserError as error:
        if error.where is not None:
            raise
        raise UserError(error.what, where=path) from None


def _read(values: Values, family: Family) -> TransformerConfig:
    if family == "gpt2":
        return read_gpt2(values)
    if family == "modernbert":
        return read_modernbert(values)
    if family == "t5":
        return read_t5(values)
    return read_bert(values, family) if family in ENCODERS else read_llama(values, family)


def write_config(
    config: TransformerConfig, dtype: str = "float32", head: Head = "language"
) -> dict[str, Any]:
    """What config.json holds for this model; Hugging Face's older words, which all tools read."""
    common = {
        "architectures": [class_name(config.family, head)],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied,
        "initializer_range": config.init_std,
        "dtype": dtype,
    }
    if config.family == "gpt2":
        return common | write_gpt2(config)
    if config.family == "modernbert":
        return common | write_modernbert(config)
    if config.family == "t5":
        return common | write_t5(config)
    return common | (write_bert(config) if config.family in ENCODERS else write_llama(config))


def class_name(family: Family, head: Head = "language") -> str:
    """What transformers calls a model of this family with this head."""
    if family == "gpt2" and head == "language":
        return "GPT2LMHeadModel"
    if family in ENCODERS and head == "language":
        return NAMES[family] + "ForMaskedLM"
    if family == "t5":
        return "T5ForConditionalGeneration"
    return NAMES[family] + HEADS[head]


def head_of(architectures: Any) -> Head | None:
    """The head of a model whose config.json names these classes; None where they do not say."""
    named = architectures if isinstance(architectures, list) else []
    ends = {end: head for head, end in HEADS.items()}
    return next((ends[end] for name in named for end in ends if str(name).endswith(end)), None)
