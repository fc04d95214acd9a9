"""The token store: ids of a corpus on the disk, in the layout of Megatron's indexed data sets.

STORE/manifest.json   counts, SHA-256 of every file, tokenizer, settings; written last
      tokenizer/      as AutoTokenizer opens it
      train.bin       ids one after another, each document followed by the end token
      train.idx       where each document lies (Megatron-LM, indexed_dataset.py)
      train.sources   the place each document came from, a line each
      train.sizes     how many bytes of text each document is, int32
      val.bin ...     the same of the held-out text
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.files import read_json, sha256, write_json
from nextword.tokens.remote_store import MANIFEST, local_place
from nextword.tokens.tokenizer import Tokenizer

FORMAT, VERSION = "nextword token store", 1
TOKENIZER = "tokenizer"
SPLITS = ("train", "val")

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")  # magic, version, code of the type, sequences, documents + 1
DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}  # by Megatron's codes
HASHED_ON_OPENING = 2**28  # bytes; a larger file is hashed by `verify` alone


def id_dtype(vocab_size: int) -> np.dtype[Any]:
    """Return uint16 up to 65,536 ids, else int32: the narrowest of Megatron's that holds them."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<i4")


@dataclass(frozen=True)
class Split:
    """One part of a store; what other tools wrote may lack the end token."""

    name: str
    tokens: NDArray[Any]  # [tokens], memory-mapped
    starts: NDArray[np.int64]  # [documents + 1]
    end_id: int
    vocab_size: int
    path: Path | None = None  # of its .bin
    sizes: NDArray[np.int32] | None = None  # bytes of text, [documents]; None where not known

    def __len__(self) -> int:
        return len(self.tokens)

    def sources(self, documents: NDArray[np.int64]) -> list[str]:
        """Return where some documents came from, or their numbers where that is unknown."""
        numbers = [int(number) for number in documents]
        names = {number: f"{self.name} document {number}" for number in numbers}
        file = self.path.with_suffix(".sources") if self.path else None
        if file is not None and file.is_file() and numbers:
            with open(file, encoding="utf-8", errors="surrogateescape") as lines:
                for number, line in enumerate(itertools.islice(lines, max(numbers) + 1)):
                    if number in names:
                        names[number] = line.rstrip("\n")
        return [names[number] for number in numbers]

    def sources_of_rows(self, starts: NDArray[np.int64], length: int) -> list[str]:
        """Return where the documents in rows of `length` tokens from `starts` [rows] on came from.

        The split is read in a circle.
        """
        places = (starts[:, None] + np.arange(length)) % len(self)
        return self.sources(np.unique(np.searchsorted(self.starts, places, side="right") - 1))


