"""Memory is predicted from a model's shape; what a block keeps is counted against autograd."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nextword import resources
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.objectives import language_modeling
from nextword.settings import ModelSettings
from nextword.tokens.loader import Batch
from nextword.training import costs
from nextword.training.machine import TYPES, Kind, Precision
from nextword.training.optimizers import OptimizerSettings, build_optimizers
from nextword.training.parallel import Group

VOCABULARY = 300


def kept_bytes(settings: ModelSettings, kind: Kind, rows: int) -> int:
    """What autograd holds of a forward pass, without the weights themselves."""
    model = Transformer(config_for(settings, VOCABULARY), seed=0)
    model.activation_dtype = TYPES[kind]
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    held: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    stream = torch.randint(VOCABULARY, (rows, model.config.context_length + 1))
    batch = Batch(stream[:, :-1], stream[:, 1:], None, None, [])
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = language_modeling.loss(model, batch)  # alive until all is counted
    assert loss.isfinite()
    return sum(held.values())


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["qwen3", "gpt2", "llama"])
def test_what_a_block_keeps_is_what_autograd_saves(family: str, kind: Kind) -> None:
    shape = {"width": 128, "heads": 4, "context_length": 128, "family": family}
    one, five = (ModelSettings(layers=layers, **shape) for layers in (1, 5))  # type: ignore[arg-type]
    measured = (kept_bytes(five, kind, rows=8) - kept_bytes(one, kind, rows=8)) / 4
    config = config_for(five, VOCABULARY)
    predicted = costs.kept_by_a_block(config, 8 * 128, Precision(kind, 1.0, ""))
    assert predicted == pytest.approx(measured, rel=0.12)


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_an_optimizers_states_are_counted(optimizer: str) -> None:
    config = config_for(ModelSettings(layers=2, width=64, heads=2), VOCABULARY)
    model = Transformer(config, seed=0)
    settings = OptimizerSettings(optimizer, 0.1, 0.0, 0.9, (0.9, 0.95))  # type: ignore[arg-type]
    optimizers = build_optimizers(model, settings, torch.float32, model.tiles())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizers.step(1.0)
    held = sum(t.nbytes for t in optimizers.tensors().values() if t.dim())
    assert costs.optimizer_bytes(config, optimizer) == pytest.approx(held, rel=0.02)


def test_the_micro_batch_is_the_largest_half_that_fits() -> None:
    config = config_for(ModelSettings(size="10m", context_length=512), 8192)
    precision = Precision("fp32", 1.0, "")
    eight = costs.predict_memory(config, 8, precision, "muon", accumulates=True)
    free = round((eight.states + eight.working) / costs.FILLED) + 1
    assert costs.fitting_micro_batch(config, 64, precision, "muon", free) == 8
    assert costs.fitting_micro_batch(config, 64, precision, "muon", 0) == 64  # not known
    assert costs.fitting_micro_batch(config, 64, precision, "muon", 1000) == 1  # try at least
    assert costs.fitting_micro_batch(config, 4, precision, "muon", free) == 4


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 4000 kB\nMemAvailable: 3000 kB\n")
    monkeypatch.setattr(resources, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(resources, "CGROUP", tmp_path)
    assert costs.free_memory(Group()) == 3000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert costs.free_memory(Group()) == 3000 * 1024
    (tmp_path / "memory.max").write_text("1048576\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert costs.free_memory(Group()) == 48_576
    assert costs.free_memory(replace(Group(), size=2)) == 24_288
    (tmp_path / "meminfo").unlink()
    assert costs.free_memory(Group()) == 0


def test_a_gpu_holds_more_logits_at_once() -> None:
    """Which is a part of the prediction: GPT-2 124M with 32 rows took 14.2 GiB on an H100."""
    config = config_for(ModelSettings(size="gpt2"), 50_257)
    bf16, gpu = Precision("bf16", 1.0, ""), torch.device("cuda", 0)
    on_gpu = costs.predict_memory(config, 32, bf16, "adamw", device=gpu)
    on_cpu = costs.predict_memory(config, 32, bf16, "adamw")
    assert on_gpu.working - on_cpu.working > 2**29
    assert (on_gpu.states + on_gpu.working) / 2**30 == pytest.approx(14.24, rel=0.1)
