"""The type a model computes in when it is only used, not trained."""

from __future__ import annotations

from typing import Literal

import torch

from nextword.models.encoder_decoder import Writer

LARGE = 100_000_000  # parameters: from here on, reading the weights is what takes the time


def choose_dtype(
    wanted: Literal["auto", "bf16", "fp32"], model: Writer, device: torch.device
) -> torch.dtype:
    """bf16 where it is faster: on GPUs, and for large models on processors that multiply in it.

    Decided by the machine and the model, not by a measurement, so that a seed keeps its meaning.
    """
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bf16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16
    parameters = sum(parameter.numel() for parameter in model.parameters())
    fast = device.type == "cpu" and torch.backends.mkldnn.is_available() and _multiplies_bf16()
    return torch.bfloat16 if fast and parameters >= LARGE else torch.float32


def _multiplies_bf16() -> bool:
    try:
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    except AttributeError:  # another version of PyTorch
        return False


@torch.no_grad()
def compute_in(model: Writer, dtype: torch.dtype) -> None:
    """Set the activations' type, and keep matrices in it, so that they are not cast at each use.

    A model that was put in bf16 has lost the digits that fp32 had: load it anew for those.
    """
    model.activation_dtype = dtype
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.data = parameter.data.to(dtype)
