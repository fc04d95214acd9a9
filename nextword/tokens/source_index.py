"""The index of a store's training text, which finds where a passage stands in it.

STORE/source-index/manifest.json   the SHA-256 of the store's manifest; written last
                   suffixes-N.bin  sorted suffixes of some documents, int32 or int64
                   firsts-N.bin    where those that begin with each id are, int64
                   text-N.bin      their ids, only where a document lacks its end token
                   lines.bin       where each line of the .sources of each shard begins, int64

Each part holds whole documents, as many as make PART tokens, so that building takes bounded memory.
A document ends with the end token, which no query holds: no match crosses documents.
"""

from __future__ import annotations

import bisect
import itertools
import os
import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.files import read_json, sha256, whole_directory, write_json
from nextword.terminal import Progress
from nextword.tokens.store import MANIFEST, Split, Store
from nextword.tokens.suffix_array import SuffixArray, bounds_of_firsts, sort_suffixes
from nextword.tokens.workers import POLL_SECONDS, explain_disk_errors, lock_directory

FOLDER, FORMAT, VERSION = "source-index", "nextword source index", 1
PART = 1 << 25  # tokens sorted at once: 0.7 GB of memory, 1.4 GB for large vocabularies


@dataclass(frozen=True)
class Part:
    """Some documents of the training text: those from number `document` on. `starts` are where
    they begin in the array's tokens, [documents + 1]."""

    array: SuffixArray
    document: int
    starts: NDArray[np.int64]

    def place(self, at: int) -> tuple[int, int]:
        """Return the document that a place is in, and how many of its tokens stand before."""
        own = int(np.searchsorted(self.starts, at, side="right")) - 1
        return self.document + own, at - int(self.starts[own])


