"""A GGUF file as what a Hugging Face directory would hold of the same model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.hub.config import write_config
from nextword.hub.gguf.config_fields import read_config_fields
from nextword.hub.gguf.fields import MAGIC, read_header
from nextword.hub.gguf.names import ROPE_FACTORS
from nextword.hub.gguf.tensors import read_numbers, tensor_table
from nextword.hub.gguf.tokenizer_fields import read_special_ids, read_tokenizer


@dataclass(frozen=True)
class GgufModel:
    """The contents of config.json, generation_config.json, tokenizer.json and
    tokenizer_config.json, and where each tensor is."""

    config: dict[str, Any]
    generation: dict[str, Any]
    tokenizer: str
    tokenizer_config: dict[str, Any]
    tensors: dict[str, Any]


def is_gguf(path: Path) -> bool:
    """Whether a file is GGUF by its first bytes."""
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_gguf(path: Path) -> GgufModel:
    """Read all of a file but its weights. Raises UserError for a damaged file, and for a model or
    tokenizer of a kind that is not supported."""
    fields, places = read_header(path)
    shapes = {place.name: place.shape for place in places}
    factors = next((place for place in places if place.name == ROPE_FACTORS), None)
    slowed = None if factors is None else read_numbers(path, factors)
    config = read_config_fields(fields, shapes, slowed)
    tokenizer, tokenizer_config = read_tokenizer(fields)
    ids = read_special_ids(fields)
    if len(fields.texts("tokenizer.ggml.tokens")) > config.vocab_size:
        raise UserError("has more tokens than rows of its embedding", where=path)
    weights = [place for place in places if place.name != ROPE_FACTORS]
    return GgufModel(
        write_config(config) | ids,
        ids,
        tokenizer,
        tokenizer_config | {"model_max_length": config.context_length},
        tensor_table(config, weights, path),
    )
