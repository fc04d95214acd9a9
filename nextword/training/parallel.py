"""Processes and signals. torchrun starts the ranks.

SIGTERM and Ctrl-C end the work at once while there is nothing to save, in the training loop at the
next safe moment. A second Ctrl-C leaves at once, always.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType

import torch
from torch import Tensor, distributed

from nextword.errors import UserError

CPU = torch.device("cpu")
POLL = 0.2  # seconds between two looks at whether the first rank is ready
LONG = timedelta(days=1)  # to reach the first rank's store: nodes start at different times
READY, FAILED = "ready", "failed"


@dataclass(frozen=True)
class Group:
    """The processes that train one model together; one of one when torchrun did not start us.
    `node` of them share a machine."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU
    node: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks for all."""
        return self.rank == 0

    @property
    def exact(self) -> torch.dtype:
        """The type that sums are kept in."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    def shard(self, count: int) -> slice:
        """Return this rank's part of `count` rows; parts differ by at most one row."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sums(self, values: list[Tensor | float]) -> Tensor:
        """Return the sum over all ranks of each of some numbers, in fp64, on the device: nothing
        waits for them."""
        # One by one: a list made into a tensor would have to be copied to the device first.
        own = [
            value.to(self.exact)
            if isinstance(value, Tensor)
            else torch.full((), value, dtype=self.exact, device=self.device)
            for value in values
        ]
        summed = torch.stack(own)
        if self.size > 1:
            distributed.all_reduce(summed)
        return summed

    def total(self, value: float) -> float:
        """Return the sum of a number over all ranks, in fp64."""
        return value if self.size == 1 else float(self.sums([value]))

    def mean(self, value: float) -> float:
        """Return the mean of a number over all ranks."""
        return self.total(value) / self.size

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        if self.size > 1:
            distributed.barrier()


def launched() -> Group:
    """Return what torchrun says of this process; nothing is joined yet."""
    rank, size = (int(os.environ.get(name, n)) for name, n in (("RANK", 0), ("WORLD_SIZE", 1)))
    node = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    return Group(rank, size, _device(int(os.environ.get("LOCAL_RANK", 0))), node)


def _device(local: int) -> torch.device:
    """The device of a machine's `local`th process: the one place that chooses."""
    if torch.cuda.is_available():  # ROCm's cards are called so too
        return torch.device("cuda", local)
    return CPU


@contextlib.contextmanager
def processes(first: Callable[[], None] = lambda: None) -> Iterator[Group]:
    """Join the processes torchrun started, for as long as the block runs.

    The main one does what is to be done `first` before they join, however long it takes: others
    wait for a word in torchrun's store, where no time limit of collectives runs. Raises UserError
    in those where it failed.
    """
    group = launched()
    if group.size == 1:
        first()
        yield group
        return
    cuda = group.device.type == "cuda"
    if cuda:
        torch.cuda.set_device(group.device)  # also where NCCL's barriers run
    store, *_ = next(distributed.rendezvous("env://", group.rank, group.size, timeout=LONG))
    store = distributed.PrefixStore(f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    _begin(store, group, first)
    distributed.init_process_group(
        "nccl" if cuda else "gloo",
        store=store,
        rank=group.rank,
        world_size=group.size,
        device_id=group.device if cuda else None,
    )
    try:
        yield group
    finally:
        distributed.destroy_process_group()


def _begin(store: distributed.Store, group: Group, first: Callable[[], None]) -> None:
    if group.is_main:
        word = FAILED
        try:
            first()
            word = READY
        finally:
            store.set("first", word)
        return
    while not store.check(["first"]):  # not store.wait: signals would have to wait as well
        time.sleep(POLL)
    if store.get("first") != READY.encode():
        raise UserError("the first process failed before training began", mend="see what it says")


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