class SplitWriter:
    """Writes NAME.bin, .idx, .sources and .sizes; memory grows by eight bytes a document."""

    def __init__(self, directory: Path, name: str, vocab_size: int, end_id: int) -> None:
        self.path = directory / f"{name}.bin"
        self.dtype = id_dtype(vocab_size)
        self.vocab_size, self.end_id = vocab_size, end_id
        self._lengths: list[NDArray[np.int32]] = []
        self._sizes: list[NDArray[np.int32]] = []
        self._ids = open(self.path, "wb")  # noqa: SIM115
        self._sources = open(self.path.with_suffix(".sources"), "wb")  # noqa: SIM115

    def append(
        self,
        ids: NDArray[Any],
        lengths: NDArray[Any],
        sources: list[str] | None = None,
        sizes: NDArray[Any] | None = None,
    ) -> None:
        """Write documents one after another, each with its end token, counted in its length.

        `sizes` are the bytes of their text.

        Raises ValueError for ids that do not add up, lie outside the vocabulary, or do not end.
        """
        if int(np.sum(lengths)) != len(ids):
            raise ValueError(f"documents of {int(np.sum(lengths))} ids in all, but {len(ids)} ids")
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self.vocab_size:
            raise ValueError(f"id {int(ids.max())} is outside a vocabulary of {self.vocab_size}")
        if len(ids) and (ids[np.cumsum(lengths) - 1] != self.end_id).any():
            raise ValueError("a document lacks its end token")
        self._ids.write(ids.astype(self.dtype).tobytes())
        self._lengths.append(np.asarray(lengths, np.int32))
        if sizes is not None:
            self._sizes.append(np.asarray(sizes, np.int32))
        for source in sources or []:
            line = " ".join(source.splitlines()) + "\n"
            self._sources.write(line.encode("utf-8", "surrogateescape"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        self._ids.close()
        self._sources.close()
        if kind is None:
            lengths = np.concatenate([np.empty(0, np.int32), *self._lengths])
            write_index(self.path.with_suffix(".idx"), lengths, self.dtype)
            sizes = np.concatenate([np.empty(0, np.int32), *self._sizes])
            if len(sizes) == len(lengths):
                self.path.with_suffix(".sizes").write_bytes(sizes.astype("<i4").tobytes())


def write_index(path: Path, lengths: NDArray[np.int32], dtype: np.dtype[Any]) -> None:
    """Write an .idx in which every document is one sequence; `lengths` int32 [documents]."""
    code = next(code for code, name in DTYPES.items() if np.dtype(name) == dtype)
    starts = np.append(0, np.cumsum(lengths, dtype=np.int64))
    with open(path, "wb") as file:
        file.write(HEADER.pack(MAGIC, 1, code, len(lengths), len(lengths) + 1))
        file.write(lengths.astype("<i4").tobytes())
        file.write((starts[:-1] * dtype.itemsize).astype("<i8").tobytes())
        file.write(np.arange(len(lengths) + 1, dtype="<i8").tobytes())


def read_index(path: Path) -> tuple[NDArray[np.int64], np.dtype[Any]]:
    """Return where documents start, in ids, [documents + 1]; and the type of the ids.

    Documents of several sequences, as other tools write them, are joined. Raises UserError for a
    file that is not such an index, is cut short, or does not add up.
    """
    content = path.read_bytes()
    if len(content) < HEADER.size or not content.startswith(MAGIC):
        raise _damaged("is not an index of tokens", path)
    _, version, code, sequences, documents = HEADER.unpack_from(content)
    if version != 1 or code not in DTYPES:
        raise UserError(
            f"is an index of version {version}, type {code}; known are version 1 and integers",
            where=path,
        )
    size = HEADER.size + 12 * sequences + 8 * documents
    if len(content) < size or documents < 1:
        raise _damaged(f"is damaged: {len(content)} bytes, expected {size}", path)
    dtype = np.dtype(DTYPES[code])
    lengths = np.frombuffer(content, "<i4", sequences, HEADER.size)
    pointers = np.frombuffer(content, "<i8", sequences, HEADER.size + 4 * sequences)
    firsts = np.frombuffer(content, "<i8", documents, HEADER.size + 12 * sequences)
    ends = np.append(0, np.cumsum(lengths, dtype=np.int64))
    is_sound = (
        (lengths >= 0).all()
        and (pointers == ends[:-1] * dtype.itemsize).all()
        and firsts[0] == 0
        and firsts[-1] == sequences
        and (np.diff(firsts) >= 0).all()
    )
    if not is_sound:
        raise _damaged("is damaged: its documents do not follow one another", path)
    return ends[firsts], dtype


def read_split(path: Path, end_id: int, vocab_size: int) -> Split:
    """Return the documents of PATH.bin, found by PATH.idx.

    Raises UserError where either is missing or damaged, or they do not fit each other.
    """
    bin_path = path.with_suffix(".bin")
    for file in (bin_path, path.with_suffix(".idx")):
        if not file.is_file():
            raise _damaged("is missing from the store", file)
    starts, dtype = read_index(path.with_suffix(".idx"))
    if np.iinfo(dtype).max < vocab_size - 1:
        bits = 8 * dtype.itemsize
        raise _damaged(f"holds ids of {bits} bits, too few for {vocab_size:,} tokens", bin_path)
    size, expected = bin_path.stat().st_size, int(starts[-1]) * dtype.itemsize
    if size != expected:
        raise _damaged(f"is damaged: {size:,} bytes, its index expects {expected:,}", bin_path)
    tokens = np.memmap(bin_path, dtype, "r") if expected else np.empty(0, dtype)
    return Split(path.stem, tokens, starts, end_id, vocab_size, bin_path, _read_sizes(path, starts))


def _read_sizes(path: Path, starts: NDArray[np.int64]) -> NDArray[np.int32] | None:
    """Return the bytes of each document's text; None where another tool wrote the store."""
    file = path.with_suffix(".sizes")
    if not file.is_file():
        return None
    sizes = np.fromfile(file, "<i4")
    if len(sizes) != len(starts) - 1:
        raise _damaged("is damaged: it does not fit the index", file)
    return sizes


def _damaged(what: str, file: Path) -> UserError:
    return UserError(what, where=file, mend="prepare the store again")


def is_store(path: str | Path) -> bool:
    """Return whether a directory says that it is a store; it may still be damaged."""
    return (local_place(path) / MANIFEST).is_file()


@dataclass(frozen=True)
class Store:
    """A token store on the disk."""

    path: Path
    manifest: dict[str, Any]
    train: Split
    val: Split

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a store; one at an address is fetched first, once.

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
            raise _damaged(what, path / MANIFEST)
        try:
            tokenizer = manifest["tokenizer"]
            end_id, vocab_size = tokenizer["end_id"], tokenizer["vocab_size"]
            sizes = {name: file["bytes"] for name, file in manifest["files"].items()}
            small = [name for name, size in sizes.items() if size <= HASHED_ON_OPENING]
        except (KeyError, TypeError, AttributeError):
            raise UserError("lacks what a store's manifest says", where=path / MANIFEST) from None
        _verify(path, manifest, small)
        splits = [read_split(path / name, end_id, vocab_size) for name in SPLITS]
        return cls(path, manifest, *splits)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises UserError if it is not the one that the store was made with."""
        tokenizer = Tokenizer.load(self.path / TOKENIZER)
        if tokenizer.sha256 != self.manifest["tokenizer"]["sha256"]:
            what = "is not the tokenizer that this store was made with"
            raise _damaged(what, self.path / TOKENIZER)
        return tokenizer

    def counts(self, split: str) -> dict[str, int]:
        """Return documents, tokens (end tokens included), characters and bytes of a split."""
        counts: dict[str, int] = self.manifest["splits"][split]
        return counts

    def verify(self) -> None:
        """Hash every file. Raises UserError naming the first that is not as it was written."""
        _verify(self.path, self.manifest, list(self.manifest["files"]))


def _verify(path: Path, manifest: dict[str, Any], hashed: list[str]) -> None:
    for name, expected in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise _damaged("is missing from the store", file)
        if file.stat().st_size != expected["bytes"] or (
            name in hashed and sha256(file) != expected["sha256"]
        ):
            raise _damaged("is damaged: not what the manifest says was written", file)


def write_manifest(
    directory: Path, tokenizer: Tokenizer, content: dict[str, Any], kind: str
) -> None:
    """Write the last file of a store; `content` are its "splits" and what else is worth keeping.

    `kind` is how the tokenizer was named: bpe, bytes, chars, a path or a name on the Hub.
    """
    files = sorted(f for f in directory.rglob("*") if f.is_file() and f.name != MANIFEST)
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
            f.relative_to(directory).as_posix(): {"bytes": f.stat().st_size, "sha256": sha256(f)}
            for f in files
        },
    }
    write_json(directory / MANIFEST, manifest)
