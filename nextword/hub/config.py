"""config.json to TransformerConfig and back: one table of the families that Hugging Face has."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub import families
from nextword.hub.config_reader import ConfigReader
from nextword.hub.heads import Head
from nextword.models.config import FAMILIES, Family, TransformerConfig
from nextword.models.sizes import STYLES


@dataclass(frozen=True)
class FamilyFormat:
    """How config.json describes the models of a family.

    `name` is that of transformers' classes, `language` ends the name of the one with a language
    model's head. A config that has another value than the `only` supported one would give wrong
    results without a word, and is refused.
    """

    name: str
    read: Callable[[ConfigReader, Family], dict[str, Any]]
    write: Callable[[TransformerConfig], dict[str, Any]]
    language: str = "ForCausalLM"
    only: dict[str, Any] = field(default_factory=dict)


BERT_ONLY = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}
GPT2_ONLY = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
FORMATS: dict[Family, FamilyFormat] = {
    "gpt2": FamilyFormat("GPT2", families.read_gpt2, families.write_gpt2, "LMHeadModel", GPT2_ONLY),
    "llama": FamilyFormat("Llama", families.read_llama, families.write_llama),
    "mistral": FamilyFormat("Mistral", families.read_llama, families.write_llama),
    "qwen2": FamilyFormat("Qwen2", families.read_llama, families.write_llama),
    "qwen3": FamilyFormat("Qwen3", families.read_llama, families.write_llama),
    "modernbert": FamilyFormat(
        "ModernBert", families.read_modernbert, families.write_modernbert, "ForMaskedLM"
    ),
    "bert": FamilyFormat("Bert", families.read_bert, families.write_bert, "ForMaskedLM", BERT_ONLY),
    "roberta": FamilyFormat(
        "Roberta", families.read_bert, families.write_bert, "ForMaskedLM", BERT_ONLY
    ),
    "t5": FamilyFormat("T5", families.read_t5, families.write_t5, "ForConditionalGeneration"),
}


def read_config(path: Path) -> TransformerConfig:
    """Read a model's config.json. Raises UserError for a value that is missing, of a wrong type, or
    of something that is not supported."""
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
    for key, only in FORMATS[family].only.items():
        if values.get(key, only) != only:
            raise UserError(f"{key} = {reprlib.repr(values[key])} is not supported", where=path)
    try:
        ours = FORMATS[family].read(ConfigReader(values, path), family)
        return TransformerConfig(**{"family": family} | STYLES[family] | ours)
    except UserError as error:
        if error.where is not None:
            raise
        raise UserError(error.what, where=path) from None


def write_config(
    config: TransformerConfig, dtype: str = "float32", head: Head[Any] | None = None
) -> dict[str, Any]:
    """Return what config.json holds for a model with this head, by default a language model's.

    The keys are Hugging Face's older ones, which all tools read.
    """
    form = FORMATS[config.family]
    common = {
        "architectures": [form.name + (form.language if head is None else head.usage.auto_class)],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied,
        "initializer_range": config.init_std,
        "dtype": dtype,
    }
    return common | form.write(config)
