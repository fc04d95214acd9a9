"""What threads do beside training: batches are made ahead of the steps that take them; of a
checkpoint tensors are copied to the CPU, and the copies written."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from torch import Tensor, distributed

from nextword.errors import UserError
from nextword.terminal import warn
from nextword.training import checkpoint
from nextword.training.checkpoint import Checkpoint
from nextword.training.parallel import Group

AHEAD = 2  # steps
Item = TypeVar("Item")


class Prefetcher(Generic[Item]):
    """Calls `make` with the numbers to come while those before them are in use.

    What it makes has to be a function of the number alone. An error is raised where its item is
    taken.
    """

    def __init__(self, make: Callable[[int], Item], ahead: int = AHEAD) -> None:
        self._make, self._ahead = make, ahead
        self._pool = ThreadPoolExecutor(1, "batches")
        self._made: dict[int, Future[Item]] = {}

    def take(self, number: int) -> Item:
        """Return an item, and have the next ones made."""
        for coming in range(number, number + 1 + self._ahead):
            if coming not in self._made:
                self._made[coming] = self._pool.submit(self._make, coming)
        return self._made.pop(number).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


class Saver:
    """Writes checkpoints, in a thread of its own where `aside`. One is written at a time.

    Ranks that hold parts of the weights (`spread`) write together; else the main one writes all.
    """

    def __init__(self, group: Group, *, spread: bool, aside: bool) -> None:
        self.seconds = 0.0  # that the last checkpoint took to write
        self._group, self._spread = group, spread
        self._pool = ThreadPoolExecutor(1, "checkpoints") if aside else None
        self._writing: Future[None] | None = None
        # The ranks' threads need a line of their own: training uses the other one meanwhile.
        self.talk = distributed.new_group(backend="gloo") if spread else None

    def save(self, folder: Path, point: Checkpoint, keep: int) -> None:
        """Write a checkpoint, or begin to, once the one before it is written. Raises UserError for
        either where it could not be written."""
        self.wait()
        if not (self._spread or self._group.is_main):
            return
        if self._pool is None:
            self._write(folder, point, keep)
        else:
            copies = {
                part: {name: _copied(tensor) for name, tensor in tensors.items()}
                for part, tensors in point.tensors.items()
            }
            copy = replace(point, tensors=copies)
            self._writing = self._pool.submit(self._write, folder, copy, keep)

    def wait(self) -> None:
        """Wait until what was saved is on the disk. Raises UserError where it could not be."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        """Wait for what is being written; what went wrong before is the more important error."""
        try:
            self.wait()
        except UserError as error:
            if kind is None:
                raise
            warn(str(error))

    def _write(self, folder: Path, point: Checkpoint, keep: int) -> None:
        since = time.monotonic()
        if self._spread:
            from nextword.training import spread_checkpoint  # late: it takes a second to import

            spread_checkpoint.save(folder, point, keep, self._group, self.talk)
        else:
            checkpoint.save(folder, point, keep)
        self.seconds = time.monotonic() - since


def _copied(tensor: Tensor) -> Tensor:
    """A copy on the CPU; of a part that other ranks have parts of, a part."""
    tensor = tensor.detach()
    return tensor.clone() if tensor.device.type == "cpu" else tensor.cpu()
