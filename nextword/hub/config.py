"""config.json to TransformerConfig and back: the table's fields, and what is no plain field."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub.config_reader import ConfigReader
from nextword.hub.decoder_config import (
    read_gemma3,
    read_gpt2,
    read_llama,
    read_smollm3,
    write_gemma3,
    write_gpt2,
    write_llama,
    write_smollm3,
)
from nextword.hub.encoder_config import (
    read_bert,
    read_distilbert,
    read_modernbert,
    read_t5,
    write_bert,
    write_distilbert,
    write_modernbert,
    write_t5,
)
from nextword.hub.families import FORMATS, HEAD_CLASSES, HeadName
from nextword.models.config import (
    DECODERS,
    ENCODER_DECODERS,
    FAMILIES,
    Family,
    TransformerConfig,
)
from nextword.models.sizes import STYLES


def read_config(path: Path) -> TransformerConfig:
    """Read a model's config.json. Raises UserError for a value that is missing, of a wrong type, or
    of something that is not supported."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError("is not a JSON object", where=path)
    family = values.get("model_type")
    if "vision_config" in values or "audio_config" in values:
        raise UserError(
            f"model_type {reprlib.repr(family)} reads more than text, which is not supported",
            where=path,
            mend="use a model that reads text alone, such as gemma3_text",
        )
    if family not in FAMILIES:
        raise UserError(
            f"model_type {reprlib.repr(family)} is not a model nextword knows",
            where=path,
            mend="known are " + ", ".join(FAMILIES),
        )
    if values.get("quantization_config"):
        raise UserError("the weights are quantised", where=path, mend="use the original weights")
    for key, only in FORMATS[family].only.items():
        if values.get(key) is not None and values[key] != only:
            raise UserError(f"{key} = {reprlib.repr(values[key])} is not supported", where=path)
    try:
        ours = READ[family](ConfigReader(values, path), family)
        return TransformerConfig(**{"family": family} | STYLES[family] | ours)
    except UserError as error:
        if error.where is not None:
            raise
        raise UserError(error.what, where=path) from None


def write_config(
    config: TransformerConfig, dtype: str = "float32", head: HeadName | None = None
) -> dict[str, Any]:
    """Return what config.json holds for a model with this head, by default a language model's.

    The keys are Hugging Face's older ones, which all tools read.
    """
    form = FORMATS[config.family]
    values: dict[str, Any] = {
        "architectures": [
            form.name + HEAD_CLASSES[head] if head else form.language.format(form.name)
        ],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied,
        "initializer_range": config.init_std,
        "dtype": dtype,
    }
    for field in form.fields:
        value = values[field.key] = getattr(config, field.ours)
        if isinstance(field.kind, dict):
            values[field.key] = next(name for name, ours in field.kind.items() if ours == value)
    return values | WRITE[config.family](config)


def head_of(architectures: Any) -> HeadName | None:
    """Return the head of a model whose config.json has these `architectures`; None for a language
    model, and where they name no known class."""
    for name in map(str, architectures if isinstance(architectures, list) else ()):
        for head, ending in HEAD_CLASSES.items():
            if name.endswith(ending):
                return head
    return None


READ: dict[Family, Callable[[ConfigReader, Family], dict[str, Any]]] = {
    **dict.fromkeys(DECODERS, read_llama),
    "gpt2": read_gpt2,
    "smollm3": read_smollm3,
    "gemma3_text": read_gemma3,
    **dict.fromkeys(("bert", "roberta", "xlm-roberta"), read_bert),
    "distilbert": read_distilbert,
    "modernbert": read_modernbert,
    **dict.fromkeys(ENCODER_DECODERS, read_t5),
}
WRITE: dict[Family, Callable[[TransformerConfig], dict[str, Any]]] = {
    **dict.fromkeys(DECODERS, write_llama),
    "gpt2": write_gpt2,
    "smollm3": write_smollm3,
    "gemma3_text": write_gemma3,
    **dict.fromkeys(("bert", "roberta", "xlm-roberta"), write_bert),
    "distilbert": write_distilbert,
    "modernbert": write_modernbert,
    **dict.fromkeys(ENCODER_DECODERS, write_t5),
}
