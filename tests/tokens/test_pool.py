from __future__ import annotations

import os
import signal
import time

import pytest

from nextword.errors import UserError
from nextword.tokens.pool import Workers


def square(number: int) -> int:
    time.sleep(0.02 if number % 3 == 0 else 0)
    return number * number


def fail(number: int) -> None:
    raise UserError(f"number {number} is bad", where="file.txt:3", mend="take another")


def end_suddenly() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_the_order_of_their_tasks(count: int) -> None:
    with Workers(count) as workers:
        assert list(workers.map(square, ((n,) for n in range(30)))) == [n * n for n in range(30)]
        waiting = workers.submit(square, 12)
        assert waiting() == 144


def test_few_tasks_are_made_before_their_turn() -> None:
    made = 0

    def tasks():  # type: ignore[no-untyped-def]
        nonlocal made
        for made in range(100):
            yield (made,)

    with Workers(2) as workers:
        for done, _ in enumerate(workers.map(square, tasks())):
            assert made - done <= 6


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_in_a_worker_keeps_its_words(count: int) -> None:
    with (
        Workers(count) as workers,
        pytest.raises(UserError, match=r"file\.txt:3: number 1 is bad; take another"),
    ):
        list(workers.map(fail, [(1,)]))


def test_a_killed_worker_is_a_clear_error() -> None:
    with Workers(2) as workers, pytest.raises(UserError, match="worker process was killed"):
        list(workers.map(end_suddenly, [()]))
