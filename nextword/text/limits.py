"""Bounds that keep a damaged or hostile file from taking the machine with it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

WHOLE_FILE = 2**30  # bytes of a format that has to be held in memory at once
PART = 8_000_000  # characters of plain text in one document; a longer file comes in parts
RECORD = 2**26  # bytes of one line, row or JSON value


class TookTooLong(BaseException):
    """Parsing used more processor time than a file of its size can need.

    Not an Exception, so that a parser that swallows those does not swallow this one.
    """


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise TookTooLong in the block after this much processor time (not wall-clock time, so that
    a busy machine rejects no file that an idle one reads).

    Signals reach the main thread only; in any other the block runs unbounded.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    is_running = True

    def stop(number: int, frame: FrameType | None) -> None:
        if is_running:
            raise TookTooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(
        signal.ITIMER_VIRTUAL, seconds, 0.1
    )  # again, if the first is lost in a callback
    try:
        yield
    finally:
        is_running = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def seconds_for(size: int) -> float:
    """Processor time allowed to a file of `size` bytes: far more than a good one takes."""
    return 4.0 + size / 20_000
