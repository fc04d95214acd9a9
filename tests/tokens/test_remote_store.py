"""Text and stores on S3, served by moto; skipped where `moto_server` is not installed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from corpora import content_of, put, write_books

from nextword import addresses
from nextword.addresses import upload
from nextword.cli.main import main
from nextword.errors import UserError
from nextword.tokens.prepare import prepare
from nextword.tokens.remote_store import publish
from nextword.tokens.store import Store, is_store

SETTINGS = {"vocab_size": 400, "workers": 1}


def write_text(folder: Path) -> Path:
    write_books(folder, 8, 20_000)
    lines = [json.dumps({"text": f"Line {n}: " + "said the cat " * 9}) for n in range(200)]
    (folder / "more").mkdir()
    with gzip.open(folder / "more" / "lines.jsonl.gz", "wt") as file:
        file.write("\n".join(lines))
    (folder / "picture.bin").write_bytes(bytes(range(256)))
    return folder


def same(store: Path, other: Path) -> None:
    """Assert that all files but the manifest are the same, but for where the text was."""
    mine, others = content_of(store), content_of(other)
    for name in ("manifest.json", "train-00000.sources", "val-00000.sources"):
        del mine[name], others[name]
    assert mine == others


@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_of_text_on_s3_written_to_s3_is_that_of_local_files(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    text = write_text(tmp_path / "text")
    local = prepare(text, tmp_path / "local", **SETTINGS)
    address = put(text, f"{bucket}/text")
    store = prepare(address, f"{bucket}/store", vocab_size=400, workers=workers)
    same(store.path, local.path)
    assert store.train.sources([0])[0].startswith(f"{bucket}/text/")
    assert is_store(f"{bucket}/store")
    capsys.readouterr()
    again = prepare(address, f"{bucket}/store", vocab_size=400)
    assert "is prepared already" in capsys.readouterr().err
    assert again.manifest == store.manifest
    same(prepare(f"{bucket}/text/**", tmp_path / "pattern", **SETTINGS).path, local.path)


def test_a_store_on_s3_is_streamed_and_trains_as_a_local_one(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local = prepare(write_text(tmp_path / "text"), tmp_path / "local", **SETTINGS)
    address = put(local.path, f"{bucket}/store")
    flags = "--layers 1 --width 32 --heads 2 --context-length 32 --batch-size 4 --steps 3 "
    flags += "--sample-every 0 --threads 1 --precision fp32"
    for data, out in ((str(local.path), "a"), (address, "b")):
        assert main(["pretrain", data, "--out", str(tmp_path / out), *flags.split()]) == 0
    said = capsys.readouterr().err
    assert said.count("are read from there") == 1
    weights = [(tmp_path / out / "model" / "model.safetensors").read_bytes() for out in "ab"]
    assert weights[0] == weights[1]
    assert main(["info", address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "store"
    assert main(["pretrain", address, "--out", str(tmp_path / "b"), "--resume"]) == 0
    Store.open(address).whole().verify()


def test_a_half_written_store_is_no_store_and_is_written_again(bucket: str, tmp_path: Path) -> None:
    text = write_books(tmp_path / "text")
    store = prepare(text, tmp_path / "local", **SETTINGS)
    for name in ("train-00000.bin", "train-00000.idx"):
        upload(store.path / name, f"{bucket}/store/{name}")
    with pytest.raises(UserError, match=r"s3://.*/store: is a store that is half written"):
        Store.open(f"{bucket}/store")
    prepare(text, f"{bucket}/store", **SETTINGS)
    assert content_of(Store.open(f"{bucket}/store").path) == content_of(store.path)


def test_what_else_stands_there_is_not_written_over(bucket: str, tmp_path: Path) -> None:
    text = write_books(tmp_path / "text")
    put(text, f"{bucket}/books")
    with pytest.raises(UserError, match=r"/books: is not a token store: book000\.txt is there"):
        prepare(text, f"{bucket}/books", **SETTINGS)
    prepare(text, f"{bucket}/store", **SETTINGS)
    with pytest.raises(UserError, match="made from other data, or with other settings"):
        prepare(text, f"{bucket}/store", vocab_size=300)


def test_a_damaged_or_missing_file_of_a_store_is_named(bucket: str, tmp_path: Path) -> None:
    store = prepare(write_books(tmp_path / "text"), tmp_path / "local", **SETTINGS)
    index = store.path / "train-00000.idx"
    moved = index.rename(tmp_path / "index")
    put(store.path, f"{bucket}/other")
    with pytest.raises(UserError, match=r"/other/train-00000\.idx: is missing from the store"):
        Store.open(f"{bucket}/other")
    moved.rename(index)
    put(store.path, f"{bucket}/store")
    damaged = bytearray((store.path / "train-00000.bin").read_bytes())
    damaged[100] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    upload(tmp_path / "damaged", f"{bucket}/store/train-00000.bin")
    with pytest.raises(UserError, match=r"/store/train-00000\.bin: is damaged"):
        Store.open(f"{bucket}/store").whole()


def test_what_cannot_be_reached_is_one_sentence(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"s3://.*/nothing: no such file or folder"):
        prepare(f"{bucket}/nothing", tmp_path / "store")
    with pytest.raises(UserError, match="s3://no-such-bucket-here/text: "):
        prepare("s3://no-such-bucket-here/text", tmp_path / "store")
    text = write_books(tmp_path / "text")
    with pytest.raises(UserError, match=r"no-such-bucket-here/.*cannot be reached.*credentials"):
        prepare(text, "s3://no-such-bucket-here/store", **SETTINGS)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    addresses.pyarrow_system.cache_clear()
    with pytest.raises(UserError, match=r"cannot be reached.*check the address, the connection"):
        prepare("s3://bucket/text", tmp_path / "store")


def test_a_published_store_is_not_fetched_again(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = prepare(write_books(tmp_path / "text"), tmp_path / "local", **SETTINGS)
    place = publish(store.path, f"{bucket}/store")
    assert Store.open(f"{bucket}/store").path == place
    assert "are read from there" not in capsys.readouterr().err
