"""Processes and signals. torchrun starts the ranks, DDP sums their gradients.

SIGTERM and Ctrl-C end the work at once while there is nothing to save, in the training loop at the
next safe moment. A second Ctrl-C leaves at once, always.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

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

    def no_sync(self) -> contextlib.AbstractContextManager[None]:
        """Leave out, as DDP's does, the exchange of gradients: there is none."""
        return contextlib.nullcontext()


ReplicatedLoss = LossModule | DistributedDataParallel


def replicate(module: LossModule, group: Group) -> ReplicatedLoss:
    """Return the module with gradients averaged over the ranks in its backward pass."""
    if group.size == 1:
        return module
    devices = [group.device] if group.device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=devices)


class Interrupt:
    """`requested` is the signal's number once one came, 0 before."""

    def __init__(self) -> None:
        self.requested = 0
        self._deferred = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            os._exit(128 + number)
        self.requested = number
        if not self._deferred:
            raise KeyboardInterrupt(number)
        # Not by print(): the signal may have come in the middle of one.
        os.write(
            2, f"{signal_name(number)}: saving, then stopping (Ctrl-C leaves at once)\n".encode()
        )

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note signals while the block runs: it looks at `requested` where it can stop."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False


def signal_name(number: int) -> str:
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Handle SIGINT and SIGTERM as this page says while the block runs (main thread only).

    KeyboardInterrupt, with the signal's number, comes up wherever signals are not deferred.
    """
    interrupt = Interrupt()
    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = [signal.signal(number, interrupt._receive) for number in numbers]
    except ValueError:  # not in the main thread: signals are somebody else's
        yield interrupt
        return
    try:
        yield interrupt
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
