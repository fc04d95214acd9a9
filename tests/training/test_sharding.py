"""How a model is placed; that it then learns as one process would is in tests/e2e/."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nextword.models.encoder_decoder import build_model
from nextword.models.sizes import config_for
from nextword.settings import ModelSettings
from nextword.training import sharding
from nextword.training.owners import deal, row_counts
from nextword.training.parallel import Group
from nextword.training.sharding import choose_sharding, spread

SHAPE: dict[str, Any] = {"layers": 4, "width": 64, "heads": 4, "context_length": 32}


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "modernbert", "bert", "t5"])
def test_a_model_made_without_memory_gets_the_weights_of_one_made_whole(family: str) -> None:
    config = config_for(ModelSettings(**SHAPE, family=family), 77)  # type: ignore[arg-type]
    whole = dict(build_model(config, seed=5).named_parameters())
    with torch.device("meta"):
        model = build_model(config, seed=None)
    assert all(parameter.is_meta for parameter in model.parameters())
    spread(model, lambda model, batch: batch, "none", Group(), model.initial_weights(5))
    placed = dict(model.named_parameters())
    assert placed.keys() == whole.keys()
    assert all(torch.equal(placed[name], weight) for name, weight in whole.items())


def test_weights_are_drawn_one_at_a_time() -> None:
    config = config_for(ModelSettings(**SHAPE), 77)
    with torch.device("meta"):
        model = build_model(config, seed=None)
    weights = model.initial_weights(5)
    name, first = next(weights)
    assert name == "embedding.weight" and first.device.type == "cpu"
    assert next(weights)[0] != name


@pytest.mark.parametrize(
    ("gigabytes", "size", "expected"),
    [(80.0, 64, "none"), (1.0, 8, "all"), (1.0, 64, "node"), (0.1, 64, "all")],
)
def test_a_model_is_spread_no_further_than_it_has_to_be(
    gigabytes: float, size: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here of 4 GB with its gradients and moments, on cards of so much memory."""
    properties = SimpleNamespace(total_memory=gigabytes * 1e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    model: Any = torch.nn.Linear(250_000, 1000, bias=False, device="meta")
    group = Group(0, size, torch.device("cuda", 0), node=8)
    assert choose_sharding("auto", model, group) == expected
    assert choose_sharding("all", model, group) == "all"
    assert choose_sharding("all", model, Group()) == "none", "there is nobody to share with"


def test_matrices_of_one_shape_go_around_evenly_and_large_ones_first() -> None:
    owners = deal([(64, 64)] * 12, 4)
    assert sorted(owners) == sorted([0, 1, 2, 3] * 3)
    owners = deal([(8, 8), (64, 64), (8, 8), (8, 8)], 2)
    assert owners == [1, 0, 1, 1], "who has the large one has enough to do"


@pytest.mark.parametrize("rows", [1, 2, 5, 8, 9])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_rows_are_cut_as_fsdp_cuts_them(rows: int, ranks: int) -> None:
    cut = [len(part) for part in torch.chunk(torch.zeros(rows, 3), ranks)]
    assert row_counts(rows, ranks) == cut + [0] * (ranks - len(cut))


def test_gradients_of_copies_are_exchanged_in_the_last_backward_pass_alone() -> None:
    """Of parts in each, since nobody has room for all of them: only the copies' turn waits."""
    asked: list[bool] = []

    class Parts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def set_requires_all_reduce(self, last: bool) -> None:
            asked.append(last)

    root: Any = Parts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "is_part", lambda tensor: True)
        for last in (False, False, True):
            with sharding.accumulating(root, last=last):
                pass
    assert asked == [False, False, True]
