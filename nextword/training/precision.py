"""The type activations are computed in, chosen by timing this machine for a few milliseconds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import torch

WORTHWHILE = 1.2  # bf16 must be this many times faster to be worth its rounding
TYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Precision:
    """`peak` is the matrix-multiplication rate measured for `dtype`, in FLOP/s."""

    name: Literal["bf16", "fp32"]
    peak: float
    reason: str

    @property
    def dtype(self) -> torch.dtype:
        return TYPES[self.name]


def choose(wanted: Literal["auto", "bf16", "fp32"], device: torch.device) -> Precision:
    """Take the type asked for, or the faster one here; weights stay in fp32 either way."""
    rates = {name: matmul_rate(dtype, device) for name, dtype in TYPES.items()}
    name: Literal["bf16", "fp32"]
    if wanted != "auto":
        name, why = wanted, "asked for"
    elif rates["bf16"] > WORTHWHILE * rates["fp32"]:
        name, why = "bf16", f"{rates['bf16'] / rates['fp32']:.1f} times fp32's rate here"
    else:
        name, why = "fp32", "bf16 is no faster here"
    return Precision(name, rates[name], f"{why}; {rates[name] / 1e9:,.0f} GFLOP/s in matmuls")


def matmul_rate(dtype: torch.dtype, device: torch.device, size: int = 1024) -> float:
    """FLOP/s of square matrix multiplications, the best of three short runs."""
    size = 4096 if device.type == "cuda" else size
    a = torch.randn(size, size, device=device).to(dtype)
    seconds = float("inf")
    for _ in range(4):
        started = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = min(seconds, time.perf_counter() - started)
    return 2.0 * size**3 / seconds
