"""Paragraphs seen before, in any document: licences, headers, quotations. Eight bytes each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_BREAK = re.compile(r"(\n[ \t]*\n\s*)")
_SHORTEST = 16  # letters and digits; shorter ones, such as "Yes." or headings, may repeat
_PENDING = 100_000  # hashes held aside before they are merged into the sorted ones


def hashes(text: str) -> NDArray[np.uint64]:
    """One hash a paragraph, blind to case and spacing; 0 for one too short to be called repeated.

    Paragraphs lie between empty lines, or are lines where there is no empty line.
    """
    return np.array([_hash(paragraph) for paragraph in _split(text)[0::2]], np.uint64)


def passages(text: str, characters: int) -> Iterator[tuple[int, str]]:
    """(line, text) of runs of whole paragraphs, each ended once it has as many characters."""
    line, begun, gathered = 1, 1, ""
    for part in _split(text):
        if gathered or not part.isspace():
            begun = begun if gathered else line
            gathered += part
        line += part.count("\n")
        if len(gathered) >= characters:
            yield begun, gathered
            gathered = ""
    if gathered.strip():
        yield begun, gathered


def _split(text: str) -> list[str]:
    """Paragraphs at even places, what parts them at odd ones."""
    parts = _BREAK.split(text)
    return parts if len(parts) > 1 else re.split(r"(\n)", text)


def _hash(paragraph: str) -> int:
    words = paragraph.lower().split()
    if sum(map(len, words)) < _SHORTEST:
        return 0
    joined = " ".join(words).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest()) or 1


class Paragraphs:
    """Remembers every paragraph shown to it."""

    def __init__(self) -> None:
        self._sorted = np.empty(0, np.uint64)
        self._pending: set[int] = set()

    def unseen(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which paragraphs are new, the first of several alike included; short ones always are."""
        places = np.searchsorted(self._sorted, hashes)
        old = np.zeros(len(hashes), np.bool_)
        if len(self._sorted):
            old = self._sorted[np.minimum(places, len(self._sorted) - 1)] == hashes
        keep = np.ones(len(hashes), np.bool_)
        for index, value in enumerate(hashes.tolist()):
            if value == 0:
                continue
            keep[index] = not old[index] and value not in self._pending
            if keep[index]:
                self._pending.add(value)
        if len(self._pending) >= _PENDING:
            new = np.fromiter(self._pending, np.uint64, len(self._pending))
            self._sorted = np.sort(np.concatenate([self._sorted, new]))
            self._pending.clear()
        return keep


def without(text: str, keep: NDArray[np.bool_]) -> str:
    """`text` with only the paragraphs to keep, each with the break after it."""
    parts = _split(text)
    if keep.all():
        return text
    breaks = [*parts[1::2], ""]
    kept = [p + b for p, b, is_kept in zip(parts[0::2], breaks, keep, strict=True) if is_kept]
    return "".join(kept)
