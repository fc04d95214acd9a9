from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from nextword.errors import UserError
from nextword.tokens.shards import ShardWriter, id_dtype
from nextword.tokens.store import Store, is_store, read_shard, write_manifest
from nextword.tokens.tokenizer_training import byte_tokenizer

DOCUMENTS = {"train": ["one", "zwei", "三"], "val": ["four"]}


def make_store(path: Path) -> Path:
    tokenizer = byte_tokenizer()
    path.mkdir()
    splits = {}
    for name, texts in DOCUMENTS.items():
        shard = f"{name}-00000"
        with ShardWriter(path, shard, tokenizer.vocab_size, tokenizer.end_id) as writer:
            for text in texts:
                ids = np.array([*tokenizer.encode(text), tokenizer.end_id])
                writer.append(ids, [len(ids)], [f"{text}.txt"])
        splits[name] = {"documents": len(texts), "shards": [{"name": shard} | writer.counts]}
    tokenizer.save(path / "tokenizer")
    write_manifest(path, tokenizer, {"splits": splits}, "bytes")
    return path


def read_as_megatron(path: Path) -> tuple[list[list[int]], list[int]]:
    """Megatron-LM's indexed_dataset.py, written out: sequences, and the documents' bounds."""
    with open(path.with_suffix(".idx"), "rb") as file:
        assert file.read(9) == b"MMIDIDX\x00\x00"
        assert struct.unpack("<Q", file.read(8)) == (1,)
        codes = {1: np.uint8, 4: np.int32, 5: np.int64, 8: np.uint16}
        dtype = codes[struct.unpack("<B", file.read(1))[0]]
        (sequences,) = struct.unpack("<Q", file.read(8))
        (documents,) = struct.unpack("<Q", file.read(8))
        lengths = np.frombuffer(file.read(4 * sequences), np.int32)
        pointers = np.frombuffer(file.read(8 * sequences), np.int64)
        bounds = np.frombuffer(file.read(8 * documents), np.int64)
        assert file.read() == b""
    content = path.with_suffix(".bin").read_bytes()
    found = [
        np.frombuffer(content, dtype, length, pointer).tolist()
        for length, pointer in zip(lengths, pointers, strict=True)
    ]
    return found, bounds.tolist()


def test_what_is_written_is_what_megatron_reads(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    sequences, bounds = read_as_megatron(store / "train-00000")
    assert sequences == [[*text.encode(), 256] for text in DOCUMENTS["train"]]
    assert bounds == [0, 1, 2, 3]


def test_what_megatron_writes_is_read_with_its_documents_of_many_sequences(tmp_path: Path) -> None:
    lengths, bounds = np.array([3, 2, 4], np.int32), np.array([0, 2, 3], np.int64)
    ids = np.array([5, 6, 7, 8, 256, 1, 2, 3, 256], np.int32)
    with open(tmp_path / "train.idx", "wb") as file:
        file.write(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 4, 3, 3))
        file.write(lengths.tobytes() + (np.array([0, 3, 5]) * 4).astype(np.int64).tobytes())
        file.write(bounds.tobytes())
    ids.tofile(tmp_path / "train.bin")
    shard = read_shard(tmp_path / "train", 260)
    assert shard.starts.tolist() == [0, 5, 9]
    assert shard.tokens.tolist() == ids.tolist()


def test_a_store_opens_with_its_tokenizer_counts_and_sources(tmp_path: Path) -> None:
    store = Store.open(make_store(tmp_path / "store"))
    assert store.train.tokens.tolist() == [*b"one", 256, *b"zwei", 256, *"三".encode(), 256]
    assert store.train.starts.tolist() == [0, 4, 9, 13]
    assert store.counts("val") == {"documents": 1}
    assert store.tokenizer.end_id == store.train.end_id == 256
    assert store.train.sources(np.array([2, 0])) == ["三.txt", "one.txt"]
    store.verify()


def test_the_width_of_ids_follows_the_vocabulary(tmp_path: Path) -> None:
    assert [id_dtype(size).itemsize for size in (260, 65_535, 65_536, 65_537)] == [2, 2, 2, 4]
    for size in (65_536, 65_537, 151_936):
        with ShardWriter(tmp_path, "train", size, size - 1) as writer:
            writer.append(np.array([0, size - 2, size - 1], np.uint32), [3])
        shard = read_shard(tmp_path / "train", size)
        assert shard.tokens.tolist() == [0, size - 2, size - 1]


def test_ids_too_wide_are_refused_on_writing_and_on_reading(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="outside a vocabulary"),
        ShardWriter(tmp_path, "train", 260, 256) as writer,
    ):
        writer.append(np.array([70_000, 256]), [2])
    with ShardWriter(tmp_path, "train", 260, 256) as writer:
        writer.append(np.array([1, 256]), [2])
    with pytest.raises(UserError, match=r"train\.bin: holds ids of 16 bits, too few for 70,000"):
        read_shard(tmp_path / "train", 70_000)


def test_documents_without_an_end_are_refused_on_writing(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="end token"),
        ShardWriter(tmp_path, "train", 260, 256) as writer,
    ):
        writer.append(np.array([1, 2]), [2])


@pytest.mark.parametrize(
    "name",
    ["manifest.json", "train-00000.bin", "train-00000.idx", "train-00000.sources",
     "val-00000.bin", "val-00000.idx",
     "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"],
)  # fmt: skip
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "zeroed"])
def test_a_damaged_file_is_found_and_named(name: str, damage: str, tmp_path: Path) -> None:
    path = make_store(tmp_path / "store")
    file = path / name
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    if damage == "missing":
        file.unlink()
    elif damage == "flipped" and name == "manifest.json":
        file.write_bytes(content.replace(b"sha256", b"sha25\x07"))
    else:
        if damage == "flipped":
            content[middle] ^= 4
        elif damage == "zeroed":
            content[middle : middle + 8] = bytes(len(content[middle : middle + 8]))
        file.write_bytes({"empty": b"", "cut": content[:-1]}.get(damage, content))
    if damage == "cut" and name == "manifest.json":
        return  # the last character is a newline: nothing is lost
    place = r"store" if (name, damage) == ("manifest.json", "missing") else name.split("/")[-1]
    with pytest.raises(UserError, match=place):
        _ = Store.open(path).tokenizer


@pytest.mark.parametrize("offset", range(0, 41))
def test_a_flipped_bit_in_an_index_never_reads_outside(offset: int, tmp_path: Path) -> None:
    path = make_store(tmp_path / "store") / "train-00000"
    content = bytearray(path.with_suffix(".idx").read_bytes())
    for bit in (1, 128):
        content[offset] ^= bit
        path.with_suffix(".idx").write_bytes(content)
        with pytest.raises(UserError, match=r"train-00000"):
            shard = read_shard(path, 260)
            raise UserError("read all the same", where=shard.path)
        content[offset] ^= bit


def test_another_tokenizer_is_noticed(tmp_path: Path) -> None:
    path = make_store(tmp_path / "store")
    manifest = (path / "manifest.json").read_text()
    sha = byte_tokenizer().sha256
    (path / "manifest.json").write_text(manifest.replace(sha, "0" * 64, 1))
    with pytest.raises(UserError, match=r"tokenizer"):
        _ = Store.open(path).tokenizer


def test_what_is_no_store_is_a_clear_error(tmp_path: Path) -> None:
    assert not is_store(tmp_path)
    with pytest.raises(UserError, match="nextword prepare"):
        Store.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "something else"}')
    with pytest.raises(UserError, match="not the manifest"):
        Store.open(tmp_path)
