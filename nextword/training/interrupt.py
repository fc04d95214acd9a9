"""SIGTERM and Ctrl-C ask for a stop at the next safe moment; a second Ctrl-C leaves at once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from nextword.terminal import say


class Interrupt:
    """`requested` is the signal's number once one came, 0 before."""

    def __init__(self) -> None:
        self.requested = 0

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            os._exit(130)
        self.requested = number
        say(f"{signal.Signals(number).name}: saving, then stopping (Ctrl-C again leaves at once)")


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn SIGINT and SIGTERM into requests for as long as the block runs (main thread only)."""
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
