"""The type a run computes in, chosen by timing this machine for well under a second."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import torch

WORTHWHILE = 1.2  # bf16 must be this many times faster to be worth its rounding
TYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
CPU_SIZES = (256, 512, 1024)  # rows of a product, which grows until one takes LONG_ENOUGH
GPU_SIZES = (4096,)
LONG_ENOUGH = 0.02  # seconds: more than a timer's or a scheduler's noise
PATIENCE = 0.2  # seconds that one type is timed for, and one product more


@dataclass(frozen=True)
class Precision:
    """`peak` is the matrix-multiplication rate measured for `dtype`, in FLOP/s."""

    name: Literal["bf16", "fp32"]
    peak: float
    reason: str

    @property
    def dtype(self) -> torch.dtype:
        return TYPES[self.name]


def choose(asked: Literal["auto", "bf16", "fp32"], device: torch.device) -> Precision:
    """Take the type asked for, or the faster one here; weights stay in fp32 either way.

    Only what may be chosen is timed: where a type is asked for, its rate alone.
    """
    started = time.perf_counter()
    name: Literal["bf16", "fp32"]
    if asked != "auto":
        name, why = asked, "asked for"
        peak = matmul_rate(TYPES[asked], device)
    else:
        half, full = (matmul_rate(TYPES[kind], device) for kind in ("bf16", "fp32"))
        if half > WORTHWHILE * full:
            name, peak, why = "bf16", half, f"{half / full:.1f} times fp32's rate here"
        else:
            name, peak, why = "fp32", full, f"bf16 has {half / full:.2g} of its rate here"
    seconds = time.perf_counter() - started
    rate = f"{peak / 1e9:,.0f} GFLOP/s in matmuls"
    return Precision(name, peak, f"{why}; {rate}, found in {seconds:.1f} s")


def matmul_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Measure FLOP/s of square matrix products, in time that the machine's speed does not change.

    The size grows until one product takes LONG_ENOUGH; then the best of those that fit into
    PATIENCE counts. A type that the machine only emulates is left at the smallest size.
    """
    began, best = time.perf_counter(), 0.0
    for size in CPU_SIZES if device.type == "cpu" else GPU_SIZES:
        a = torch.randn(size, size, device=device).to(dtype)
        seconds = min(_product_seconds(a), _product_seconds(a))  # the first one also warms up
        best = 2.0 * size**3 / seconds
        if seconds > LONG_ENOUGH:
            break
    while time.perf_counter() - began < PATIENCE:
        best = max(best, 2.0 * size**3 / _product_seconds(a))
    return best


def _product_seconds(a: torch.Tensor) -> float:
    started = time.perf_counter()
    a @ a
    if a.device.type == "cuda":
        torch.cuda.synchronize(a.device)
    return time.perf_counter() - started
