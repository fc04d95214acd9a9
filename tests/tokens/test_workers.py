from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import IO, Any

import pytest
from corpora import content_of, write_books

from nextword.errors import UserError
from nextword.tokens.prepare import prepare
from nextword.tokens.stages import read_shards
from nextword.tokens.workers import WorkerPool, lock_directory, work_directory, work_path


def square(number: int) -> int:
    time.sleep(0.02 if number % 3 == 0 else 0)
    return number * number


def fail(number: int) -> None:
    raise UserError(f"number {number} is bad", where="file.txt:3", mend="take another")


def end_suddenly() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_the_order_of_their_tasks(count: int) -> None:
    with WorkerPool(count) as workers:
        assert list(workers.map(square, ((n,) for n in range(30)))) == [n * n for n in range(30)]
        waiting = workers.submit(square, 12)
        assert waiting() == 144


def test_few_tasks_are_made_before_their_turn() -> None:
    made = 0

    def tasks():  # type: ignore[no-untyped-def]
        nonlocal made
        for made in range(100):
            yield (made,)

    with WorkerPool(2) as workers:
        for done, _ in enumerate(workers.map(square, tasks())):
            assert made - done <= 6


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_in_a_worker_keeps_its_words(count: int) -> None:
    with (
        WorkerPool(count) as workers,
        pytest.raises(UserError, match=r"file\.txt:3: number 1 is bad; take another"),
    ):
        list(workers.map(fail, [(1,)]))


def test_a_killed_worker_is_a_clear_error() -> None:
    with WorkerPool(2) as workers, pytest.raises(UserError, match="worker process was killed"):
        list(workers.map(end_suddenly, [()]))


def test_a_second_run_at_the_same_place_is_kept_out(tmp_path: Path) -> None:
    with (
        work_directory(tmp_path / "store", {"a": 1}),
        pytest.raises(UserError, match="being prepared by another process"),
        work_directory(tmp_path / "store", {"a": 1}),
    ):
        pass


def test_what_a_killed_run_left_serves_the_same_work_alone(tmp_path: Path) -> None:
    def leave(identity: dict[str, int]) -> bool:
        place = work_directory(tmp_path / "s", identity)
        with pytest.raises(ZeroDivisionError), place as work:
            is_there = (work / "text" / "old").exists()
            (work / "text" / "old").touch()
            raise ZeroDivisionError
        return is_there

    assert not leave({"a": 1})
    assert leave({"a": 1})
    assert not leave({"a": 2}), "shards of other data are left"
    with work_directory(tmp_path / "s", {"a": 2}):
        pass
    assert not list(tmp_path.iterdir()), "it is removed when all went well"


def test_a_run_that_waits_for_another_works_in_a_place_of_its_own(tmp_path: Path) -> None:
    books, made = write_books(tmp_path / "books", 3), []
    waiting = threading.Thread(target=lambda: made.append(prepare(books, tmp_path / "store")))
    with work_directory(tmp_path / "store", {"another": 1}):
        waiting.start()
        time.sleep(0.3)
    waiting.join()
    assert len(made) == 1


def test_the_lock_of_a_place_that_is_gone_is_worth_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that held it removed the place just before the lock was had."""
    work, flock = tmp_path / "work", fcntl.flock

    def late(file: IO[str], how: int) -> None:
        shutil.rmtree(work)
        work.mkdir()
        (work / "lock").touch()
        flock(file, how)

    with monkeypatch.context() as patch:
        patch.setattr("nextword.tokens.workers.fcntl.flock", late)
        assert lock_directory(work) is None
    held = lock_directory(work)
    assert held is not None and lock_directory(work) is None
    held.close()


def test_two_runs_at_once_make_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    books, made, reads = write_books(tmp_path / "books", 20), [], []
    expected = prepare(books, tmp_path / "alone")

    def counted(*arguments: Any) -> list[Path]:
        reads.append(1)
        return read_shards(*arguments)

    monkeypatch.setattr("nextword.tokens.prepare.read_shards", counted)

    def run() -> None:
        made.append(prepare(books, tmp_path / "store"))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.manifest["files"] for store in made] == [expected.manifest["files"]] * 2
    assert len(reads) == 1, "the one that waited made it again"
    assert not work_path(tmp_path / "store").exists()


def test_a_run_that_comes_while_the_last_one_removes_its_place_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rmtree, kept = shutil.rmtree, []

    def interrupted(path: Path, **options: Any) -> None:
        monkeypatch.undo()
        with work_directory(tmp_path / "store", {"second": 1}) as work:
            (work / "text" / "shard").touch()
            rmtree(path, **options)
            kept.append((work / "text" / "shard").exists())

    with work_directory(tmp_path / "store", {"first": 1}):
        monkeypatch.setattr("nextword.tokens.workers.shutil.rmtree", interrupted)
    assert kept == [True]
    assert not list(tmp_path.iterdir())


def test_what_was_left_when_a_run_was_killed_at_the_very_end_is_cleared(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", 3)
    prepare(books, tmp_path / "store")
    place = work_path(tmp_path / "store")
    place.mkdir()
    place.with_name(f"{place.name}.1.2").mkdir()
    prepare(books, tmp_path / "store")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["books", "store"]


def test_a_full_disk_is_a_sentence_and_the_same_command_goes_on(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", 30, 6000)
    whole = content_of(prepare(books, tmp_path / "whole", workers=1).path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    refused = 0
    try:
        for step in range(25):
            limit = int(100 * 1.4**step)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
            try:
                prepare(books, tmp_path / "store", workers=1)
            except UserError as error:
                refused += 1
                assert "the disk is full" in str(error) and "goes on from here" in str(error)
                assert not (tmp_path / "store").exists()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert 10 < refused < 25
    assert content_of(prepare(books, tmp_path / "store").path) == whole


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", 2)
    for out in (books / "book000.txt" / "store", Path("/proc/store"), tmp_path / ("n" * 300)):
        with pytest.raises(UserError, match=r"cannot be written \(.*; name another place"):
            prepare(books, out)
