"""The token store: ids of a corpus on the disk, in the layout of Megatron's indexed data sets.

STORE/manifest.json       counts, shards in their order, SHA-256 of every file, tokenizer, settings;
                          written last
      tokenizer/          as AutoTokenizer opens it
      train-00000.bin     a shard of the training text, with .idx, .sources and .sizes (shards.py)
      train-00001.bin ... more of them, where there is much text; each holds whole documents
      val-00000.bin ...   the same of the held-out text
      origin.json         of a store in the cache: the address of what is not here yet
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.files import read_json, sha256, write_json
from nextword.tokens.joined_ids import Ids, JoinedIds, PartedIds
from nextword.tokens.remote_store import MANIFEST, is_fetched_late, local_place, origin_of
from nextword.tokens.shards import damaged, read_index, read_sizes
from nextword.tokens.streaming import RemoteFiles, StreamedIds
from nextword.tokens.tokenizer import Tokenizer

FORMAT, VERSION = "nextword token store", 2
TOKENIZER = "tokenizer"
SPLITS = ("train", "val")
HASHED_ON_OPENING = 2**28  # bytes; a larger file is hashed by `verify` alone


@dataclass(frozen=True)
class Shard:
    """Some documents of a split, all in files of one name."""

    path: Path  # of its files, without what they end in
    tokens: Ids
    starts: NDArray[np.int64]  # [documents + 1]
    sizes: NDArray[np.int32] | None  # [documents]
    remote: RemoteFiles | None = None  # where what is missing comes from

    @property
    def sources(self) -> Path | None:
        """The file with a line for each document, the place it came from; None if there is none."""
        file = self.path.with_suffix(".sources")
        if self.remote is not None and file.name in self.remote.named:
            return self.remote.fetch(file.name)
        return file if file.is_file() else None


@dataclass(frozen=True)
class Split:
    """One part of a store; what other tools wrote may lack the end token."""

    name: str
    tokens: Ids  # [tokens]: mapped from files, or brought here when they are asked for
    starts: NDArray[np.int64]  # [documents + 1]
    end_id: int
    vocab_size: int
    path: Path | None = None  # of the store
    sizes: NDArray[np.int32] | None = None  # bytes of text, [documents]; None where not known
    shards: tuple[Shard, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    def expect(self, starts: NDArray[np.int64], length: int) -> None:
        """Have rows of `length` tokens from `starts` on brought here, where they are elsewhere."""
        if isinstance(self.tokens, PartedIds):
            self.tokens.expect(starts, np.minimum(starts + length, len(self)))

    def sources(self, documents: NDArray[np.int64]) -> list[str]:
        """Return where some documents came from, or their numbers where that is unknown."""
        numbers = [int(number) for number in documents]
        names = {number: f"{self.name} document {number}" for number in numbers}
        for shard, first in zip(self.shards, self.firsts, strict=False):
            own = {n - first for n in numbers if first <= n < first + len(shard.starts) - 1}
            if own and (file := shard.sources) is not None:
                with open(file, encoding="utf-8", errors="surrogateescape") as lines:
                    for number, line in enumerate(itertools.islice(lines, max(own) + 1)):
                        if number in own:
                            names[first + number] = line.rstrip("\n")
        return [names[number] for number in numbers]

    @property
    def firsts(self) -> list[int]:
        """The number of each shard's first document, and of all documents, [shards + 1]."""
        return list(itertools.accumulate((len(s.starts) - 1 for s in self.shards), initial=0))

    def sources_of_rows(self, starts: NDArray[np.int64], length: int) -> list[str]:
        """Return where the documents in rows of `length` tokens from `starts` [rows] on came from.

        The split is read in a circle.
        """
        places = (starts[:, None] + np.arange(length)) % len(self)
        return self.sources(np.unique(np.searchsorted(self.starts, places, side="right") - 1))


def read_shard(path: Path, vocab_size: int, remote: RemoteFiles | None = None) -> Shard:
    """Return the documents of PATH.bin, found by PATH.idx; ids that are not here are `remote`.

    Raises UserError where either is missing or damaged, or they do not fit each other.
    """
    bin_path = path.with_suffix(".bin")
    for file in (bin_path, path.with_suffix(".idx")):
        if not file.is_file() and (remote is None or file != bin_path):
            raise damaged("is missing from the store", file)
    starts, dtype = read_index(path.with_suffix(".idx"))
    if np.iinfo(dtype).max < vocab_size - 1:
        bits = 8 * dtype.itemsize
        raise damaged(f"holds ids of {bits} bits, too few for {vocab_size:,} tokens", bin_path)
    expected = int(starts[-1]) * dtype.itemsize
    size = bin_path.stat().st_size if bin_path.is_file() else remote.named[bin_path.name].size  # type: ignore[union-attr]
    if size != expected:
        raise damaged(f"is damaged: {size:,} bytes, its index expects {expected:,}", bin_path)
    tokens: Ids
    if not expected:
        tokens = np.empty(0, dtype)
    elif bin_path.is_file():
        tokens = np.memmap(bin_path, dtype, "r")
    else:
        assert remote is not None
        tokens = StreamedIds(remote, bin_path.name, dtype)
    return Shard(path, tokens, starts, read_sizes(path, len(starts) - 1), remote)


