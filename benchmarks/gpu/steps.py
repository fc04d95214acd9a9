"""Training GPT-2 124M and 350M: tokens a second, memory, how long the GPU idles, and where the
CPU waits for it."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch._dynamo.utils import counters

from gpu.machine import product_rate
from gpu.models import VOCABULARY, Learner, Optimizer, config_of, new_learner, random_split
from gpu.section import NO_CUDA, Section
from nextword.models.blocks import compile_blocks
from nextword.models.config import TransformerConfig
from nextword.models.sizes import flops_per_token
from nextword.tokens.loader import Batch, BlockLoader
from nextword.training.background import Prefetcher
from nextword.training.loop import TakenStep

H100 = 989e12  # FLOP/s of bf16 products that the maker promises
SECONDS = 3.0  # of steps that are timed
COMPILING = 25.0  # seconds that a variant may need
SYNCHRONIZES = "synchronizing CUDA operation"


@dataclass(frozen=True)
class Variant:
    """A way to train; `rows` are a micro-batch, and a step."""

    name: str
    size: str
    rows: int = 64
    compiled: bool = False
    packed: bool = True  # several documents a row, and so FlexAttention
    optimizer: Optimizer = "adamw"


VARIANTS = (  # those that compile least first: they take seconds
    Variant("124M as is", "124M"),
    Variant("350M as is", "350M", rows=32),
    Variant("124M, blocks compiled", "124M", compiled=True),
    Variant("350M, blocks compiled", "350M", 32, compiled=True),
    Variant("124M, compiled, one document a row", "124M", 64, True, packed=False),
    Variant("124M, compiled, 128 rows", "124M", 128, True),
    Variant("124M, compiled, Muon", "124M", 64, True, optimizer="muon"),
    Variant("350M, compiled, one document a row", "350M", 32, True, packed=False),
    Variant("350M, compiled, 64 rows", "350M", 64, True),
)
REHEARSED = (
    Variant("as is", "124M", rows=2),
    Variant("one document a row, Muon", "124M", 2, packed=False, optimizer="muon"),
)


def training(section: Section) -> None:
    """Time whole steps, batches from nextword's own loader among them."""
    square = (256,) * 3 if section.small else (8192,) * 3
    peak = product_rate(section, square, torch.bfloat16)
    section.note("matmul peak TFLOP/s", peak / 1e12)
    for variant in REHEARSED if section.small else VARIANTS:
        if section.has_time(variant.name, COMPILING if variant.compiled else SECONDS + 4):
            with section.part(variant.name):
                _variant(section, variant, peak)
            torch._dynamo.reset()
            counters.clear()


class Run:
    """A learner and its steps as the training loop takes them: batches are made ahead, and the
    figures of a step are read when the next one is under way."""

    def __init__(self, learner: Learner, loader: BlockLoader, rows: int) -> None:
        self.learner, self.loader, self.rows, self.taken = learner, loader, rows, 0
        self.batches = Prefetcher(self._batch)
        self._under_way: TakenStep | None = None

    def _batch(self, number: int) -> Batch:
        batch = self.loader.batch(number * self.rows, self.rows)
        return batch.pinned() if self.learner.device.type == "cuda" else batch

    def step(self) -> float:
        """Begin a step; return the loss of the one before it, the first one's own."""
        batch = self.batches.take(self.taken).to(self.learner.device)
        self.taken += 1
        before, self._under_way = self._under_way, self.learner.launch(batch)
        return (before or self._under_way).read().loss


def started_run(section: Section, variant: Variant, rows: int) -> Run:
    """Return a run of a variant with so many rows a step, which has not yet taken one."""
    config = config_of(variant.size, section.small, VOCABULARY)
    learner = new_learner(config, section.device, torch.bfloat16, variant.optimizer)
    if variant.compiled and section.on_gpu:
        compile_blocks(learner.model)
    split = random_split(config, 4 * rows * config.context_length, variant.packed)
    return Run(learner, BlockLoader(split, config.context_length, seed=0), rows)


def _variant(section: Section, variant: Variant, peak: float) -> None:
    run = started_run(section, variant, variant.rows)
    config = run.learner.model.config
    started = time.perf_counter()
    losses = [run.step()]
    section.synchronize()
    section.note(f"{variant.name}: first step s", time.perf_counter() - started)
    losses += [run.step() for _ in range(2)]
    if variant.compiled:  # blocks that differ are compiled each, up to a limit
        section.note(f"{variant.name}: compiled", dict(counters["stats"]))
    with section.peak_memory(variant.name):
        speed = _tokens_per_second(section, run, config)
    of_peak = speed * flops_per_token(config, config.context_length)
    figures = {
        "tokens/s": speed,
        "of the matmul peak": of_peak / peak,
        "of 989 TFLOP/s": of_peak / H100,
        "rows": variant.rows,
        "loss": [losses[0], run.step()],
    }
    section.note(variant.name, figures)
    section.note(f"{variant.name}: making a batch ms", _batch_milliseconds(run))
    if not section.on_gpu:
        section.note(f"{variant.name}: idle, syncs", NO_CUDA)
        return
    waits = synchronizations(run)
    section.check(f"{variant.name}: at most one wait a step", waits["count"] <= 1, waits)
    section.note(f"{variant.name}: idle", _idle_share(section, run))


def _tokens_per_second(section: Section, run: Run, config: TransformerConfig) -> float:
    seconds = 0.3 if section.small else SECONDS
    section.synchronize()
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        run.step()
        steps += 1
    section.synchronize()
    tokens = steps * run.rows * config.context_length
    return tokens / (time.perf_counter() - started)


def _batch_milliseconds(run: Run) -> float:
    started = time.perf_counter()
    for number in range(3):
        run.loader.batch(number * run.rows, run.rows)
    return 1e3 * (time.perf_counter() - started) / 3


def synchronizations(run: Run) -> dict[str, Any]:
    """Return how often the CPU waits for the GPU in a step of one micro-batch, and in which lines.

    A copy from memory that is not pinned waits too, which PyTorch does not count.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = Counter(
        f"{Path(warning.filename).name}:{warning.lineno}"
        for warning in caught
        if SYNCHRONIZES in str(warning.message)
    )
    return {"count": places.total(), "places": dict(places)}


def _idle_share(section: Section, run: Run) -> dict[str, Any]:
    """Return the share of two steps' time in which no kernel runs, and the slowest kernels."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    steps = 2
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        section.synchronize()
        started = time.perf_counter()
        for _ in range(steps):
            run.step()
        section.synchronize()
        wall = 1e6 * (time.perf_counter() - started)  # microseconds, as the profiler's
    kernels = [
        event
        for event in profiled.events()
        if event.device_type == DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
    ]
    if not kernels:
        return {"share": None, "why": "the profiler saw no kernel"}
    busy = covered([(event.time_range.start, event.time_range.end) for event in kernels])
    slowest: Counter[str] = Counter()
    for event in kernels:
        slowest[event.name[:80]] += event.time_range.end - event.time_range.start
    shares = {name: round(spent / wall, 4) for name, spent in slowest.most_common(12)}
    return {"share": 1 - busy / wall, "kernels a step": len(kernels) / steps, "of time": shares}


def covered(spans: list[tuple[float, float]]) -> float:
    """Return the length of the union of some spans."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
