from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import distributed
from torch.utils._python_dispatch import TorchDispatchMode

from nextword.errors import UserError
from nextword.models.config import TransformerConfig, parameter_count
from nextword.models.encoder_decoder import build_model
from nextword.models.sizes import config_for
from nextword.objectives import language_modeling
from nextword.settings import ModelSettings
from nextword.tokens.loader import Batch
from nextword.training import cluster_plan
from nextword.training.cluster_plan import (
    Cluster,
    Run,
    Work,
    exchanged_bytes,
    full_flops,
    parse_cluster,
    predict,
    step_seconds,
)
from nextword.training.loop import train_step
from nextword.training.optimizers import OptimizerSettings, build_optimizers
from nextword.training.owners import local
from nextword.training.parallel import Group
from nextword.training.sharding import spread

# Published speeds: parameters, layers, width, context; then by number of GPUs the tokens a GPU and
# step, and tokens a second and GPU. MPT: llm-foundry's benchmarking README, where 1b and 3b gather
# their weights once a step. Llama: torchtitan's benchmarks.
PUBLISHED = {
    "MPT 1b": (1315950592, 24, 2048, 2048, {128: (12, 44123), 256: (12, 42555), 512: (12, 39837)}),
    "MPT 3b": (2651837440, 32, 2560, 2048, {128: (8, 23422), 256: (8, 22772), 512: (8, 21664)}),
    "MPT 7b": (6658859008, 32, 4096, 2048, {128: (6, 10475), 256: (6, 10119), 512: (6, 9670)}),
    "MPT 13b": (12853954560, 40, 5120, 2048, {128: (16, 5080), 256: (16, 4989), 512: (16, 4952)}),
    "MPT 30b": (29975214080, 48, 7168, 2048, {128: (8, 2199), 256: (8, 2148), 512: (8, 2115)}),
    "MPT 70b": (64862437376, 80, 8192, 2048, {128: (8, 1058), 256: (8, 1035), 512: (8, 1007)}),
    "Llama 8B": (8030261248, 32, 4096, 8192, {8: (2, 6667), 128: (2, 6514)}),
    "Llama 8B, H200": (8030261248, 32, 4096, 8192, {32: (2, 10938), 64: (2, 10753)}),
}
GATHERED_ONCE = ("MPT 1b", "MPT 3b")
# What one node reaches: layers, width, context, vocabulary, rows a step and GPU, tokens/s and GPU.
SINGLE = {
    "GPT-2 124M": (12, 768, 1024, 50257, 64, 468_000),
    "350M": (24, 1024, 1024, 50257, 64, 188_000),
    "MPT 1.3B": (24, 2048, 2048, 50368, 14, 45_455),
    "nanochat d24": (24, 1536, 2048, 32768, 32, 100_000),
    "Llama 8B": (32, 4096, 8192, 128256, 2, 6_667),
}


def speed(name: str, gpus: int, efficiency: float) -> float:
    """Predicted tokens a second and GPU."""
    parameters, layers, width, context, points = PUBLISHED[name]
    rows, _ = points[gpus]
    flops, tokens = full_flops(parameters, layers, width, context), rows * context
    work = Work(parameters, layers, flops, tokens, gpus, name in GATHERED_ONCE)
    cluster = Cluster("H200" if "H200" in name else "H100", gpus)
    return tokens / step_seconds(work, cluster, efficiency)


def measured_efficiency(name: str) -> float:
    """The share of the peak with which the smallest scale is as fast as was published."""
    smallest = min(PUBLISHED[name][4])
    low, high = 0.05, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (
            (middle, high)
            if speed(name, smallest, middle) < PUBLISHED[name][4][smallest][1]
            else (low, middle)
        )
    return low


@pytest.mark.parametrize(
    ("name", "gpus"),
    [(name, gpus) for name, row in PUBLISHED.items() for gpus in sorted(row[4])[1:]],
)
def test_larger_scales_are_predicted_from_the_smallest_within_five_percent(
    name: str, gpus: int
) -> None:
    found = speed(name, gpus, measured_efficiency(name))
    assert found == pytest.approx(PUBLISHED[name][4][gpus][1], rel=0.05)


@pytest.mark.parametrize("name", SINGLE)
def test_the_speed_itself_is_within_a_fifth(name: str) -> None:
    layers, width, context, vocabulary, rows, published = SINGLE[name]
    shape = ModelSettings(
        family="gpt2", layers=layers, width=width, heads=width // 64, context_length=context
    )
    found = predict(config_for(shape, vocabulary), Cluster("H100", 8), 8 * rows * context)
    assert found.tokens_per_second / 8 == pytest.approx(published, rel=0.2)


def large(layers: int = 32, width: int = 4096, context: int = 4096) -> TransformerConfig:
    shape = ModelSettings(layers=layers, width=width, heads=32, context_length=context)
    return config_for(shape, 50304)


def test_a_model_is_spread_no_further_than_it_has_to_be() -> None:
    small = config_for(ModelSettings(size="100m", context_length=1024), 50304)
    assert predict(small, Cluster("H100", 64), 2**20).shards == 1
    assert predict(large(), Cluster("H100", 64), 2**22).shards == 8
    assert predict(large(80, 8192, 1024), Cluster("H100", 64), 2**22).shards == 64


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"does not fit 8 × H100"):
        predict(large(80, 8192), Cluster("H100", 8), 2**20)


