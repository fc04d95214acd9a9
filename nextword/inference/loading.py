"""`nextword.load`: a model that knows what it can do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from nextword.hub.config import read_config
from nextword.hub.resolve import resolve as find_directory
from nextword.inference import language_model
from nextword.inference.language_model import LanguageModel
from nextword.inference.masked_model import MaskedLanguageModel, load_masked


def load(
    name: str | Path,
    *,
    precision: Literal["auto", "bf16", "fp32"] | None = None,
    device: str | torch.device | None = None,
) -> LanguageModel | MaskedLanguageModel:
    """Open a run directory, a Hugging Face directory or a Hub name: a model to `generate` with,
    or an encoder to `fill` gaps with.

    `precision` is "auto" if not given, of an encoder "fp32", as on the command line. `device` is a
    GPU where there is one, if not given.
    """
    if read_config(find_directory(name) / "config.json").writes:
        return language_model.load(name, precision=precision or "auto", device=device)
    return load_masked(name, precision=precision or "fp32", device=device)
