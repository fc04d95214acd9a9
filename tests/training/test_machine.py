from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nextword.training.machine import TYPES, choose_precision
from nextword.training.update_rules import Muon

CPU = torch.device("cpu")


class Products(TorchDispatchMode):
    """Keeps the type and the rows of every matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[torch.dtype, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default):
            self.found.append((args[0].dtype, args[0].shape[-2]))
        return func(*args, **(kwargs or {}))

    @property
    def types(self) -> set[torch.dtype]:
        return {dtype for dtype, _ in self.found}


def test_only_types_that_may_be_chosen_are_timed() -> None:
    for asked, dtype in TYPES.items():
        with Products() as products:
            assert choose_precision(asked, CPU).dtype == dtype  # type: ignore[arg-type]
        assert products.types == {dtype}
    with Products() as products:
        choose_precision("auto", CPU)
    assert products.types == set(TYPES.values())


def test_a_type_that_is_slow_here_is_timed_by_one_small_product_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = itertools.count(0.0, 0.5)
    monkeypatch.setattr("nextword.training.machine.time.perf_counter", lambda: next(seconds))
    with Products() as products:
        choose_precision("bf16", CPU)
    assert len(products.found) == 2 and {rows for _, rows in products.found} == {256}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_muon_multiplies_in_the_type_it_is_given(dtype: torch.dtype) -> None:
    weight = torch.nn.Parameter(torch.randn(8, 6))
    weight.grad = torch.randn(8, 6)
    with Products() as products:
        Muon([{"params": [weight]}], 0.1, 0.9, 0.0, dtype).step()
    assert products.types == {dtype}
    assert weight.dtype == torch.float32
