"""A model and its tokenizer loaded for use: device, type of computation, start and end tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub.model_files import find_directory
from nextword.hub.reading import load as load_directory
from nextword.hub.starter import recommended
from nextword.models.encoder_decoder import GenerativeModel
from nextword.settings import SAMPLING, WritingSettings, resolve
from nextword.tokens.tokenizer import Tokenizer

Precision = Literal["auto", "bf16", "fp32"]
# Parameters from which on a processor reads fp32 weights more slowly than people read the text.
# Below, bf16 would only cost digits: of two words that are almost equally likely it takes another.
LARGE = 300_000_000


def open_model(
    name: str | Path, precision: Precision = "auto", device: str | torch.device | None = None
) -> tuple[Path, GenerativeModel, Tokenizer]:
    """Return the directory, model and tokenizer of a run, a Hugging Face directory or a Hub name.

    `device` defaults to a GPU where there is one. Raises UserError where anything is missing or
    damaged.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    directory = find_directory(name)
    model, tokenizer = load_directory(directory, called=name)
    set_compute_dtype(model, choose_dtype(precision, model, torch.device(device)))
    model.to(device).eval().requires_grad_(False)
    return directory, model, tokenizer


def require_generative(model: GenerativeModel, name: str | Path, task: str = "") -> None:
    """Raise UserError for an encoder, with a hint at what it can do for the `task`."""
    if not model.config.is_generative:
        hint = "use `nextword fill`, or finetune it with --task classify, tag, or qa and --extract"
        if task == "qa":
            hint = "add --extract: it points at the answer in the text"
        raise UserError(
            f"is an encoder ({model.config.family}): it fills in words that are masked, and "
            "cannot go on with a text",
            where=name,
            mend=hint,
        )


def boundary_ids(directory: Path, tokenizer: Tokenizer) -> tuple[int, frozenset[int]]:
    """Return the id that texts begin with and those that end them: as the model's files say, else
    as the tokenizer does."""
    config: dict[str, Any] = {}
    for file in (directory / "config.json", directory / "generation_config.json"):
        values = read_json(file) if file.is_file() else None
        if isinstance(values, dict):
            config |= {name: value for name, value in values.items() if value is not None}
    start = config.get("bos_token_id", tokenizer.bos_id)
    if not isinstance(start, int) or not 0 <= start < tokenizer.vocab_size:
        start = tokenizer.end_id
    ends = config.get("eos_token_id", [])
    ends = ends if isinstance(ends, list) else [ends]
    end_ids = frozenset(number for number in ends if isinstance(number, int))
    return start, end_ids | {tokenizer.end_id}


def sampling_of(name: str | Path, directory: Path) -> dict[str, Any]:
    """Return how a model's makers have it write, by names of WritingSettings: what
    generation_config.json says, as transformers and vLLM read it, or for a starter its card.

    Raises UserError for values that no text can be written with.
    """
    file = directory / "generation_config.json"
    values = read_json(file) if file.is_file() else {}
    values = values if isinstance(values, dict) and values.get("do_sample") is not False else {}
    known = {key: values[key] for key in SAMPLING if values.get(key) is not None}
    known = recommended(str(name)) | known
    resolve(WritingSettings, known, dict.fromkeys(known, str(file)))
    return known


def choose_dtype(precision: Precision, model: GenerativeModel, device: torch.device) -> torch.dtype:
    """Return the type to compute in: bf16 where it is faster, on GPUs and for large models on
    processors that multiply in it.

    It depends on the machine and the model, not on a measurement, so that a seed always gives the
    same text.
    """
    if precision != "auto":
        return torch.bfloat16 if precision == "bf16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16
    parameters = sum(parameter.numel() for parameter in model.parameters())
    fast = device.type == "cpu" and torch.backends.mkldnn.is_available() and multiplies_bf16()
    return torch.bfloat16 if fast and parameters >= LARGE else torch.float32


def multiplies_bf16() -> bool:
    """Whether the processor has instructions for matrix products in bf16."""
    try:
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    except AttributeError:  # another version of PyTorch
        return False


@torch.no_grad()
def set_compute_dtype(model: GenerativeModel, dtype: torch.dtype) -> None:
    """Set the activations' type, and convert matrices to it, so that they are not cast at each use.

    A model that was converted to bf16 has lost the digits of fp32: load it again for those.
    """
    model.activation_dtype = dtype
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.data = parameter.data.to(dtype)


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode within the block, then back in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
