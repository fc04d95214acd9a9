"""Which documents of a corpus repeat an earlier one, in little memory: signatures lie in files."""

from __future__ import annotations

import contextlib
import mmap
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.text.duplicates import PERMUTATIONS

Indices = NDArray[np.int64]  # of documents

_ROWS = 4  # numbers in a band
_BANDS = PERMUTATIONS // _ROWS
_NEIGHBORS = 8  # documents of one bucket that each is compared with
_PAIRS = 2**13  # compared at once
_BLOCK = 2**16  # documents of a sorted band that are looked at together
_PENDING = 2**22  # bytes of signatures held aside before they are written


class DuplicateFinder:
    """Collects documents in order, then tells which of them repeat an earlier one.

    Signatures are cut into 32 bands of four numbers; documents that agree in one are compared.
    Of pairs with similarity 0.8 all but one in 10 million agree in some band; at 0.4, half do.

    A document costs about 50 bytes of memory, and 512 on the disk in `folder`, in files without a
    name: they are gone with this process.
    """

    def __init__(self, similarity: float = 0.8, folder: Path | None = None) -> None:
        self.similarity = similarity
        self._count = 0
        self._files = contextlib.ExitStack()
        files = [tempfile.TemporaryFile(dir=folder) for _ in range(3 + _BANDS)]  # noqa: SIM115
        for file in files:
            self._files.enter_context(file)
        self._digests, self._signed, self._rows, *self._bands = files
        self._pending = bytearray()  # signatures

    def add(self, digest: bytes, signature: NDArray[np.uint16] | None) -> None:
        """Take the next document; without a signature it is only compared exactly."""
        self.add_all(digest, None if signature is None else signature[None])

    def add_all(self, digests: bytes, signatures: NDArray[np.uint16] | None) -> None:
        """Take the next documents: 16 bytes of each, and their signatures [documents, 128]."""
        count = len(digests) // 16
        if signatures is None:
            signatures = np.zeros((count, PERMUTATIONS), np.uint16)
        self._count += count
        self._digests.write(digests)
        self._pending += signatures.tobytes()
        if len(self._pending) >= _PENDING:
            self._write()

    def _write(self) -> None:
        rows = np.frombuffer(bytes(self._pending), np.uint16).reshape(-1, PERMUTATIONS)
        self._pending.clear()
        self._signed.write(rows.any(axis=1).tobytes())
        self._rows.write(rows.tobytes())
        bands = rows.view(np.uint64)  # [documents, bands]: the 16-bit rows of one as a number
        for file, keys in zip(self._bands, bands.T, strict=True):
            file.write(keys.tobytes())

    def close(self) -> None:
        """Give back the room on the disk."""
        self._files.close()

    def exact(self) -> Indices:
        """Return the first document with the same text as each, [documents]: maybe itself."""
        digests = _read(self._digests, np.uint64).reshape(-1, 2)
        order = np.lexsort((digests[:, 1], digests[:, 0]))
        is_first = np.ones(self._count, np.bool_)
        for start in range(1, self._count, _BLOCK):  # those of one text are in their order
            here = digests[order[start - 1 : start + _BLOCK]]
            is_first[start : start + _BLOCK] = (here[1:] != here[:-1]).any(axis=1)
        del digests
        first: Indices = np.empty(self._count, np.int64)
        counts = np.diff(np.flatnonzero(is_first), append=self._count)
        first[order] = np.repeat(order[is_first], counts)
        return first

    def clusters(self, exact: Indices | None = None) -> Indices:
        """Return the first document of each one's cluster, [documents].

        A cluster holds exact and near duplicates, transitively. What `exact` returned is made use
        of, and changed, where it is given.
        """
        if self._pending:
            self._write()
        parent = self.exact() if exact is None else exact
        signed = _read(self._signed, np.bool_)
        signed &= parent == np.arange(self._count)
        firsts = np.flatnonzero(signed)
        if not len(firsts):
            return parent
        self._rows.flush()
        rows = np.memmap(self._rows, np.uint16, "r", shape=(self._count, PERMUTATIONS))
        for file in self._bands:
            keys = _read(file, np.uint64)[firsts]
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            for step in range(1, _NEIGHBORS + 1):
                alike = [
                    self._alike(parent, rows, firsts[order[meet]], firsts[order[meet + step]])
                    for meet in _meeting(keys, step)
                ]
                if alike:
                    _join(parent, *np.concatenate(alike, axis=1))
            rows._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
        return parent

    def _alike(
        self, parent: Indices, rows: NDArray[np.uint16], left: Indices, right: Indices
    ) -> Indices:
        """Return the pairs of different clusters that are similar, [2, pairs]."""
        apart = parent[left] != parent[right]
        left, right = left[apart], right[apart]
        alike = _similarity(rows, left, right) >= self.similarity
        return np.stack([left[alike], right[alike]])


def _read(file: Any, dtype: type[np.generic]) -> NDArray[Any]:
    file.seek(0)
    return np.fromfile(file, dtype)


def _meeting(keys: NDArray[np.uint64], step: int) -> Iterator[Indices]:
    """Yield the places in sorted keys where the same key stands `step` later."""
    for start in range(0, len(keys) - step, _BLOCK):
        stop = min(start + _BLOCK, len(keys) - step)
        same = keys[start:stop] == keys[start + step : stop + step]
        yield np.flatnonzero(same) + start


def _similarity(
    signatures: NDArray[np.uint16], left: Indices, right: Indices
) -> NDArray[np.float64]:
    """Estimate the Jaccard similarity of each pair, [pairs]."""
    shares = [
        (signatures[left[at : at + _PAIRS]] == signatures[right[at : at + _PAIRS]]).mean(axis=1)
        for at in range(0, len(left), _PAIRS)
    ]
    return np.concatenate(shares) if shares else np.empty(0)


def _join(parent: Indices, left: Indices, right: Indices) -> None:
    """Join the clusters of pairs in `parent`, the first member of each item's cluster."""
    while True:
        left, right = parent[left], parent[right]
        apart = left != right
        if not apart.any():
            return
        left, right = left[apart], right[apart]
        np.minimum.at(parent, np.maximum(left, right), np.minimum(left, right))
        while not np.array_equal(parent, shorter := parent[parent]):
            parent[:] = shorter
