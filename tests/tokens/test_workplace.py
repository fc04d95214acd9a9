from __future__ import annotations

import fcntl
import resource
import shutil
import threading
import time
from pathlib import Path
from typing import IO, Any

import pytest
from corpora import content_of, write_books

from nextword.errors import UserError
from nextword.tokens import workplace
from nextword.tokens.prepare import prepare
from nextword.tokens.reading import read_all


def test_a_second_run_at_the_same_place_is_kept_out(tmp_path: Path) -> None:
    with (
        workplace.work_directory(tmp_path / "store", {"a": 1}),
        pytest.raises(UserError, match="being prepared by another process"),
        workplace.work_directory(tmp_path / "store", {"a": 1}),
    ):
        pass


def test_what_a_killed_run_left_serves_the_same_work_alone(tmp_path: Path) -> None:
    def leave(identity: dict[str, int]) -> bool:
        place = workplace.work_directory(tmp_path / "s", identity)
        with pytest.raises(ZeroDivisionError), place as work:
            is_there = (work / "text" / "old").exists()
            (work / "text" / "old").touch()
            raise ZeroDivisionError
        return is_there

    assert not leave({"a": 1})
    assert leave({"a": 1})
    assert not leave({"a": 2}), "shards of other data are left"
    with workplace.work_directory(tmp_path / "s", {"a": 2}):
        pass
    assert not list(tmp_path.iterdir()), "it is removed when all went well"


def test_a_run_that_waits_for_another_works_in_a_place_of_its_own(tmp_path: Path) -> None:
    books, made = write_books(tmp_path / "books", 3), []
    waiting = threading.Thread(target=lambda: made.append(prepare(books, tmp_path / "store")))
    with workplace.work_directory(tmp_path / "store", {"another": 1}):
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
        patch.setattr("nextword.tokens.workplace.fcntl.flock", late)
        assert workplace._lock(work) is None
    held = workplace._lock(work)
    assert held is not None and workplace._lock(work) is None
    held.close()


def test_two_runs_at_once_make_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    books, made, reads = write_books(tmp_path / "books", 20), [], []
    expected = prepare(books, tmp_path / "alone")

    def counted(*arguments: Any) -> list[Path]:
        reads.append(1)
        return read_all(*arguments)

    monkeypatch.setattr("nextword.tokens.prepare.read_all", counted)

    def run() -> None:
        made.append(prepare(books, tmp_path / "store"))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.manifest["files"] for store in made] == [expected.manifest["files"]] * 2
    assert len(reads) == 1, "the one that waited made it again"
    assert not workplace.beside(tmp_path / "store").exists()


def test_a_run_that_comes_while_the_last_one_removes_its_place_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rmtree, kept = shutil.rmtree, []

    def interrupted(path: Path, **options: Any) -> None:
        monkeypatch.undo()
        with workplace.work_directory(tmp_path / "store", {"second": 1}) as work:
            (work / "text" / "shard").touch()
            rmtree(path, **options)
            kept.append((work / "text" / "shard").exists())

    with workplace.work_directory(tmp_path / "store", {"first": 1}):
        monkeypatch.setattr("nextword.tokens.workplace.shutil.rmtree", interrupted)
    assert kept == [True]
    assert not list(tmp_path.iterdir())


def test_what_was_left_when_a_run_was_killed_at_the_very_end_is_cleared(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", 3)
    prepare(books, tmp_path / "store")
    place = workplace.beside(tmp_path / "store")
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
