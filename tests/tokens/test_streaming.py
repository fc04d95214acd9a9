"""A store at an address trains while it is fetched, and as a local one does."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from corpora import put, write_books

from nextword import addresses
from nextword.cli.main import main
from nextword.errors import UserError
from nextword.files import sha256
from nextword.tokens import encode, source_index, streaming
from nextword.tokens.loader import BlockLoader
from nextword.tokens.prepare import prepare
from nextword.tokens.store import Store
from nextword.training import loop

TRAIN = "--layers 1 --width 32 --heads 2 --context-length 32 --batch-size 4 --steps 6 "
TRAIN += "--eval-every 3 --eval-tokens 500 --sample-every 0 --threads 1 --precision fp32 --seed 3"
SHARD = 8_000  # bytes
Ranges = list[tuple[str, int]]  # (name of the file, bytes)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("store")
    text = write_books(folder / "text", 30, 6_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "SHARD_BYTES", SHARD)
        return prepare(text, folder / "store", vocab_size=400, workers=1, deduplicate="none")


@pytest.fixture
def address(
    local: Store, cache_is_elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The store in fsspec's memory, with pages so small that a run needs few of a shard's."""
    monkeypatch.setattr(streaming, "PAGE", 256)
    monkeypatch.setattr(addresses, "PAUSES", (0.001, 0.001))
    yield put(local.path, "memory:///bucket/store")
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> Ranges:
    """What is read at the address, in order."""
    found: Ranges = []
    kind = type(fsspec.filesystem("memory"))
    real = kind.cat_file

    def cat_file(self: Any, path: str, start: int = 0, end: int = 0, **named: Any) -> Any:
        found.append((path.rpartition("/")[2], end - start))
        return real(self, path, start=start, end=end, **named)

    monkeypatch.setattr(kind, "cat_file", cat_file)
    return found


def fetched(ranges: Ranges) -> int:
    return sum(size for name, size in ranges if name.endswith(".bin"))


def sizes(store: Store) -> int:
    return sum(f["bytes"] for n, f in store.manifest["files"].items() if n.endswith(".bin"))


def shards_here(store: Store) -> list[str]:
    return sorted(file.name for file in store.path.glob("*.bin"))


def wait_for_shards(store: Store) -> None:
    filler = _files(store).filler
    assert filler is not None
    filler.join(60)
    assert not filler.is_alive()


def _files(store: Store) -> streaming.RemoteFiles:
    files = store.train.shards[0].remote
    assert files is not None
    return files


def weights(run: Path) -> str:
    return sha256(run / "model" / "model.safetensors")


def train(data: str | Path, out: Path, *flags: str) -> int:
    return main(["pretrain", str(data), "--out", str(out), *TRAIN.split(), *flags])


