"""The number of threads, chosen again while a run goes on: other programs come and go."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from nextword.terminal import warn
from nextword.training.machine import Precision, describe, fastest, rate_here, thread_counts
from nextword.training.parallel import Group

WINDOW = 3.0  # seconds of steps whose speed is one figure
SLOWED = 0.75  # of the best speed at this number of threads: then something has come
SOONEST, LATEST = 4.0, 14.0  # seconds from one look to the next, ever longer while nothing changes


@contextlib.contextmanager
def threads_given_back() -> Iterator[None]:
    """Compute on as many threads as before when the block is over: other runs may follow."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def watch_threads(asked: int | None, precision: Precision, group: Group, width: int) -> ThreadWatch:
    """Compute on the threads that a run began with, or on as many as are asked for now, and return
    what watches them. Warns where there are not so many, or others are asked for: sums are rounded
    in another order then."""
    counts = thread_counts(asked, group)
    began = precision.threads if counts[0] else 0
    if began and (now := asked or min(began, counts[-1])) != began and group.is_main:
        warn(
            f"this run was started with {began} threads, now it is {now}: sums may be rounded in "
            "another order, so weights will differ in their last bits"
        )
    rate = rate_here(group.device, width)
    watch = ThreadWatch(counts, lambda threads: rate(precision.name, threads))
    watch.go_on_with(asked or began)
    return watch


class ThreadWatch:
    """Looks again which number of threads is fastest when steps have become slow for long, and,
    while fewer than all are in use, from time to time whether the others have become free.

    It times products, not steps, so that looking changes nothing in the run itself: only another
    number of threads does, since sums are rounded in another order then.
    """

    def __init__(
        self,
        counts: Sequence[int],
        rate: Callable[[int], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`counts` are the numbers to choose among, `rate` measures one of them in FLOP/s."""
        self._counts, self._rate, self._clock = counts, rate, clock
        self._best = self._seconds = self._targets = 0.0
        self._looked, self._wait = clock(), SOONEST

    def go_on_with(self, threads: int) -> None:
        """Compute on so many threads, or on as many as there are to choose among; 0 for as is."""
        if threads:
            torch.set_num_threads(max(1, min(threads, self._counts[-1])))

    def watch(self, targets: int, seconds: float) -> str:
        """After each step, of so many targets in so many seconds: return what has changed, if
        anything has."""
        if len(self._counts) < 2:
            return ""
        self._targets += targets
        self._seconds += seconds
        if self._seconds < WINDOW:
            return ""
        speed = self._targets / self._seconds
        self._targets = self._seconds = 0.0
        self._best = max(self._best, speed)
        is_slow, now = speed < SLOWED * self._best, torch.get_num_threads()
        is_due = self._clock() - self._looked >= self._wait
        if not is_due or not (is_slow or now < self._counts[-1]):
            return ""
        rates = {count: self._rate(count) for count in self._counts}
        chosen = fastest(rates)
        self._looked = self._clock()
        if chosen == now:
            self._wait = min(1.5 * self._wait, LATEST)
            self._best = speed if is_slow else self._best  # there is another reason
            return ""
        torch.set_num_threads(chosen)
        self._best, self._wait = 0.0, SOONEST
        return f"threads: {now} → {chosen} ({describe(rates)} in matmuls)"
