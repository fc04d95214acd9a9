"""A store of many shards is read as one of a single shard, by all that reads a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import content_of, write_books
from numpy.typing import NDArray

from nextword.cli.main import main
from nextword.files import sha256
from nextword.tokens import encode, source_index
from nextword.tokens.joined_ids import JoinedIds
from nextword.tokens.loader import BlockLoader
from nextword.tokens.prepare import prepare
from nextword.tokens.store import Store

SETTINGS: dict[str, Any] = {"vocab_size": 400, "deduplicate": "none", "val_fraction": 0.3}
TRAIN = "--layers 1 --width 32 --heads 2 --context-length 32 --batch-size 4 --steps 4 "
TRAIN += "--eval-every 2 --eval-tokens 500 --sample-every 0 --threads 1 --precision fp32 --seed 3"


def prepare_in_shards(text: Path, out: Path, shard_bytes: int, **settings: Any) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "SHARD_BYTES", shard_bytes)
        return prepare(text, out, workers=settings.pop("workers", 1), **SETTINGS, **settings)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    """The same text in a single shard, and in many."""
    folder = tmp_path_factory.mktemp("stores")
    text = write_books(folder / "text", 20)
    return tuple(  # type: ignore[return-value]
        prepare_in_shards(text, folder / name, size)
        for name, size in (("one", 2**31), ("many", 8_000))
    )


def test_shards_hold_whole_documents_in_order_and_are_as_large_as_was_said(
    stores: tuple[Store, Store],
) -> None:
    one, many = stores
    for name in ("train", "val"):
        shards = many.manifest["splits"][name]["shards"]
        assert [shard["name"] for shard in shards] == [
            f"{name}-{number:05d}" for number in range(len(shards))
        ]
        assert len(one.manifest["splits"][name]["shards"]) == 1 < len(shards)
        assert one.counts(name) == many.counts(name)
        ids = [np.fromfile(many.path / f"{shard['name']}.bin", "<u2") for shard in shards]
        whole = np.fromfile(one.path / f"{name}-00000.bin", "<u2")
        assert np.array_equal(np.concatenate(ids), whole)
        for shard, own in zip(shards, ids, strict=True):
            assert 2 * len(own) <= 8_000 and own[-1] == many.train.end_id
            assert (own == many.train.end_id).sum() == shard["documents"]
            assert len(own) == shard["tokens"]
            file = many.path / f"{shard['name']}.bin"
            assert many.manifest["files"][file.name]["sha256"] == sha256(file)
        together = sum(map(len, ids[:2]))
        assert 2 * together > 8_000, "the first document of a shard would have fitted before it"
    many.verify()


def test_a_document_longer_than_a_shard_has_one_of_its_own(tmp_path: Path) -> None:
    text = write_books(tmp_path / "text", 6)
    store = prepare_in_shards(text, tmp_path / "store", 100)
    shards = store.manifest["splits"]["train"]["shards"]
    assert [shard["documents"] for shard in shards] == [1] * len(shards) and len(shards) > 2


@pytest.mark.parametrize("settings", [{"workers": 2}, {"vocab_size": None, "tokenizer": "bytes"}])
def test_whoever_writes_them_the_bytes_are_the_same(tmp_path: Path, settings: Any) -> None:
    text = write_books(tmp_path / "text", 12)
    both = SETTINGS | settings
    workers = both.pop("workers", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "SHARD_BYTES", 5_000)
        alone = prepare(text, tmp_path / "alone", workers=1, **both)
        shared = prepare(text, tmp_path / "shared", workers=workers, **both)
    assert content_of(alone.path) == content_of(shared.path)


def test_a_killed_run_goes_on_with_the_shard_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = write_books(tmp_path / "text", 12)
    whole = prepare_in_shards(text, tmp_path / "whole", 5_000)
    real, written = encode.ShardWriter, list[str]()

    class Killed(Exception):
        pass

    class Writer(real):  # type: ignore[misc,valid-type]
        def __init__(self, directory: Path, name: str, *vocabulary: int) -> None:
            written.append(name)
            if len(written) == 3:
                raise Killed
            super().__init__(directory, name, *vocabulary)

    monkeypatch.setattr(encode, "ShardWriter", Writer)
    with pytest.raises(Killed):
        prepare_in_shards(text, tmp_path / "store", 5_000)
    store = prepare_in_shards(text, tmp_path / "store", 5_000)
    assert written[:2] == ["train-00000", "train-00001"] and written.count("train-00000") == 1
    assert content_of(store.path) == content_of(whole.path)


def test_all_that_reads_a_store_reads_the_same(stores: tuple[Store, Store]) -> None:
    one, many = stores
    assert isinstance(many.train.tokens, JoinedIds) and isinstance(one.train.tokens, np.ndarray)
    assert np.array_equal(one.train.starts, many.train.starts)
    assert one.train.sizes is not None and np.array_equal(one.train.sizes, many.train.sizes)
    everything = np.arange(len(one.train.starts) - 1)
    assert one.train.sources(everything) == many.train.sources(everything)
    loaders = [BlockLoader(store.train, 48, seed=3) for store in stores]
    for first in range(0, 3 * loaders[0].blocks, 7):
        a, b = (loader.batch(first, 7) for loader in loaders)
        assert bool((a.tokens == b.tokens).all()) and bool((a.targets == b.targets).all())
        assert loaders[0].documents(first, 7) == loaders[1].documents(first, 7)


def test_the_index_of_passages_finds_the_same_places(
    stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_index, "PART", 3_000)
    one, many = (source_index.open_index(store) for store in stores)
    query = stores[0].train.tokens[1000:1004].tolist()
    assert one.occurrences(query, 50) == many.occurrences(query, 50)
    documents = range(len(stores[0].train.starts) - 1)
    assert [one.source(n) for n in documents] == [many.source(n) for n in documents]


def test_training_and_evaluating_give_the_same_bits(
    stores: tuple[Store, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = []
    for store in stores:
        run = tmp_path / store.path.name
        assert main(["pretrain", str(store.path), "--out", str(run), *TRAIN.split()]) == 0
        capsys.readouterr()
        assert main(["evaluate", str(run), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        results.append((sha256(run / "model" / "model.safetensors"), found["loss"]))
    assert results[0] == results[1]


def indices(draw: np.random.Generator, size: int) -> list[NDArray[np.int64]]:
    rows = draw.integers(0, size, 5)[:, None] + np.arange(9)
    return [rows % size, draw.integers(0, size, (3, 4)), draw.integers(0, size, 7), rows[:0]]


@pytest.mark.parametrize("sizes", [[30], [1, 29], [0, 7, 0, 11, 12], [10, 0, 0, 20, 0]])
def test_joined_ids_are_those_of_one_array(sizes: list[int]) -> None:
    draw = np.random.default_rng(0)
    whole = draw.integers(0, 1000, sum(sizes)).astype(np.uint16)
    joined = JoinedIds(np.split(whole, np.cumsum(sizes)[:-1]))
    assert len(joined) == len(whole) and joined.dtype == whole.dtype
    for places in indices(draw, len(whole)):
        assert np.array_equal(joined[places], whole[places])
    for start in range(-1, len(whole) + 1):
        for stop in (start, start + 1, start + 13, None):
            assert np.array_equal(joined[start:stop], whole[start:stop])
