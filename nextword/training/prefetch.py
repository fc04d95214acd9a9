"""Batches made ahead of the steps that take them, by a thread of their own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

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
