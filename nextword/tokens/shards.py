"""Shards of a split: files of a bounded size, each in the layout of Megatron's indexed data sets.

NAME.bin       ids one after another, each document followed by the end token
    .idx       where each document lies (Megatron-LM, indexed_dataset.py)
    .sources   the place each document came from, a line each
    .sizes     how many bytes of text each document is, int32
"""

from __future__ import annotations

import struct
import uuid
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.files import PARTIAL, put_file

PARTS = (".bin", ".idx", ".sources", ".sizes")
MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")  # magic, version, code of the type, sequences, documents + 1
DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}  # by Megatron's codes


def id_dtype(vocab_size: int) -> np.dtype[Any]:
    """Return uint16 up to 65,536 ids, else int32: the narrowest of Megatron's that holds them."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<i4")


def shard_name(split: str, number: int) -> str:
    return f"{split}-{number:05d}"


class ShardWriter:
    """Writes the files of a shard; they get their names when all of them are on the disk.

    `counts` are its documents and tokens. Memory grows by eight bytes a document.
    """

    def __init__(self, directory: Path, name: str, vocab_size: int, end_id: int) -> None:
        self.path, self.name = directory / name, name
        self.dtype = id_dtype(vocab_size)
        self.vocab_size, self.end_id = vocab_size, end_id
        self.counts = {"documents": 0, "tokens": 0}
        self._own = uuid.uuid4().hex  # whoever else writes the same shard
        self._lengths: list[NDArray[np.int32]] = []
        self._sizes: list[NDArray[np.int32]] = []
        self._ids = open(self._aside(".bin"), "wb")  # noqa: SIM115
        self._sources = open(self._aside(".sources"), "wb")  # noqa: SIM115

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
        self.counts["documents"] += len(lengths)
        self.counts["tokens"] += len(ids)
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
            write_index(self._aside(".idx"), lengths, self.dtype)
            sizes = np.concatenate([np.empty(0, np.int32), *self._sizes])
            if len(sizes) == len(lengths):
                self._aside(".sizes").write_bytes(sizes.astype("<i4").tobytes())
        for part in PARTS:
            if kind is not None:
                self._aside(part).unlink(missing_ok=True)
            elif self._aside(part).exists():
                put_file(self._aside(part), self.path.with_suffix(part))

    def _aside(self, part: str) -> Path:
        return self.path.with_name(f".{self.name}.{self._own}{part}{PARTIAL}")


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
        raise damaged("is not an index of tokens", path)
    _, version, code, sequences, documents = HEADER.unpack_from(content)
    if version != 1 or code not in DTYPES:
        raise UserError(
            f"is an index of version {version}, type {code}; known are version 1 and integers",
            where=path,
        )
    size = HEADER.size + 12 * sequences + 8 * documents
    if len(content) < size or documents < 1:
        raise damaged(f"is damaged: {len(content)} bytes, expected {size}", path)
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
        raise damaged("is damaged: its documents do not follow one another", path)
    return ends[firsts], dtype


def read_sizes(path: Path, documents: int) -> NDArray[np.int32] | None:
    """Return the bytes of each document's text; None where another tool wrote the shard."""
    file = path.with_suffix(".sizes")
    if not file.is_file():
        return None
    sizes = np.fromfile(file, "<i4")
    if len(sizes) != documents:
        raise damaged("is damaged: it does not fit the index", file)
    return sizes


def damaged(what: str, file: str | Path) -> UserError:
    return UserError(what, where=file, mend="prepare the store again")
