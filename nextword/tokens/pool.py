"""Worker processes that end with the one that started them, and give results in order."""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import FrameType, TracebackType
from typing import Any, TypeVar

from nextword.errors import UserError
from nextword.memory import give_back
from nextword.terminal import say

POLL = 0.5  # seconds after which a worker at most ends when its parent is gone

Result = TypeVar("Result")


def cores() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """`with Workers(2) as workers: for result in workers.map(function, tasks): ...`

    With one worker everything runs in this process. Tasks and results are pickled between
    processes of this run; nothing pickled is ever stored.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self.count > 1:
            # forked workers import nothing again, and a script needs no `__main__` guard
            method = "fork" if sys.platform.startswith("linux") else "spawn"
            self._pool = ProcessPoolExecutor(
                self.count, multiprocessing.get_context(method), _begin, (os.getpid(),)
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is None:
            return
        if kind is not None:  # nobody waits for what they are doing
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Callable[[], Result]:
        """Start a task; the function returned waits for its result."""
        if self._pool is None:
            result = function(*arguments)
            return lambda: result
        future = self._submit(function, arguments)
        return lambda: _result(future)

    def map(
        self, function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]]
    ) -> Iterator[Result]:
        """Results in the tasks' order; only a few tasks wait in memory at a time."""
        if self._pool is None:
            for task in tasks:
                yield function(*task)
            return
        # What waits when a task fails is not cancelled here: the pool's own thread, which learns of
        # its workers' end, cannot bear a cancelled task (CPython 3.11). `__exit__` ends them all.
        waiting: collections.deque[Future[Result]] = collections.deque()
        for task in tasks:
            waiting.append(self._submit(function, task))
            if len(waiting) > 2 * self.count:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())

    def _submit(self, function: Callable[..., Result], task: tuple[Any, ...]) -> Future[Result]:
        assert self._pool is not None
        try:
            return self._pool.submit(_work, function, *task)
        except BrokenProcessPool:
            raise _lost() from None


def _work(function: Callable[..., Result], *arguments: Any) -> Result:
    """What a worker runs: the task, after which the memory it took goes back to the system. The C
    library would keep the holes that tasks leave, more and more of them."""
    try:
        return function(*arguments)
    finally:
        give_back()


def _result(future: Future[Result]) -> Result:
    try:
        return future.result()
    except BrokenProcessPool:
        raise _lost() from None


def _lost() -> UserError:
    return UserError(
        "a worker process was killed, perhaps for want of memory",
        mend="run the same command again to go on from here, with --workers 1 if it recurs",
    )


@contextlib.contextmanager
def stoppable(parting: str) -> Iterator[None]:
    """SIGTERM and Ctrl-C raise KeyboardInterrupt in the block, after saying `parting`; a second
    Ctrl-C leaves at once. In the main thread alone: elsewhere signals are somebody else's.
    """
    stops = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stops
        stops += 1
        if stops > 1:
            os._exit(130)
        raise KeyboardInterrupt(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        say(parting)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # as many processes as there are cores already
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    os._exit(1)
