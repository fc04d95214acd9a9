"""What this machine can do: the type a run computes in, and how fast a model trains."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import torch

from nextword.models.config import TransformerConfig
from nextword.models.encoder_decoder import build_model
from nextword.objectives import language_modeling
from nextword.settings import PretrainSettings
from nextword.tokens.store import Store
from nextword.training.objective import Objective
from nextword.training.optimizers import OptimizerSettings, build_optimizers
from nextword.training.parallel import Group

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


def choose_precision(asked: Literal["auto", "bf16", "fp32"], device: torch.device) -> Precision:
    """Choose the type asked for, or the faster one here; weights stay in fp32 either way.

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


@dataclass(frozen=True)
class SpeedTest:
    """Measures how fast models train on this machine: whole steps on the store's own text."""

    store: Store
    objective: Objective
    settings: PretrainSettings
    precision: Precision
    group: Group

    def __call__(self, config: TransformerConfig, batch_size: int, micro_batch: int) -> float:
        """Return tokens a second for a model of this shape: the best of a few steps."""
        device = self.group.device
        model = build_model(config, seed=self.settings.seed).to(device)
        model.activation_dtype = self.precision.dtype
        nothing = OptimizerSettings(self.settings.optimizer, 0.0, 0.0, 0.9, (0.9, 0.95))
        parts = build_optimizers(model, nothing, self.precision.dtype, model.fused_splits())
        loader = self.objective.loader(self.store.train, config.context_length)
        rows = self.group.shard(batch_size)
        best, began = 0.0, time.perf_counter()
        for trial in range(4):
            since = time.perf_counter()
            for row in range(0, rows.stop - rows.start, micro_batch):
                count = min(micro_batch, rows.stop - rows.start - row)
                batch: Any = loader.batch(row, count).to(device)
                language_modeling.loss(model, batch).backward()
            parts.step(1.0)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            now = time.perf_counter()
            if trial:  # the first one also allocates
                best = max(best, batch_size * config.context_length / (now - since))
            if now - began > 8 and best:
                break
        return self.group.mean(best)
