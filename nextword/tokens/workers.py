"""How a store is made: by worker processes, in a directory beside its place.

Workers end with the process that started them. The directory keeps what a killed run has done, and
a lock keeps two runs apart.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import glob
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import FrameType
from typing import IO, Any, Self, TypeVar

from nextword.errors import UserError
from nextword.files import DISK_FULL
from nextword.resources import give_back
from nextword.terminal import quantity, say

POLL_SECONDS = 0.5  # after which a worker at most ends when its parent is gone
_LOCK_SECONDS = 2.5  # for which another run's lock is waited for

Result = TypeVar("Result")


class Workers(ABC):
    """`with WorkerPool(2) as workers: for result in workers.map(function, tasks): ...`

    Tasks and results are pickled between processes of this run; nothing pickled is ever stored.
    """

    count: int  # of tasks that run at once
    shares_memory = True  # else what is read here is better read where it is used

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        """End what still runs."""

    @abstractmethod
    def submit(self, function: Callable[..., Result], *arguments: Any) -> Callable[[], Result]:
        """Start a task, and return a function that waits for its result."""

    def map(
        self, function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]]
    ) -> Iterator[Result]:
        """Yield results in the tasks' order; only a few tasks wait in memory at a time.

        Raises UserError where a worker was killed, and whatever a task raises.
        """
        # What waits when a task fails is not cancelled here: the pool's own thread, which learns of
        # its workers' end, cannot bear a cancelled task (CPython 3.11). `__exit__` ends them all.
        waiting: collections.deque[Callable[[], Result]] = collections.deque()
        most = 2 * self.count if self.count > 1 else 0
        for task in tasks:
            waiting.append(self.submit(function, *task))
            if len(waiting) > most:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()


class WorkerPool(Workers):
    """Processes of this machine; with one worker everything runs in this process."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self.count > 1:
            # forked workers import nothing again, and a script needs no `__main__` guard
            method = "fork" if sys.platform.startswith("linux") else "spawn"
            context = multiprocessing.get_context(method)
            self._pool = ProcessPoolExecutor(self.count, context, _start_worker, (os.getpid(),))
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        if self._pool is None:
            return
        if kind is not None:  # nobody waits for what they are doing
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Callable[[], Result]:
        if self._pool is None:
            result = function(*arguments)
            return lambda: result
        with _explaining_lost_workers():
            future = self._pool.submit(run_task, function, *arguments)
        return lambda: _result(future)


def run_task(function: Callable[..., Result], *arguments: Any) -> Result:
    """Run a task in a worker, and give the memory it took back to the system: the C library would
    keep the holes that tasks leave, more and more of them."""
    try:
        return function(*arguments)
    finally:
        give_back()


def _result(future: Future[Result]) -> Result:
    with _explaining_lost_workers():
        return future.result()


@contextlib.contextmanager
def _explaining_lost_workers() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool:
        raise UserError(
            "a worker process was killed, perhaps for want of memory",
            mend="run the same command again to go on from here, with --workers 1 if it recurs",
        ) from None


def _start_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # as many processes as there are cores already
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)


@contextlib.contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Raise KeyboardInterrupt in the block on SIGTERM or Ctrl-C, after saying `message`.

    A second signal leaves at once. In the main thread alone: elsewhere signals are others' to
    handle.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        if len(signals) > 1:
            os._exit(130)
        raise KeyboardInterrupt(number)

    before = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        say(message)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def work_path(out: Path) -> Path:
    """Return the directory in which the store `out` is made."""
    return out.with_name(f".{out.name}.work")


@contextlib.contextmanager
def work_directory(out: Path, identity: dict[str, Any]) -> Iterator[Path]:
    """Hold `.NAME.work` beside the store; yield the folder in it with what a killed run of the same
    work left.

    It is removed when the block ends well. A lock keeps a second run out: UserError. Worker
    processes hold it too, so that those of a killed run, which end soon after it, never write where
    the next one does.
    """
    work = work_path(out)
    until = time.monotonic() + _LOCK_SECONDS
    while (lock := lock_directory(work)) is None:
        if time.monotonic() > until:
            raise UserError("is being prepared by another process", where=out)
        time.sleep(POLL_SECONDS / 4)
    with lock:
        # A worker that outlives its run finds its folder gone, and writes nothing into another's.
        own = work / hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        for other in work.iterdir():
            if other.is_dir() and other != own:
                shutil.rmtree(other, ignore_errors=True)
        for stage in ("raw", "text", "distinct", "ids", "shards", "quarantine"):
            (own / stage).mkdir(parents=True, exist_ok=True)
        yield own
        # Under another name first: whoever waits for the lock makes a new directory at once.
        gone = work.with_name(f"{work.name}.{os.getpid()}.{threading.get_ident()}")
        work.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def remove_leftovers(out: Path, identity: dict[str, Any]) -> None:
    """Remove what a run left that was killed when its store was just whole."""
    for gone in out.parent.glob(f"{glob.escape(work_path(out).name)}.*"):
        shutil.rmtree(gone, ignore_errors=True)
    if work_path(out).exists():
        with contextlib.suppress(UserError, OSError), work_directory(out, identity):
            pass


def lock_directory(work: Path) -> IO[str] | None:
    """Return the lock file of a directory, held, or None while another process holds it."""
    work.mkdir(parents=True, exist_ok=True)
    file = work / "lock"
    with contextlib.ExitStack() as opened, contextlib.suppress(BlockingIOError, FileNotFoundError):
        lock = opened.enter_context(open(file, "w"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The run that held it may have ended, and removed the directory, in the meantime.
        if os.fstat(lock.fileno()).st_ino == file.stat().st_ino:
            opened.pop_all()
            return lock
    return None


@contextlib.contextmanager
def explain_disk_errors(out: Path) -> Iterator[None]:
    """Turn a full disk, or a place that cannot be written to, into a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            what = f"cannot be written ({error.strerror or error})"
            mend = "name another place with --out"
            raise UserError(what, where=error.filename or out, mend=mend) from None
        left = shutil.disk_usage(work_path(out) if work_path(out).exists() else Path.cwd()).free
        raise UserError(
            f"the disk is full ({quantity(left, 'B')} left)",
            where=out,
            mend="free some space and give the same command again: it goes on from here",
        ) from None