def test_volumes_are_those_of_ring_collectives() -> None:
    """Of each GPU's bytes: weights twice in bf16 and gradients once in fp32, less its own part."""
    work = Work(1e9, 24, 6e9, 2**15, 8)
    shared, copied = exchanged_bytes(work, Cluster("H100", 8))
    assert (shared, copied) == (8e9 * 7 / 8, 0)
    shared, copied = exchanged_bytes(work, Cluster("H100", 64))  # in eight nodes
    assert (shared, copied) == (8e9 * 7 / 8, 2 * 4e9 / 8 * 7 / 8)
    shared, copied = exchanged_bytes(replace(work, shards=1), Cluster("H100", 8))
    assert (shared, copied) == (0, 2 * 4e9 * 7 / 8)


def test_more_time_makes_a_larger_model_and_a_lower_loss() -> None:
    configs = [
        config_for(ModelSettings(size=size, context_length=1024), 50304)
        for size in ("10m", "100m", "300m", "1b")
    ]
    cluster = parse_cluster("8xH100")
    run = Run(cluster, 1e11, price=2.5)
    hour, day = (run.best(configs, seconds=seconds) for seconds in (3600.0, 86400.0))
    assert parameter_count(day.config) > parameter_count(hour.config)
    assert day.loss < hour.loss
    assert hour.cost == pytest.approx(20) and day.cost == pytest.approx(480)
    again = run.best([day.config], tokens=day.tokens)
    assert again.seconds == pytest.approx(86400.0)
    assert hour.bits_per_byte(0.25) == pytest.approx(hour.loss / 0.6931 * 0.25, rel=1e-3)


def test_a_cluster_is_named_by_number_and_card() -> None:
    assert parse_cluster("8xH100") == Cluster("H100", 8)
    assert parse_cluster("64 x h200") == Cluster("H200", 64)
    assert parse_cluster("a100") == Cluster("A100", 1, 1)
    for wrong in ("8xH10", "0xH100", "eight", ""):
        with pytest.raises(UserError, match="--gpus"):
            parse_cluster(wrong)


def test_every_card_has_figures_that_make_sense() -> None:
    for gpu in cluster_plan.GPUS.values():
        assert gpu.peak > 1e14 and gpu.memory > 7e10 and gpu.bandwidth > gpu.between


class Collectives(TorchDispatchMode):
    """Counts the bytes that a rank gets from others, or sends them, in collectives."""

    def __init__(self, ranks: int) -> None:
        super().__init__()
        self.bytes, self._ranks = 0.0, ranks

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = str(function)
        whole = 0  # which argument is as large as all ranks' parts together
        if "allgather_base" in name or "reduce_scatter_base" in name:
            whole = 0 if "allgather" in name else 1
            self.bytes += args[whole].nbytes * (self._ranks - 1) / self._ranks
        return function(*args, **(kwargs or {}))


@pytest.fixture(params=[8, 64, 1024])
def ranks(request: pytest.FixtureRequest) -> Iterator[int]:
    """A group of so many processes, of which only this one is there."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", FakeStore(), rank=0, world_size=request.param)
    yield request.param
    distributed.destroy_process_group()


def test_what_ranks_hold_and_exchange_is_what_is_predicted(ranks: int) -> None:
    """Of a model in bf16 that is spread over all of them by FSDP2."""
    shape = ModelSettings(family="gpt2", layers=6, width=128, heads=4, context_length=32)
    config = config_for(shape, 300)
    model = build_model(config, seed=0)
    model.activation_dtype = torch.bfloat16
    group = Group(0, ranks, node=8)
    root = spread(model, language_modeling.loss, "all", group)
    settings = OptimizerSettings("adamw", 1e-3, 0.1, 0.9, (0.9, 0.95))
    learned = build_optimizers(model, settings, torch.bfloat16, {}, ranks=ranks)
    tokens = torch.randint(0, 300, (2, 33))
    batch = Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), None, None, [])
    train_step(root, learned, [batch], 1.0, 1.0, group)  # makes the moments
    with Collectives(ranks) as counted:
        loss: torch.Tensor = root(batch)
        loss.backward()
    held = [*learned.parameters, *(p.grad for p in learned.parameters if p.grad is not None)]
    held += [tensor for name, tensor in learned.tensors().items() if not name.endswith("step")]
    padded = sum(-(-len(p) // ranks) * p[0].numel() for p in model.parameters())
    bytes_held = sum(local(tensor).nbytes for tensor in held)
    # The first rank's part is rounded up to whole rows: of that as predicted, and of the model.
    assert bytes_held == pytest.approx(cluster_plan.STATE * padded, rel=0.01)
    if ranks == 8:
        assert bytes_held == pytest.approx(cluster_plan.state_bytes(config, ranks), rel=0.1)
    count = parameter_count(config)
    work = Work(count, config.layers, 1.0, 64.0, ranks)
    expected, copied = exchanged_bytes(work, Cluster("H100", ranks))
    assert copied == 0
    # Parts are padded to whole rows in collectives as well; the root's weights are gathered once.
    padding = ranks * padded / count
    assert counted.bytes == pytest.approx(expected * padding, rel=0.1)
