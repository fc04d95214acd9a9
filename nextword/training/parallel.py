"""Data parallelism by PyTorch's own means: torchrun starts the ranks, DDP sums the gradients."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Group:
    """The processes that train one model together; one of one when torchrun did not start us."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks for all."""
        return self.rank == 0

    def shard(self, count: int) -> slice:
        """Return this rank's part of `count` rows; parts differ by at most one row."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def total(self, value: float) -> float:
        """Return the sum of a number over all ranks, in fp64."""
        if self.size == 1:
            return value
        summed = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(summed)
        return float(summed)

    def mean(self, value: float) -> float:
        """Return the mean of a number over all ranks."""
        return self.total(value) / self.size

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        if self.size > 1:
            distributed.barrier()


@contextlib.contextmanager
def processes() -> Iterator[Group]:
    """Join the processes torchrun started, for as long as the block runs."""
    cuda = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield Group(device=device)
        return
    if cuda:
        torch.cuda.set_device(device)  # also where NCCL's barriers run
    distributed.init_process_group("nccl" if cuda else "gloo", device_id=device if cuda else None)
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        distributed.destroy_process_group()


class LossModule(nn.Module):
    """A loss as a module, so that DDP sees one forward pass: a batch in, the sum of its losses."""

    def __init__(self, model: nn.Module, loss: Callable[[Any, Any], Tensor]) -> None:
        """`loss` takes the model and a batch."""
        super().__init__()
        self.model, self._loss = model, loss

    def forward(self, batch: Any) -> Tensor:
        return self._loss(self.model, batch)


def replicate(module: nn.Module, group: Group) -> nn.Module:
    """Return the module with gradients averaged over the ranks in its backward pass."""
    if group.size == 1:
        return module
    devices = [group.device] if group.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(module, device_ids=devices)


@contextlib.contextmanager
def gradients_stay_local(module: nn.Module, local: bool) -> Iterator[None]:
    """Leave out the exchange of gradients: only a step's last micro-batch needs it."""
    if local and isinstance(module, nn.parallel.DistributedDataParallel):
        with module.no_sync():
            yield
    else:
        yield
