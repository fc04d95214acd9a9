from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nextword.training.machine import (
    TYPES,
    choose,
    choose_precision,
    product_rate,
    thread_counts,
)
from nextword.training.parallel import Group
from nextword.training.update_rules import Muon


class Products(TorchDispatchMode):
    """Keeps the type and the rows of every matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[torch.dtype, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm):
            self.found.append((args[0].dtype, args[0].shape[-2]))
        return func(*args, **(kwargs or {}))

    @property
    def types(self) -> set[torch.dtype]:
        return {dtype for dtype, _ in self.found}


class FakeRates:
    """A machine that multiplies at the rates given, [type][threads], in GFLOP/s."""

    def __init__(self, **rates: dict[int, float]) -> None:
        self.rates = rates
        self.asked: list[tuple[str, int]] = []

    def __call__(self, kind: str, threads: int) -> float:
        self.asked.append((kind, threads))
        return 1e9 * self.rates[kind][threads]


AVX2 = {"fp32": {1: 22.0, 2: 40.0}, "bf16": {1: 1.3, 2: 2.0}}
AVX512_BF16 = {"fp32": {1: 100.0, 2: 190.0}, "bf16": {1: 210.0, 2: 400.0}}
BUSY = {"fp32": {1: 21.0, 2: 9.6}, "bf16": {1: 1.3, 2: 0.5}}


@pytest.mark.parametrize(
    ("machine", "kind", "threads", "peak"),
    [(AVX2, "fp32", 2, 40.0), (AVX512_BF16, "bf16", 2, 400.0), (BUSY, "fp32", 1, 21.0)],
)
def test_type_and_threads_are_the_fastest_here(
    machine: dict[str, dict[int, float]], kind: str, threads: int, peak: float
) -> None:
    chosen = choose("auto", [1, 2], FakeRates(**machine))
    assert (chosen.name, chosen.threads, chosen.peak) == (kind, threads, 1e9 * peak)
    assert "1 / 2 threads" in chosen.reason and "found in" in chosen.reason


def test_only_what_may_be_chosen_is_timed() -> None:
    for asked in TYPES:
        rates = FakeRates(**AVX512_BF16)
        assert choose(asked, [2], rates).name == asked
        assert rates.asked == [(asked, 2)]


def test_more_threads_that_gain_next_to_nothing_are_not_taken() -> None:
    rates = {1: 100.0, 2: 190.0, 4: 380.0, 8: 400.0}
    assert choose("fp32", list(rates), FakeRates(fp32=rates)).threads == 4


def test_threads_that_are_asked_for_are_taken_and_the_choice_is_bounded() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert thread_counts(None, Group())[-1] <= 3
        assert thread_counts(None, Group(size=2)) == [3]  # torchrun has said how many
        assert thread_counts(7, Group()) == [7]
        assert choose_precision("fp32", Group(), 64, threads=1).threads == 1
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


def test_a_container_that_may_use_one_core_and_a_half_has_two(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    limit = tmp_path / "cpu.max"
    monkeypatch.setattr("nextword.resources.CGROUP", tmp_path)
    assert thread_counts(None, Group()) == [1, 2, 4, 8, 16, 32, 64]
    limit.write_text("150000 100000\n")
    assert thread_counts(None, Group()) == [1, 2]
    limit.write_text("max 100000\n")
    assert thread_counts(None, Group())[-1] == 64


def test_a_type_that_is_slow_here_is_timed_by_two_small_products_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = itertools.count(0.0, 0.5)  # every product takes half a second
    monkeypatch.setattr("nextword.training.machine.time.perf_counter", lambda: next(seconds))
    with Products() as products:
        product_rate(torch.bfloat16, torch.device("cpu"), 4096)
    assert len(products.found) == 2 and {rows for _, rows in products.found} == {8}


def test_a_rate_is_the_mean_of_what_was_sustained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second product takes ten times as long, as beside another program."""
    ticks, now = itertools.cycle([0.0, 0.004, 0.0, 0.04]), itertools.count()
    clock = 0.0

    def perf_counter() -> float:
        nonlocal clock
        next(now)
        clock += next(ticks)
        return clock

    monkeypatch.setattr("nextword.training.machine.time.perf_counter", perf_counter)
    rate = product_rate(torch.float32, torch.device("cpu"), 64)
    assert rate == pytest.approx(2 * 8 * 64 * 256 / 0.022, rel=0.6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_muon_multiplies_in_the_type_it_is_given(dtype: torch.dtype) -> None:
    weight = torch.nn.Parameter(torch.randn(8, 6))
    weight.grad = torch.randn(8, 6)
    with Products() as products:
        Muon([{"params": [weight]}], 0.1, 0.9, 0.0, dtype).step()
    assert products.types == {dtype}
    assert weight.dtype == torch.float32
