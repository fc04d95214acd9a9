"""Token stores at addresses: of s3://bucket/store all but the ids is fetched once into the cache,
and opened there; ids come when they are asked for (streaming.py).

A store is written file by file, its manifest last: without one it is not there yet. In the cache
each has the SHA-256 of its manifest as its name, and the manifest has those of all other files.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from nextword.addresses import RemoteFile, download, is_address, list_files, open_address, upload
from nextword.errors import UserError
from nextword.files import cache_folder, read_json, sha256, sha256_of, whole_directory, write_json
from nextword.terminal import quantity, say
from nextword.tokens.streaming import Named, RemoteFiles, damaged_at
from nextword.tokens.workers import POLL_SECONDS, lock_directory

MANIFEST = "manifest.json"
ORIGIN = "origin.json"  # in the cache: where the store is
_SHARD = re.compile(r"(train|val)-\d{5}\.(bin|idx|sources|sizes)")
_FOLDER = "stores"  # in the cache


def local_place(name: str | Path) -> Path:
    """Return where a store is: the path itself; the place in the cache where an address is a
    store's, which is made there, without its ids, if it is not there yet.

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


def is_fetched_late(name: str) -> bool:
    """Return whether a file of a store is fetched when it is asked for."""
    return Path(name).suffix in (".bin", ".sources") or name == "quarantine.jsonl"


def origin_of(place: Path, manifest: dict[str, Any]) -> RemoteFiles | None:
    """Return where what is not here of a store in the cache comes from; None where all is here, or
    the store is no other's copy. A process has one for each store."""
    if all((place / name).is_file() for name in manifest["files"]):
        return None
    if not (place / ORIGIN).is_file():
        return None
    address = str(read_json(place / ORIGIN)["address"])
    return _remote_files(place, address, (place / MANIFEST).read_bytes())


@lru_cache(maxsize=8)
def _remote_files(place: Path, address: str, manifest: bytes) -> RemoteFiles:
    return RemoteFiles(place, address, _named_files(address, manifest))


def _read_manifest(address: str, files: list[RemoteFile]) -> bytes | None:
    """Return the manifest among the files at an address; None where there is none. Raises UserError
    for a store that is half written."""
    names = {file.address.removeprefix(f"{address}/") for file in files}
    if MANIFEST not in names:
        if any(_SHARD.fullmatch(name) for name in names):
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
        if other := sorted(name for name in names if not _is_part(name)):
            what = f"is not a token store: {other[0]} is there"
            raise UserError(what, where=address, mend="name another place with --out")
        return None
    where = f"{address}/{MANIFEST}"
    with open_address(where) as file:
        try:
            return json.loads(file.read())
        except (ValueError, RecursionError):
            raise UserError("is not the manifest of a token store", where=where) from None


def _is_part(name: str) -> bool:
    own = name.split("/")[0] == "tokenizer" or name == "quarantine.jsonl"
    return own or _SHARD.fullmatch(name) is not None


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
    """Return the place in the cache of the store at an address, made where it is not there yet."""
    place = cache_folder() / _FOLDER / sha256_of(manifest)
    if (place / MANIFEST).is_file():
        if (place / ORIGIN).is_file() and read_json(place / ORIGIN) != {"address": address}:
            write_json(place / ORIGIN, {"address": address})  # the same store, elsewhere
        return place
    work = place.with_name(f".{place.name}.work")
    while (lock := lock_directory(work)) is None:  # another process fetches it
        time.sleep(POLL_SECONDS)
    with lock:
        if not (place / MANIFEST).is_file():
            named = _named_files(address, manifest)
            known = {file.address.removeprefix(f"{address}/"): file for file in files}
            if missing := sorted(named.keys() - known.keys()):
                what = "is missing from the store"
                mend = "prepare the store again"
                raise UserError(what, where=f"{address}/{missing[0]}", mend=mend)
            if other := sorted(name for name in named if known[name].size != named[name].size):
                raise damaged_at(f"{address}/{other[0]}")
            size = quantity(sum(file.size for file in named.values()), "B")
            say(f"{size} at {address} are read from there, and kept in the cache as far as fits")
            early = [name for name in named if not is_fetched_late(name)]
            with whole_directory(place) as aside:
                download([(known[name], aside / name) for name in early])
                for name in early:
                    if sha256(aside / name) != named[name].sha256:
                        raise damaged_at(f"{address}/{name}")
                write_json(aside / ORIGIN, {"address": address})
                (aside / MANIFEST).write_bytes(manifest)
        shutil.rmtree(work, ignore_errors=True)
    return place


def _named_files(address: str, manifest: bytes) -> dict[str, Named]:
    """Return the files that a manifest names, by their paths in the store."""
    try:
        content: Any = json.loads(manifest)
        named = {
            str(name): Named(int(entry["bytes"]), str(entry["sha256"]))
            for name, entry in content["files"].items()
        }
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        where = f"{address}/{MANIFEST}"
        raise UserError("is not the manifest of a token store", where=where) from None
    for name in named:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            where = f"{address}/{MANIFEST}"
            raise UserError(f"names a file outside the store: {name!r}", where=where)
    return named
