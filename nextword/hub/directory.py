"""A model's directory: config.json, safetensors, tokenizer, generation_config.json, README.md."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import torch

from nextword.errors import UserError
from nextword.files import whole_directory, write_json
from nextword.hub.card import model_card
from nextword.hub.config import read_config, write_config
from nextword.hub.resolve import inside, resolve
from nextword.hub.weights import SHARD_BYTES, read_model, write_weights
from nextword.models.transformer import Transformer
from nextword.tokens.tokenizer import Tokenizer

FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
MARKS = {"config.json", "model.safetensors"}  # of a directory that a save may replace


def load(name_or_path: str | PathLike[str]) -> tuple[Transformer, Tokenizer]:
    """A model and its tokenizer from a run, a Hugging Face directory or the Hub.

    Weights are fp32 and dropout is off. Raises UserError where anything is missing or damaged.
    """
    directory = resolve(name_or_path)
    for file in FILES:
        inside(directory, file)
    tokenizer = Tokenizer.load(directory)
    model = load_model(directory)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size:,} tokens, the model only "
            f"{model.config.vocab_size:,}",
            where=directory,
            mend="they belong to different models",
        )
    return model, tokenizer


def load_model(directory: str | PathLike[str]) -> Transformer:
    """The model alone, in evaluation mode."""
    directory = Path(directory)
    return read_model(directory, read_config(inside(directory, "config.json"))).eval()


def save(
    directory: str | PathLike[str],
    model: Transformer,
    tokenizer: Tokenizer | None = None,
    generation: dict[str, Any] | None = None,
    card: str | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write all of a model's directory, or nothing: an older model there is replaced in one step.

    `generation` is added to generation_config.json, `card` is what the README says about the
    model. Opens in transformers with AutoModelForCausalLM and AutoTokenizer. Raises UserError
    where the directory holds something else than a model.
    """
    directory = Path(directory)
    if directory.exists():
        present = {path.name for path in directory.iterdir()} if directory.is_dir() else {"a file"}
        if present and not present & MARKS:
            raise UserError(
                "holds something else than a model",
                where=directory,
                mend="choose another directory",
            )
    ids = {}
    if tokenizer is not None:
        begin = tokenizer.end_id if tokenizer.bos_id is None else tokenizer.bos_id
        ids = {"bos_token_id": begin, "eos_token_id": tokenizer.end_id}
    with whole_directory(directory) as aside:
        kind = str(dtype).removeprefix("torch.")
        write_json(aside / "config.json", write_config(model.config, kind) | ids)
        write_weights(aside, model, dtype, shard_bytes)
        write_json(aside / "generation_config.json", ids | (generation or {}))
        if tokenizer is not None:
            tokenizer.save(aside)
        (aside / "README.md").write_text(model_card(model.config, card), encoding="utf-8")