def read_split(
    directory: Path,
    name: str,
    shards: list[str],
    tokenizer: tuple[int, int],
    remote: RemoteFiles | None = None,
) -> Split:
    """Return the documents of the shards of a split, in order, as one sequence; `tokenizer` are its
    end token and the size of its vocabulary.

    Raises UserError for a shard that is missing or damaged.
    """
    end_id, vocab_size = tokenizer
    read = tuple(read_shard(directory / shard, vocab_size, remote) for shard in shards)
    if not read:
        raise damaged(f"names no shards of {name}", directory / MANIFEST)
    sizes = [shard.sizes for shard in read]
    ends = np.cumsum([0, *(shard.starts[-1] for shard in read)])
    starts = [shard.starts[:-1] + end for shard, end in zip(read, ends[:-1], strict=True)]
    return Split(
        name,
        read[0].tokens if len(read) == 1 else JoinedIds([shard.tokens for shard in read]),
        np.concatenate([*starts, ends[-1:]]),
        end_id,
        vocab_size,
        directory,
        None if any(size is None for size in sizes) else np.concatenate(sizes),  # type: ignore[arg-type]
        read,
    )


def is_store(path: str | Path) -> bool:
    """Return whether a directory says that it is a store; it may still be damaged."""
    return (local_place(path) / MANIFEST).is_file()


@dataclass(frozen=True)
class Store:
    """A token store on the disk, or one whose ids come to the disk as they are asked for."""

    path: Path
    manifest: dict[str, Any]
    train: Split
    val: Split

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a store; of one at an address all but the ids is fetched first, once.

        Raises UserError naming a file that is missing, damaged or not its own.
        """
        path = local_place(path)
        if not is_store(path):
            raise UserError(
                "is not a token store", where=path, mend="make one with `nextword prepare`"
            )
        manifest = read_json(path / MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise UserError("is not the manifest of a token store", where=path / MANIFEST)
        if manifest.get("version") != VERSION:
            version = manifest.get("version")
            what = f"is a store of version {version}, this nextword reads {VERSION}"
            raise damaged(what, path / MANIFEST)
        try:
            tokenizer = manifest["tokenizer"]["end_id"], manifest["tokenizer"]["vocab_size"]
            shards = {
                name: [str(shard["name"]) for shard in manifest["splits"][name]["shards"]]
                for name in SPLITS
            }
            sizes = {name: file["bytes"] for name, file in manifest["files"].items()}
            small = [name for name, size in sizes.items() if size <= HASHED_ON_OPENING]
        except (KeyError, TypeError, AttributeError):
            raise UserError("lacks what a store's manifest says", where=path / MANIFEST) from None
        remote = origin_of(path, manifest)
        _verify(path, manifest, small, remote)
        splits = [read_split(path, name, shards[name], tokenizer, remote) for name in SPLITS]
        return cls(path, manifest, *splits)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises UserError if it is not the one that the store was made with."""
        tokenizer = Tokenizer.load(self.path / TOKENIZER)
        if tokenizer.sha256 != self.manifest["tokenizer"]["sha256"]:
            what = "is not the tokenizer that this store was made with"
            raise damaged(what, self.path / TOKENIZER)
        return tokenizer

    def counts(self, split: str) -> dict[str, int]:
        """Return documents, tokens (end tokens included), characters and bytes of a split."""
        saved = self.manifest["splits"][split]
        return {name: count for name, count in saved.items() if name != "shards"}

    def whole(self) -> Store:
        """Return the store with all its files on the disk. Raises UserError where one cannot be
        fetched, or is damaged."""
        remote = origin_of(self.path, self.manifest)
        missing = [n for n in self.manifest["files"] if not (self.path / n).is_file()]
        if remote is None or not missing:
            return self
        for name in missing:
            remote.fetch(name)
        return Store.open(self.path)

    def verify(self) -> None:
        """Hash every file. Raises UserError naming the first that is not as it was written."""
        _verify(self.path, self.manifest, list(self.manifest["files"]), None)


def _verify(
    path: Path, manifest: dict[str, Any], hashed: list[str], remote: RemoteFiles | None
) -> None:
    for name, expected in manifest["files"].items():
        file = path / name
        if not file.is_file():
            if remote is not None and is_fetched_late(name):
                continue
            raise damaged("is missing from the store", file)
        if file.stat().st_size != expected["bytes"] or (
            name in hashed and sha256(file) != expected["sha256"]
        ):
            raise damaged("is damaged: not what the manifest says was written", file)


def write_manifest(
    directory: Path,
    tokenizer: Tokenizer,
    content: dict[str, Any],
    kind: str,
    sums: dict[str, str] | None = None,
) -> None:
    """Write the last file of a store; `content` are its "splits" and what else is worth keeping.

    `kind` is how the tokenizer was named: bpe, bytes, chars, a path or a name on the Hub. `sums`
    are SHA-256 of files that need not be hashed again.
    """
    files = sorted(f for f in directory.rglob("*") if f.is_file() and f.name != MANIFEST)
    names = {file: file.relative_to(directory).as_posix() for file in files}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "tokenizer": {
            "kind": kind,
            "sha256": tokenizer.sha256,
            "vocab_size": tokenizer.vocab_size,
            "end_id": tokenizer.end_id,
        },
        **content,
        "files": {
            name: {"bytes": file.stat().st_size, "sha256": (sums or {}).get(name) or sha256(file)}
            for file, name in names.items()
        },
    }
    write_json(directory / MANIFEST, manifest)
