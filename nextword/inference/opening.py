"""A model's weights and tokenizer, ready to be computed with."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from nextword.hub.directory import load as load_directory
from nextword.hub.resolve import resolve as find_directory
from nextword.inference.precision import choose_dtype, compute_in
from nextword.models.encoder_decoder import Writer
from nextword.tokens.tokenizer import Tokenizer


def open_model(
    name: str | Path,
    precision: Literal["auto", "bf16", "fp32"] = "auto",
    device: str | torch.device | None = None,
) -> tuple[Path, Writer, Tokenizer]:
    """The directory, model and tokenizer of a run, a Hugging Face directory or a Hub name.

    `device` is a GPU where there is one, if not given.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    directory = find_directory(name)
    transformer, tokenizer = load_directory(directory)
    compute_in(transformer, choose_dtype(precision, transformer, torch.device(device)))
    transformer.to(device).eval().requires_grad_(False)
    return directory, transformer, tokenizer
