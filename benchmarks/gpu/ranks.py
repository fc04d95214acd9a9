"""A world of one process: DDP and FSDP2 take the same steps as none, and a run goes on from
nextword's own checkpoint bit for bit."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from gpu.models import Learner, Optimizer, config_of, new_learner, random_batch
from gpu.section import Section, relative_error
from nextword.models.config import TransformerConfig
from nextword.training import checkpoint, spread_checkpoint
from nextword.training.background import Saver
from nextword.training.loop import train_step
from nextword.training.owners import local
from nextword.training.parallel import Group

STEPS = 4
# Of the weights' change in some steps: AdamW gives small gradients full steps, Muon does so with
# small directions, and under FSDP2 norms and the embedding's gradient are bf16 too.
ROUNDING, SHARDED_ROUNDING = 0.05, 0.15


def ranks(section: Section) -> None:
    """Train a few steps in each way and compare the weights."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS then repeats its sums
    config = config_of("124M", section.small)
    rows = 2 if section.small else 8
    batches = [random_batch(config, rows, seed).to(section.device) for seed in range(STEPS)]
    with section.part("resume"):
        _resume(section, config, batches)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if section.on_gpu:
        torch.cuda.set_device(section.device)
    distributed.init_process_group(
        "nccl" if section.on_gpu else "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=0,
        world_size=1,
    )
    try:
        alone = _trained(new_learner(config, section.device, torch.bfloat16), batches)
        with section.part("DDP"):
            learner = new_learner(config, section.device, torch.bfloat16)
            devices = [section.device] if section.on_gpu else None
            replica = DistributedDataParallel(
                learner.loss, device_ids=devices, gradient_as_bucket_view=True
            )
            _compare(section, "DDP", _trained(learner, batches, replica), alone)
        for kind in ("adamw", "muon"):
            with section.part(f"FSDP2 with {kind}"):
                _sharded(section, config, batches, kind)
    finally:
        distributed.destroy_process_group()


def _trained(
    learner: Learner, batches: Sequence[Any], module: nn.Module | None = None
) -> tuple[list[float], Tensor]:
    """Take a step on each batch; return the losses, and how the weights have changed."""
    before = _weights(learner.model)
    group = Group(device=learner.device)
    loss: Any = learner.loss if module is None else module
    losses = [
        train_step(loss, learner.optimizers, [batch], 1.0, 1.0, group).read().loss
        for batch in batches
    ]
    return losses, _weights(learner.model) - before


def _weights(model: nn.Module) -> Tensor:
    parts = [p.full_tensor() if isinstance(p, DTensor) else p for p in model.parameters()]
    return torch.cat([part.detach().float().cpu().flatten() for part in parts])


def _compare(
    section: Section,
    name: str,
    found: tuple[list[float], Tensor],
    alone: tuple[list[float], Tensor],
) -> None:
    (losses, change), (own_losses, own_change) = found, alone
    error = relative_error(change, own_change)
    most = SHARDED_ROUNDING if name.startswith("FSDP2") else ROUNDING
    figures = {"of the weights' change": error, "losses": losses, "losses alone": own_losses}
    section.check(f"{name}: the steps of one process", error <= most, figures)


def _sharded(
    section: Section, config: TransformerConfig, batches: Sequence[Any], kind: Optimizer
) -> None:
    """Each block and the root of the loss sharded by FSDP2, as `--shard all` does."""
    plain = _trained(new_learner(config, section.device, torch.bfloat16, kind), batches)
    group = Group(device=section.device)
    learner = new_learner(config, section.device, torch.bfloat16, kind, "all", group)
    with section.peak_memory(f"FSDP2 with {kind}"):
        started = time.perf_counter()
        found = _trained(learner, batches)
        section.note(f"FSDP2 with {kind}: s", time.perf_counter() - started)
    _compare(section, f"FSDP2 with {kind}", found, plain)
    with tempfile.TemporaryDirectory() as folder:
        _spread_checkpoint(section, learner, kind, Path(folder))


def _spread_checkpoint(section: Section, learner: Learner, kind: str, folder: Path) -> None:
    """Save while the next step is taken; what is loaded has to be what was saved."""
    group = Group(device=learner.device)
    saver = Saver(group, spread=True, aside=True)
    parts = {"model": learner.model.state_dict(), "optimizer": learner.optimizers.tensors()}
    copies = {
        part: {name: local(tensor).detach().clone() for name, tensor in tensors.items()}
        for part, tensors in parts.items()
    }
    section.synchronize()
    started = time.perf_counter()
    saver.save(folder, checkpoint.Checkpoint(1, parts, {"step": 1}), keep=1)
    blocked = time.perf_counter() - started
    learner.step(random_batch(config_of("124M", section.small), 1).to(learner.device))
    saver.wait()
    found = {"blocked s": blocked, "written after s": saver.seconds}
    section.note(f"FSDP2 with {kind}: saving aside", found)
    (saved,) = folder.iterdir()
    spread_checkpoint.load(saved, parts, saver.talk)
    equal = all(
        torch.equal(local(tensor), copies[part][name])
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    )
    section.check(f"FSDP2 with {kind}: what is loaded is what was saved", equal, found)


def _resume(section: Section, config: TransformerConfig, batches: Sequence[Any]) -> None:
    """Save half-way, load into a new model and go on, with kernels that repeat their sums alone:
    those of attention's backward pass may not, and whether they do is noted."""
    plain = [_straight(section, config, batches) for _ in range(2)]
    section.note("runs are equal bit for bit as they are", torch.equal(*plain))
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            through = _straight(section, config, batches, Path(folder))
            again = torch.equal(_straight(section, config, batches), through)
            resumed = torch.equal(_resumed(section, config, batches, Path(folder)), through)
    finally:
        torch.use_deterministic_algorithms(False)
    found = {"an equal run is": again, "a resumed run is": resumed}
    section.check("a resumed run is equal bit for bit", resumed or not again, found)


def _straight(
    section: Section, config: TransformerConfig, batches: Sequence[Any], folder: Path | None = None
) -> Tensor:
    """The weights after all steps; half-way a checkpoint is saved, where there is a folder."""
    learner = new_learner(config, section.device, torch.bfloat16, "muon")
    for number, batch in enumerate(batches):
        if folder is not None and number == STEPS // 2:
            _save(section, folder, learner)
        learner.step(batch)
    return _weights(learner.model)


def _resumed(
    section: Section, config: TransformerConfig, batches: Sequence[Any], folder: Path
) -> Tensor:
    """The weights after the second half of the steps, from the checkpoint on."""
    learner = new_learner(config, section.device, torch.bfloat16, "muon")
    started = time.perf_counter()
    saved = checkpoint.load_newest(folder)
    assert saved is not None
    learner.model.load_state_dict(saved.tensors["model"])
    learner.optimizers.load_tensors(saved.tensors["optimizer"])
    section.note("loading a checkpoint: s", time.perf_counter() - started)
    for batch in batches[STEPS // 2 :]:
        learner.step(batch)
    return _weights(learner.model)


def _save(section: Section, folder: Path, learner: Learner) -> None:
    tensors = {"model": learner.model.state_dict(), "optimizer": learner.optimizers.tensors()}
    size = sum(tensor.nbytes for part in tensors.values() for tensor in part.values())
    section.synchronize()
    started = time.perf_counter()
    checkpoint.save(folder, checkpoint.Checkpoint(1, tensors, {"step": 1}), keep=1)
    seconds = time.perf_counter() - started
    section.note("saving a checkpoint", {"s": seconds, "GB/s": size / seconds / 1e9})