def test_the_first_step_is_taken_before_the_shards_are_here(
    local: Store,
    address: str,
    ranges: Ranges,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begun, real_fetch, real_step = threading.Event(), streaming.RemoteFiles.fetch, loop.train_step
    at_first_step: list[tuple[int, list[str]]] = []

    def fetch(self: streaming.RemoteFiles, name: str) -> Path:
        assert begun.wait(60), "no step was taken while no shard was here"
        return real_fetch(self, name)

    def train_step(*arguments: Any) -> Any:
        if not begun.is_set():
            here = sorted(f.name for f in tmp_path.rglob("stores/*/*.bin"))
            at_first_step.append((fetched(ranges), here))
            begun.set()
        return real_step(*arguments)

    monkeypatch.setattr(streaming.RemoteFiles, "fetch", fetch)
    monkeypatch.setattr(loop, "train_step", train_step)
    assert train(local.path, tmp_path / "local") == 0
    begun.clear()
    at_first_step.clear()
    assert train(address, tmp_path / "streamed") == 0
    read, here = at_first_step[0]
    assert not here and 0 < read < sizes(local) / 2
    assert weights(tmp_path / "streamed") == weights(tmp_path / "local")
    store = Store.open(address)
    wait_for_shards(store)
    assert shards_here(store) == shards_here(local)
    Store.open(address).whole().verify()
    assert capsys.readouterr().err.count("are read from there") == 1


def test_what_does_not_fit_the_cache_is_read_as_it_is_needed(
    local: Store, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 4.5 * SHARD / streaming.ROOM
    monkeypatch.setattr(
        streaming.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(free, 0, int(free))
    )
    monkeypatch.setattr(streaming, "KEPT", 16)
    store = Store.open(address)
    assert _same_batches(store, local)
    wait_for_shards(store)
    here = shards_here(store)
    assert len(shards_here(local)) > len(here) > 2 and "val-00000.bin" in here
    assert sum((store.path / name).stat().st_size for name in here) <= 4.5 * SHARD
    assert _same_batches(Store.open(address), local)
    assert len(_files(store).pages) <= 16


def test_pages_of_the_steps_to_come_are_here_when_they_are_asked_for(
    local: Store, address: str, ranges: Ranges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming.RemoteFiles, "fill", lambda self: None)
    loader = BlockLoader(Store.open(address).train, 32, seed=0)
    loader.expect(40, 8)
    loader.batch(40, 8)
    read = len(ranges)
    loader.batch(40, 8)
    BlockLoader(local.train, 32, seed=0).expect(40, 8)  # nothing is to be brought
    assert len(ranges) == read


def _same_batches(store: Store, other: Store) -> bool:
    mine, theirs = (BlockLoader(s.train, 48, seed=2) for s in (store, other))
    return all(
        bool((mine.batch(first, 6).tokens == theirs.batch(first, 6).tokens).all())
        for first in range(0, 2 * mine.blocks, 6)
    )


def test_a_run_stopped_while_it_streams_goes_on_bit_for_bit(
    local: Store, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "ROOM", 0.0)
    assert train(local.path, tmp_path / "local") == 0
    real = loop.train_step

    def stop_at(*arguments: Any) -> Any:
        if len(calls) == 3:
            raise KeyError("the process dies here")
        calls.append(1)
        return real(*arguments)

    calls: list[int] = []
    monkeypatch.setattr(loop, "train_step", stop_at)
    assert train(address, tmp_path / "run", "--save-every", "2") != 0
    monkeypatch.setattr(loop, "train_step", real)
    shutil.rmtree(next(tmp_path.rglob("stores")))  # and another machine goes on
    assert main(["pretrain", address, "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert weights(tmp_path / "run") == weights(tmp_path / "local")


class Flaky:
    """An address that fails a number of times at each range, then answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        self.failed: dict[tuple[str, int], int] = {}
        kind = type(fsspec.filesystem("memory"))
        real = kind.cat_file

        def cat_file(fs: Any, path: str, start: int = 0, end: int = 0, **named: Any) -> Any:
            key = path, start
            if path.endswith(".bin") and self.failed.get(key, 0) < times:
                self.failed[key] = self.failed.get(key, 0) + 1
                raise OSError("connection reset by peer")
            return real(fs, path, start=start, end=end, **named)

        monkeypatch.setattr(kind, "cat_file", cat_file)


def test_a_network_that_fails_for_a_while_changes_nothing(
    local: Store, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky = Flaky(monkeypatch, times=2)
    assert _same_batches(Store.open(address), local)
    assert len(flaky.failed) > 5


def test_one_that_stays_away_stops_the_run_in_one_sentence(
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Flaky(monkeypatch, times=10**9)
    assert train(address, tmp_path / "run") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "cannot be reached (connection reset by peer); check the address, the conn" in said
    assert "Traceback" not in said


def test_a_damaged_shard_is_found_when_it_is_whole_and_stops_the_run(
    address: str, tmp_path: Path
) -> None:
    system = fsspec.filesystem("memory")
    content = bytearray(system.cat_file("/bucket/store/train-00001.bin"))
    content[100] ^= 1
    system.pipe_file("/bucket/store/train-00001.bin", bytes(content))
    store = Store.open(address)
    _ = store.train.tokens[0:10]
    wait_for_shards(store)
    loader = BlockLoader(store.train, 48, seed=2)
    with pytest.raises(UserError, match=r"store/train-00001\.bin: is damaged"):
        for first in range(0, loader.blocks, 6):
            loader.batch(first, 6)
    assert "train-00001.bin" not in shards_here(store)


def test_what_needs_all_of_a_store_fetches_it(local: Store, address: str) -> None:
    index = source_index.open_index(Store.open(address))
    assert index.source(3) == source_index.open_index(local).source(3)
    assert shards_here(index.store) == shards_here(local)
    index.store.verify()


def test_sources_are_fetched_when_they_are_asked_for(local: Store, address: str) -> None:
    store = Store.open(address)
    assert not list(store.path.glob("*.sources"))
    last = np.array([len(local.train.starts) - 2])
    assert store.train.sources(last) == local.train.sources(last)
    assert len(list(store.path.glob("*.sources"))) == 1


def test_a_store_that_moved_is_read_from_where_it_is_now(local: Store, address: str) -> None:
    first = Store.open(address)
    other = put(local.path, "memory:///bucket/moved")
    fsspec.filesystem("memory").rm("/bucket/store", recursive=True)
    assert Store.open(other).path == first.path
    assert _same_batches(Store.open(first.path), local)
