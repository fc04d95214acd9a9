"""The number of threads follows what else the machine does, and steps alone say when to look."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from nextword.training.machine import Precision, ThreadWatch, threads_given_back, watch_threads
from nextword.training.parallel import Group

IDLE, BUSY = {1: 100.0, 2: 190.0}, {1: 100.0, 2: 45.0}  # one of two cores taken


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


class Machine:
    """Takes steps whose speed is that of the threads in use, and counts how often it was asked."""

    def __init__(self, rates: dict[int, float], seconds_a_step: float = 0.1) -> None:
        self.rates, self.now, self.looks = rates, 0.0, 0
        self.work = seconds_a_step * rates[2]
        self.watch = ThreadWatch([1, 2], self.rate, lambda: self.now)

    def rate(self, threads: int) -> float:
        self.looks += 1
        self.now += 0.06
        return self.rates[threads]

    def run(self, seconds: float) -> list[tuple[float, str]]:
        """What has changed, and when, in so many seconds of steps."""
        began, changes = self.now, []
        while self.now < began + seconds:
            step = self.work / self.rates[torch.get_num_threads()]
            self.now += step
            if changed := self.watch.watch(1000, step):
                changes.append((self.now - began, changed))
        return changes


def test_a_quiet_machine_is_left_alone() -> None:
    machine = Machine(IDLE)
    assert machine.run(600) == [] and machine.looks == 0


def test_when_another_program_comes_fewer_threads_are_taken_and_all_when_it_has_gone() -> None:
    machine = Machine(IDLE)
    machine.run(60)
    machine.rates = BUSY
    [(after, said)] = machine.run(60)
    assert torch.get_num_threads() == 1 and after < 10
    assert said.startswith("threads: 2 → 1 (1 / 2 threads: 0 / 0 GFLOP/s")
    machine.rates = IDLE
    [(after, said)] = machine.run(60)
    assert torch.get_num_threads() == 2 and after < 20 and "1 → 2" in said


def test_looking_while_fewer_threads_are_best_costs_next_to_nothing() -> None:
    machine = Machine(BUSY)
    torch.set_num_threads(1)
    assert machine.run(600) == []
    assert machine.looks * 0.06 < 0.01 * 600


def test_steps_that_are_slow_for_another_reason_are_the_new_usual() -> None:
    machine = Machine(IDLE)
    machine.run(60)
    machine.work *= 3  # longer texts, say
    assert machine.run(600) == []
    assert machine.looks == 2, "it looked once, at both numbers"


def test_a_single_slow_step_changes_nothing() -> None:
    machine = Machine(IDLE)
    machine.run(60)
    machine.now += 1.0
    assert machine.watch.watch(1000, 1.0) == "" and machine.run(60) == []
    assert torch.get_num_threads() == 2 and machine.looks <= 2


def test_threads_that_are_given_are_kept() -> None:
    machine = Machine(IDLE)
    machine.watch = ThreadWatch([2], machine.rate, lambda: machine.now)
    machine.run(60)
    machine.rates = BUSY
    assert machine.run(600) == [] and machine.looks == 0


def test_a_resumed_run_goes_on_with_its_threads_or_says_that_it_cannot(
    capsys: pytest.CaptureFixture[str],
) -> None:
    began = Precision("fp32", 1e9, "", threads=1)
    watch_threads(None, began, Group(), 64)
    assert torch.get_num_threads() == 1 and "threads" not in capsys.readouterr().err
    watch_threads(2, began, Group(), 64)
    assert torch.get_num_threads() == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "started with 1 threads, now it is 2" in said
    torch.set_num_threads(1)
    watch_threads(None, Precision("fp32", 1e9, "", threads=64), Group(), 64)
    said = " ".join(capsys.readouterr().err.split())
    assert torch.get_num_threads() == 1 and "started with 64 threads, now it is 1" in said


def test_what_a_run_chose_is_not_what_the_next_one_finds() -> None:
    with threads_given_back():
        torch.set_num_threads(1)
    assert torch.get_num_threads() == 2
