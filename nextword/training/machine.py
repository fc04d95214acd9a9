"""What this machine can do: the type a run computes in, on how many threads, and at what rate.

Both are chosen by timing matrix products of the model's own width, for a moment that is as short on
a slow machine. Nothing is assumed of the processor, nor that its cores are idle; and the number of
threads is chosen again while a run goes on, for other programs come and go.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from nextword.resources import available_cores
from nextword.terminal import warn
from nextword.training.parallel import Group

Kind = Literal["bf16", "fp32"]
Rate = Callable[[Kind, int], float]  # a type and a number of threads -> FLOP/s

TYPES: dict[Kind, torch.dtype] = {"bf16": torch.bfloat16, "fp32": torch.float32}
WORTHWHILE = 1.2  # bf16 must be this many times faster to be worth its rounding
WORTH_A_THREAD = 1.1  # times that more threads must be faster, to be worth their cores
CPU_ROWS = (8, 32, 128, 512, 2048)  # of a product, which grow until one takes LONG_ENOUGH
GPU_ROWS = (8192,)
LONG_ENOUGH = 0.002  # seconds: more than a timer's noise
SUSTAINED = 0.06  # seconds a rate is kept up for: many of a scheduler's time slices
WINDOW = 3.0  # seconds of steps whose speed is one figure
SLOWED = 0.75  # of the best speed at this number of threads: then something has come
SOONEST, LATEST = 4.0, 14.0  # seconds from one look to the next, ever longer while nothing changes
WIDTHS = (64, 1024)  # of a product: a wider one says nothing more, and takes long where it is slow


@dataclass(frozen=True)
class Precision:
    """How a run computes: `peak` is the matrix-multiplication rate measured for `dtype` on so many
    `threads` (of a CPU; 0 on a GPU), in FLOP/s."""

    name: Kind
    peak: float
    reason: str
    threads: int = 0

    @property
    def dtype(self) -> torch.dtype:
        return TYPES[self.name]


def choose_precision(
    asked: Literal["auto", "bf16", "fp32"],
    group: Group,
    width: int,
    threads: int | None = None,
) -> Precision:
    """Choose type and number of threads, those asked for or the fastest here, for a model of this
    `width`; from now on torch computes on so many threads. Weights stay in fp32 either way.

    The same on every rank. Of several, each keeps the threads that it was started with.
    """
    counts = thread_counts(threads, group)
    rate = rate_here(group.device, width)
    chosen = choose(asked, counts, rate)
    if group.size > 1:
        half = group.mean(chosen.name == "bf16") > 0.5
        chosen = replace(chosen, name="bf16" if half else "fp32", peak=group.mean(chosen.peak))
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    return chosen


def thread_counts(asked: int | None, group: Group) -> list[int]:
    """Return the numbers of threads to choose among, in ascending order: one, where it is given."""
    if group.device.type != "cpu":
        return [0]
    if asked or group.size > 1:
        return [asked or torch.get_num_threads()]
    most = min(torch.get_num_threads(), available_cores())
    return sorted({2**power for power in range(most.bit_length())} | {most})


def choose(asked: Literal["auto", "bf16", "fp32"], counts: Sequence[int], rate: Rate) -> Precision:
    """Choose by the rates that `rate` measures: first the type, on the fewest threads, where other
    programs disturb least, then their number. Only what may be chosen is timed."""
    started = time.perf_counter()
    kind: Kind
    if asked == "auto":
        alone: dict[Kind, float] = {name: rate(name, counts[0]) for name in TYPES}
        times = alone["bf16"] / alone["fp32"]
        kind = "bf16" if times > WORTHWHILE else "fp32"
        why = f"{times:.1f} times fp32's rate" if kind == "bf16" else f"bf16 has {times:.2g} of it"
    else:
        kind, why = asked, "asked for"
        alone = {kind: rate(kind, counts[0])}
    rates = {counts[0]: alone[kind]} | {count: rate(kind, count) for count in counts[1:]}
    threads = fastest(rates)
    reason = f"{why}; " + (describe(rates) if threads else f"{rates[0] / 1e9:,.0f} GFLOP/s")
    reason += f" in matmuls, found in {time.perf_counter() - started:.1f} s"
    return Precision(kind, rates[threads], reason, threads)


def fastest(rates: dict[int, float]) -> int:
    """Return the number of threads to take: more only where they are worth it."""
    best = min(rates)
    for count in sorted(rates):
        if rates[count] > WORTH_A_THREAD * rates[best]:
            best = count
    return best


def describe(rates: dict[int, float]) -> str:
    """Say how fast each number of threads is."""
    counts = sorted(rates)
    noun = "thread" if counts == [1] else "threads"
    speeds = " / ".join(f"{rates[count] / 1e9:,.0f}" for count in counts)
    return f"{' / '.join(map(str, counts))} {noun}: {speeds} GFLOP/s"


def rate_here(device: torch.device, width: int) -> Rate:
    """Return what measures this machine for a model of this width."""

    def rate(kind: Kind, threads: int) -> float:
        before = torch.get_num_threads()
        if threads:
            torch.set_num_threads(threads)
        try:
            return product_rate(TYPES[kind], device, width)
        finally:
            torch.set_num_threads(before)

    return rate


@torch.no_grad()
def product_rate(dtype: torch.dtype, device: torch.device, width: int) -> float:
    """Measure FLOP/s of products as those of a feed-forward network, [rows, width] × [width, 4 ·
    width], kept up for SUSTAINED seconds.

    The rows grow until one product takes LONG_ENOUGH: a type that the machine only emulates is left
    at the smallest number. What counts is the mean, not the best: where another program has a core,
    a product now and then is fast.
    """
    width = max(WIDTHS[0], min(width, WIDTHS[1]))
    weight = torch.randn(4 * width, width, device=device).to(dtype)
    for rows in CPU_ROWS if device.type == "cpu" else GPU_ROWS:
        x = torch.randn(rows, width, device=device).to(dtype)
        # Into memory that is there: pages that are new would be timed, which are not always.
        out = torch.zeros(rows, 4 * width, dtype=dtype, device=device)
        _seconds(x, weight, out)  # the first one also warms up
        taken, products = _seconds(x, weight, out), 1
        if taken > LONG_ENOUGH:
            break
    while taken < SUSTAINED:
        taken, products = taken + _seconds(x, weight, out), products + 1
    return products * 2.0 * weight.numel() * rows / taken


def _seconds(x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> float:
    started = time.perf_counter()
    torch.mm(x, weight.T, out=out)
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - started


@contextlib.contextmanager
def threads_given_back() -> Iterator[None]:
    """Compute on as many threads as before when the block is over: other runs may follow."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def watch_threads(asked: int | None, precision: Precision, group: Group, width: int) -> ThreadWatch:
    """Compute on the threads that a run began with, or on as many as are asked for now, and return
    what watches them. Warns where there are not so many, or others are asked for: sums are rounded
    in another order then."""
    counts = thread_counts(asked, group)
    began = precision.threads if counts[0] else 0
    if began and (now := asked or min(began, counts[-1])) != began and group.is_main:
        warn(
            f"this run was started with {began} threads, now it is {now}: sums may be rounded in "
            "another order, so weights will differ in their last bits"
        )
    rate = rate_here(group.device, width)
    watch = ThreadWatch(counts, lambda threads: rate(precision.name, threads))
    watch.go_on_with(asked or began)
    return watch


