"""SIGTERM and Ctrl-C: while there is nothing to save they end the work at once, in the training
loop at the next safe moment. A second Ctrl-C leaves at once, always."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType


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
        os.write(2, f"{name(number)}: saving, then stopping (Ctrl-C leaves at once)\n".encode())

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note signals while the block runs: it looks at `requested` where it can stop."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False


def name(number: int) -> str:
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
