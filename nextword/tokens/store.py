"""The token store: memory-mapped documents in Megatron's indexed-data-set layout.

    STORE/manifest.json     counts, SHA-256 of every file, tokenizer, settings; written last
    STORE/tokenizer/        tokenizer.json and tokenizer_config.json
    STORE/train.bin .idx    ids of every document, each followed by the end-of-document id
    STORE/val.bin .idx      the same for held-out text
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.files import read_json
from nextword.tokens.tokenizer import Tokenizer

FORMAT = 1
MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")  # magic, version, number type, sequences, documents + 1
TYPES: dict[int, Any] = {
    1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16
}  # fmt: skip
CODES = {np.dtype(kind): code for code, kind in TYPES.items()}


def narrowest(vocab_size: int) -> np.dtype[Any]:
    """The type ids are stored in: 16 bits where every id fits, else 32."""
    return np.dtype(np.uint16) if vocab_size <= 1 << 16 else np.dtype(np.int32)


@dataclass(frozen=True)
class Split:
    """`tokens` [tokens] on disk; document d is tokens[starts[d] : starts[d + 1]]."""

    tokens: NDArray[Any]
    starts: NDArray[np.int64]

    @property
    def documents(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True)
class Store:
    path: Path
    manifest: dict[str, Any]
    train: Split
    val: Split

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Check a store's sizes and types against its manifest and map it into memory."""
        path = Path(path)
        if not (path / "manifest.json").is_file():
            unfinished = (path / "work").is_dir()
            raise UserError(
                "is an unfinished store" if unfinished else "is not a token store (no manifest.json)",
                where=path,
                mend="run the same `nextword prepare` again; it goes on where it was"
                if unfinished
                else "make one with `nextword prepare DATA... --out STORE`",
            )
        manifest = read_json(path / "manifest.json")
        try:
            if manifest["format"] != FORMAT:
                raise UserError(
                    f"has format {manifest['format']}, this version reads {FORMAT}",
                    where=path / "manifest.json",
                    mend="prepare the text again",
                )
            for name, entry in manifest["files"].items():
                file = path / name
                size = file.stat().st_size if file.is_file() else -1
                if size != entry["bytes"]:
                    raise UserError(
                        "is missing" if size < 0 else f"has {size:,} bytes, its manifest says {entry['bytes']:,}",
                        where=file,
                        mend="prepare the text again",
                    )
            vocab_size = int(manifest["tokenizer"]["vocab_size"])
            counts = [manifest["splits"][name]["tokens"] for name in ("train", "val")]
        except (KeyError, TypeError, AttributeError):
            raise UserError("is not a store's manifest", where=path / "manifest.json") from None
        splits = [read_split(path / name, vocab_size) for name in ("train", "val")]
        for name, split, count in zip(("train", "val"), splits, counts, strict=True):
            if len(split.tokens) != count:
                raise UserError(
                    f"holds {len(split.tokens):,} tokens, its manifest says {count:,}",
                    where=path / f"{name}.bin",
                )
        return cls(path, manifest, *splits)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer.load(self.path / "tokenizer")
        if tokenizer.sha256 != self.manifest["tokenizer"]["sha256"]:
            raise UserError(
                "is not the tokenizer this store was encoded with",
                where=self.path / "tokenizer",
                mend="put the old one back, or prepare the text again",
            )
        return tokenizer


def read_split(prefix: Path, vocab_size: int | None = None) -> Split:
    """Map PREFIX.bin and PREFIX.idx, also ones that Megatron's own tools wrote."""
    index = prefix.with_suffix(".idx")
    try:
        raw = index.read_bytes()
        magic, version, code, sequences, _ = HEADER.unpack_from(raw)
    except (OSError, struct.error):
        raise UserError("is missing or too short for an index", where=index) from None
    if magic != MAGIC or version != 1 or code not in TYPES:
        raise UserError("is not an index in Megatron's layout", where=index)
    kind = np.dtype(TYPES[code])
    if len(raw) < HEADER.size + sequences * 12:
        raise UserError(f"is cut short: {sequences:,} sequences do not fit in it", where=index)
    if vocab_size is not None and np.iinfo(kind).max < vocab_size - 1:
        raise UserError(
            f"stores ids as {kind.name}, too narrow for a vocabulary of {vocab_size:,}", where=index
        )
    lengths = np.frombuffer(raw, "<i4", sequences, HEADER.size).astype(np.int64)
    pointers = np.frombuffer(raw, "<i8", sequences, HEADER.size + 4 * sequences)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    binary = prefix.with_suffix(".bin")
    size = binary.stat().st_size if binary.is_file() else -1
    if size != starts[-1] * kind.itemsize or (pointers != starts[:-1] * kind.itemsize).any():
        raise UserError(f"does not fit its index {index.name}", where=binary)
    if size == 0:
        return Split(np.empty(0, kind), starts)
    return Split(np.memmap(binary, kind, "r"), starts)


class SplitWriter:
    """Appends documents to PREFIX.bin; `finish` writes PREFIX.idx."""

    def __init__(self, prefix: Path, vocab_size: int, end_id: int) -> None:
        self.prefix, self.kind, self.end_id = prefix, narrowest(vocab_size), end_id
        self.vocab_size = vocab_size
        self.lengths = array("q")
        self._file: BinaryIO = open(prefix.with_suffix(".bin"), "wb")  # noqa: SIM115

    def add(self, ids: NDArray[Any], lengths: NDArray[np.int64]) -> None:
        """Documents one after the other; each gets the end-of-document id after it."""
        if len(ids) and int(ids.max()) >= self.vocab_size:
            raise ValueError(f"id {int(ids.max())} in a vocabulary of {self.vocab_size}")
        ends = np.cumsum(lengths)
        self._file.write(np.insert(ids, ends, self.end_id).astype(self.kind).tobytes())
        self.lengths.extend((lengths + 1).tolist())

    def finish(self) -> int:
        """Write the index; returns how many tokens there are."""
        self._file.close()
        lengths = np.asarray(self.lengths, np.int64)
        if len(lengths) and lengths.max() > np.iinfo(np.int32).max:
            raise UserError("a document has more than 2^31 tokens", mend="cut it into parts")
        pointers = (np.cumsum(lengths) - lengths) * self.kind.itemsize
        header = HEADER.pack(MAGIC, 1, CODES[self.kind], len(lengths), len(lengths) + 1)
        with open(self.prefix.with_suffix(".idx"), "wb") as file:
            file.write(header + lengths.astype("<i4").tobytes() + pointers.astype("<i8").tobytes())
            file.write(np.arange(len(lengths) + 1, dtype="<i8").tobytes())
        return int(lengths.sum())