@dataclass(frozen=True)
class SourceIndex:
    """The training text of a store, to be searched."""

    store: Store
    parts: list[Part]
    lines: NDArray[np.int64] | None  # where those of .sources begin, [documents + shards]

    @property
    def arrays(self) -> list[SuffixArray]:
        return [part.array for part in self.parts]

    def occurrences(self, ids: list[int], most: int) -> tuple[int, list[tuple[int, int]]]:
        """Return how often ids stand in the text, and the first places in the text's order, at most
        so many: (document, tokens before)."""
        count, places = 0, list[tuple[int, int]]()
        for part in self.parts:
            found = part.array.occurrences(ids)
            count += len(found)
            if (room := most - len(places)) > 0:
                first = found if len(found) <= room else np.partition(found, room - 1)[:room]
                places += [part.place(int(at)) for at in np.sort(first)]
        return count, places

    @cached_property
    def bytes_and_lines(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many bytes and how many line ends each id stands for, [vocabulary]."""
        tokenizer = self.store.tokenizer
        values = (tokenizer.token_bytes(id) or b"" for id in range(tokenizer.vocab_size))
        breaks = np.array([value.count(b"\n") for value in values], np.int64)
        return tokenizer.bytes_per_id(), breaks

    def source(self, document: int) -> str:
        """Return where a document came from, its number where that is not known."""
        split = self.store.train
        number = bisect.bisect_right(split.firsts, document) - 1
        file = split.shards[number].sources
        if self.lines is None or file is None:
            return f"train document {document}"
        at = document + number  # each shard before it has one more place than documents
        begin, end = (int(place) for place in self.lines[at : at + 2])
        with open(file, "rb") as lines:
            lines.seek(begin)
            return lines.read(end - begin).rstrip(b"\n").decode("utf-8", "surrogateescape")


def open_index(store: Store) -> SourceIndex:
    """Return the index of a store, built where there is none or the store is another by now.

    It is kept beside the store; in memory alone where nothing can be written there. A store at an
    address is fetched whole. Raises UserError where the store holds no training text.
    """
    store = store.whole()
    if not len(store.train):
        raise UserError("holds no training text to search", where=store.path)
    folder = store.path / FOLDER
    if is_current(store):
        return _index(store, folder)
    if not os.access(store.path, os.W_OK):
        return _index(store, None)
    work = store.path / f".{FOLDER}.work"
    while (lock := lock_directory(work)) is None:  # another process builds it
        time.sleep(POLL_SECONDS)
    with lock, explain_disk_errors(folder):
        if not is_current(store):
            with whole_directory(folder) as aside:
                _write(store, aside)
        shutil.rmtree(work, ignore_errors=True)
    return _index(store, folder)


def is_current(store: Store) -> bool:
    """Return whether the index beside a store is of this very store, and whole."""
    file = store.path / FOLDER / MANIFEST
    if not file.is_file():
        return False
    manifest = read_json(file)
    if not isinstance(manifest, dict) or manifest | _identity(store) != manifest:
        return False
    files = manifest.get("files")
    return isinstance(files, dict) and all(
        (file.with_name(name)).is_file() and file.with_name(name).stat().st_size == size
        for name, size in files.items()
    )


def _write(store: Store, folder: Path) -> None:
    split, parts = store.train, _part_bounds(store.train)
    with Progress("Indexing the training text", len(split), "tokens") as progress:
        for number, (first, last) in enumerate(parts):
            tokens, _ = _with_ends(split, first, last)
            if len(tokens) != split.starts[last] - split.starts[first]:
                (folder / f"text-{number}.bin").write_bytes(tokens.tobytes())
            firsts = bounds_of_firsts(tokens, split.vocab_size)
            (folder / f"firsts-{number}.bin").write_bytes(firsts.tobytes())
            sort_suffixes(tokens).tofile(folder / f"suffixes-{number}.bin")
            progress.advance(int(split.starts[last] - split.starts[first]))
    if (lines := _line_starts(store)) is not None:
        (folder / "lines.bin").write_bytes(lines.tobytes())
    files = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    write_json(folder / MANIFEST, _identity(store) | {"files": files})


def _identity(store: Store) -> dict[str, Any]:
    """What an index is made of, and how."""
    of = sha256(store.path / MANIFEST)
    return {"format": FORMAT, "version": VERSION, "part": PART, "store": of}


def _index(store: Store, folder: Path | None) -> SourceIndex:
    """Map an index from its folder, or make it in memory."""
    split, parts = store.train, []
    for number, (first, last) in enumerate(_part_bounds(split)):
        tokens, starts = _with_ends(split, first, last)
        if folder is None:
            suffixes = sort_suffixes(tokens)
            firsts = bounds_of_firsts(tokens, split.vocab_size)
        else:
            path = folder / f"suffixes-{number}.bin"
            width = path.stat().st_size // len(tokens)
            suffixes = np.asarray(np.memmap(path, f"<i{width}", "r"))
            firsts = np.asarray(np.memmap(folder / f"firsts-{number}.bin", np.int64, "r"))
            if (text := folder / f"text-{number}.bin").is_file():
                tokens = np.asarray(np.memmap(text, tokens.dtype, "r"))
        parts.append(Part(SuffixArray(tokens, suffixes, firsts), first, starts))
    return SourceIndex(store, parts, _line_starts(store) if folder is None else _lines(folder))


def _part_bounds(split: Split) -> list[tuple[int, int]]:
    """Return the documents (from, to) of each part: whole ones, of about PART tokens."""
    bounds, documents = [0], len(split.starts) - 1
    while bounds[-1] < documents:
        full = int(split.starts[bounds[-1]]) + PART
        last = int(np.searchsorted(split.starts, full, side="right")) - 1
        bounds.append(min(max(last, bounds[-1] + 1), documents))
    return list(itertools.pairwise(bounds))


def _with_ends(split: Split, first: int, last: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the ids of some documents, each with its end token, and where each begins."""
    starts = split.starts[first : last + 1]
    tokens = np.asarray(split.tokens[int(starts[0]) : int(starts[-1])])
    starts = starts - starts[0]
    ends = starts[1:][np.diff(starts) > 0] - 1
    if (tokens[ends] == split.end_id).all() and (np.diff(starts) > 0).all():
        return tokens, starts
    lacking = [
        number
        for number, (begin, end) in enumerate(itertools.pairwise(starts))
        if begin == end or tokens[end - 1] != split.end_id
    ]
    tokens = np.insert(tokens, starts[1:][lacking], split.end_id)
    added = np.zeros(len(starts), np.int64)
    added[np.array(lacking, np.int64) + 1] = 1
    return tokens, starts + np.cumsum(added)


def _line_starts(store: Store) -> NDArray[np.int64] | None:
    """Return where the lines of each shard's .sources begin and end, one shard after another; None
    where they do not fit the documents."""
    found = []
    for shard in store.train.shards:
        file = shard.sources
        if file is None or not file.stat().st_size:
            return None
        ends = np.flatnonzero(np.memmap(file, np.uint8, "r") == ord("\n")) + 1
        if len(ends) != len(shard.starts) - 1:
            return None
        found.append(np.append(0, ends).astype(np.int64))
    return np.concatenate(found)


def _lines(folder: Path) -> NDArray[np.int64] | None:
    file = folder / "lines.bin"
    return np.asarray(np.memmap(file, np.int64, "r")) if file.is_file() else None
