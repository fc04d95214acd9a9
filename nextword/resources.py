"""What this process has of the machine: cores and memory that it may use, memory that it holds."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import math
import os
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names of the GNU C library's <malloc.h>
NEVER = -1
WARM = 10  # steps, after which memory is about as large as it has to be
GROWN = 1.3  # times that: then what is free goes back to the system
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # a container's share of the processor, and of memory
_STATM = Path("/proc/self/statm")
_command_began: ContextVar[float | None] = ContextVar("command_began", default=None)
_LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None


def available_cores() -> int:
    """Return how many processors this process may keep busy, as its affinity and its container's
    quota say; the last of them perhaps for a part of the time only."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = (CGROUP / "cpu.max").read_text(encoding="ascii").split()
        return max(1, min(cores or 1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # there is no such file, or it says "max"
        return cores or 1


@dataclass(frozen=True)
class Memory:
    """Bytes of memory: the machine's, those that this process may still take, and its container's
    limit; None where the system does not say."""

    total: int | None
    free: int | None
    limit: int | None


def memory() -> Memory:
    """Return how much memory there is now."""
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    except (OSError, ValueError):
        lines = {}
    total, free = (_first_number(lines.get(name, "")) for name in ("MemTotal", "MemAvailable"))
    limit, used = (_limit(CGROUP / name) for name in ("memory.max", "memory.current"))
    total, free = (None if number is None else 1024 * number for number in (total, free))
    if free is not None and limit is not None and used is not None:
        free = max(0, min(free, limit - used))
    return Memory(total, free, limit)


def _limit(file: Path) -> int | None:
    """Return a number of bytes that a container has; None for "max"."""
    try:
        return _first_number(file.read_text(encoding="ascii"))
    except OSError:
        return None


def _first_number(text: str) -> int | None:
    first = text.split()[:1]
    return int(first[0]) if first and first[0].isdecimal() else None


@contextlib.contextmanager
def timed_command() -> Iterator[None]:
    """Have what runs in the block count its time from here on, its imports included."""
    began = _command_began.set(time.monotonic())
    try:
        yield
    finally:
        _command_began.reset(began)


def beginning() -> float:
    """Return when the command that runs began, by `time.monotonic`: now, where none does."""
    began = _command_began.get()
    return time.monotonic() if began is None else began


def keep_freed() -> None:
    """Have the C library keep what is freed from now on, where it can."""
    _call("mallopt", MMAP_MAX, 0)
    _call("mallopt", TRIM_THRESHOLD, NEVER)


class FreedMemory:
    """Has the C library keep what is freed from step to step, but not more and more of it.

    Every step allocates the same large gradients. Given back to the system and asked for anew,
    each of their pages is faulted in and cleared again, which took a quarter of a fine-tuning step
    (docs/performance.md). Where sizes differ from step to step, as the number of hidden tokens
    does, holes are left that nothing fits into, and the process grows: then all of them are given
    back. Does nothing where the C library has no such settings.
    """

    def __init__(self) -> None:
        self._steps, self._usual = 0, 0
        keep_freed()

    def watch(self) -> None:
        """After each step."""
        self._steps += 1
        size = resident()
        if self._steps <= WARM:
            self._usual = max(self._usual, size)
        elif size > GROWN * self._usual:
            give_back()
            self._usual = max(self._usual, resident())  # what is left is in use


@contextlib.contextmanager
def lasting() -> Iterator[None]:
    """Do not look for garbage while the block makes what lasts, such as large imports, nor in that
    afterwards."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def give_back() -> None:
    """Give all that is free to the system, where the C library can."""
    _call("malloc_trim", 0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says so. PyTorch's allocators raise RuntimeErrors, on a GPU a kind of their
    own."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    )


def _call(name: str, *arguments: int) -> None:
    if function := getattr(_LIBRARY, name, None):
        function(*arguments)


def resident() -> int:
    """Return the bytes of memory that this process holds; 0 where the system does not say."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