class ThreadWatch:
    """Looks again which number of threads is fastest when steps have become slow for long, and,
    while fewer than all are in use, from time to time whether the others have become free.

    It times products, not steps, so that looking changes nothing in the run itself: only another
    number of threads does, since sums are rounded in another order then.
    """

    def __init__(
        self,
        counts: Sequence[int],
        rate: Callable[[int], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`counts` are the numbers to choose among, `rate` measures one of them in FLOP/s."""
        self._counts, self._rate, self._clock = counts, rate, clock
        self._best = self._seconds = self._targets = 0.0
        self._looked, self._wait = clock(), SOONEST

    def go_on_with(self, threads: int) -> None:
        """Compute on so many threads, or on as many as there are to choose among; 0 for as is."""
        if threads:
            torch.set_num_threads(max(1, min(threads, self._counts[-1])))

    def watch(self, targets: int, seconds: float) -> str:
        """After each step, of so many targets in so many seconds: return what has changed, if
        anything has."""
        if len(self._counts) < 2:
            return ""
        self._targets += targets
        self._seconds += seconds
        if self._seconds < WINDOW:
            return ""
        speed = self._targets / self._seconds
        self._targets = self._seconds = 0.0
        self._best = max(self._best, speed)
        is_slow, now = speed < SLOWED * self._best, torch.get_num_threads()
        is_due = self._clock() - self._looked >= self._wait
        if not is_due or not (is_slow or now < self._counts[-1]):
            return ""
        rates = {count: self._rate(count) for count in self._counts}
        chosen = fastest(rates)
        self._looked = self._clock()
        if chosen == now:
            self._wait = min(1.5 * self._wait, LATEST)
            self._best = speed if is_slow else self._best  # there is another reason
            return ""
        torch.set_num_threads(chosen)
        self._best, self._wait = 0.0, SOONEST
        return f"threads: {now} → {chosen} ({describe(rates)} in matmuls)"
