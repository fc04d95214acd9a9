"""Token stores at addresses: s3://bucket/store is fetched once into the cache, and opened there.

A store is written file by file, its manifest last: without one it is not there yet. In the cache
each has the SHA-256 of its manifest as its name, and the manifest has those of all other files.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from nextword.addresses import RemoteFile, download, is_address, list_files, open_address, upload
from nextword.errors import UserError
from nextword.files import cache_folder, sha256, sha256_of, whole_directory
from nextword.terminal import quantity, say
from nextword.tokens.workers import POLL_SECONDS, lock_directory

MANIFEST = "manifest.json"
_KINDS = ("bin", "idx", "sources", "sizes")
_PARTS = {f"{split}.{part}" for split in ("train", "val") for part in _KINDS} | {
    "tokenizer",
    "quarantine.jsonl",
}
_HALF_WRITTEN = {"train.bin", "train.idx"}
_FOLDER = "stores"  # in the cache


def local_place(name: str | Path) -> Path:
    """Return where a store is: the path itself; the place in the cache where an address is a
    store's, which is fetched if it is not there yet.

    Raises UserError where the address cannot be reached, or its store is half written or damaged.
    """
    if not is_address(name):
        return Path(name)
    address = str(name).rstrip("/")
    files = list_files(address)
    manifest = _read_manifest(address, files)
    if manifest is None:
        return Path(name)
    return _fetch(address, manifest, files)


def _read_manifest(address: str, files: list[RemoteFile]) -> bytes | None:
    """Return the manifest among the files at an address; None where there is none. Raises UserError
    for a store that is half written."""
    names = {file.address.removeprefix(f"{address}/") for file in files}
    if MANIFEST not in names:
        if names >= _HALF_WRITTEN:
            raise UserError(
                "is a store that is half written: it has no manifest yet",
                where=address,
                mend="wait for whoever writes it, or prepare it again",
            )
        return None
    with open_address(f"{address}/{MANIFEST}") as file:
        return file.read()


def manifest_at(address: str) -> Any:
    """Return what the manifest of the store at an address holds; None where nothing is there, or
    only what was left of a store that was being written. Raises UserError where other files are."""
    files = list_files(address)
    names = {file.address.removeprefix(f"{address}/") for file in files}
    if MANIFEST not in names:
        if other := sorted(name for name in names if name.split("/")[0] not in _PARTS):
            what = f"is not a token store: {other[0]} is there"
            raise UserError(what, where=address, mend="name another place with --out")
        return None
    where = f"{address}/{MANIFEST}"
    with open_address(where) as file:
        try:
            return json.loads(file.read())
        except (ValueError, RecursionError):
            raise UserError("is not the manifest of a token store", where=where) from None


def publish(store: Path, address: str) -> Path:
    """Write a store at an address, its manifest last; return its place in the cache, where it is
    moved to."""
    files = sorted(file for file in store.rglob("*") if file.is_file() and file.name != MANIFEST)
    say(f"Writing {quantity(sum(file.stat().st_size for file in files), 'B')} to {address}")
    for file in (*files, store / MANIFEST):
        upload(file, f"{address}/{file.relative_to(store).as_posix()}")
    place = cache_folder() / _FOLDER / sha256(store / MANIFEST)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        shutil.rmtree(store)
    else:
        store.rename(place)
    return place


def staging_place(address: str) -> Path:
    """Return the folder in the cache in which the store for an address is made."""
    return cache_folder() / "staging" / sha256_of(address.encode())[:16] / "store"


def _fetch(address: str, manifest: bytes, files: list[RemoteFile]) -> Path:
    place = cache_folder() / _FOLDER / sha256_of(manifest)
    if place.is_dir():
        return place
    work = place.with_name(f".{place.name}.work")
    while (lock := lock_directory(work)) is None:  # another process fetches it
        time.sleep(POLL_SECONDS)
    with lock:
        if not place.is_dir():
            named = _named_files(address, manifest)
            known = {file.address.removeprefix(f"{address}/"): file for file in files}
            if missing := sorted(named.keys() - known.keys()):
                what = "is missing from the store"
                mend = "prepare the store again"
                raise UserError(what, where=f"{address}/{missing[0]}", mend=mend)
            say(f"Fetching {quantity(sum(f.size for f in files), 'B')} from {address}")
            with whole_directory(place) as aside:
                download([(known[name], aside / name) for name in named])
                for name, expected in named.items():
                    if sha256(aside / name) != expected:
                        what = "is damaged: not what the manifest says was written"
                        mend = "fetch it again; if it recurs, prepare the store again"
                        raise UserError(what, where=f"{address}/{name}", mend=mend)
                (aside / MANIFEST).write_bytes(manifest)
        shutil.rmtree(work, ignore_errors=True)
    return place


def _named_files(address: str, manifest: bytes) -> dict[str, str]:
    """Return the SHA-256 of each file that a manifest names, by its path in the store."""
    try:
        content: Any = json.loads(manifest)
        named = {str(name): str(entry["sha256"]) for name, entry in content["files"].items()}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        where = f"{address}/{MANIFEST}"
        raise UserError("is not the manifest of a token store", where=where) from None
    for name in named:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            where = f"{address}/{MANIFEST}"
            raise UserError(f"names a file outside the store: {name!r}", where=where)
    return named
