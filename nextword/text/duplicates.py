"""Repeated text: what tells duplicates of a text, and paragraphs that many documents have.

Near duplicates are found by MinHash (Broder 1997) with banded locality-sensitive hashing
(`near_duplicates`), over hashes of every window of a text. Windows run over letters and digits
alone, in lower case, so that line breaks, spacing, punctuation and capitals make no difference.
Writing without spaces says more in a character, hence its windows are shorter. A signature has 256
bytes, however long the text is: it is made of the windows with the smallest hashes, which similar
documents choose alike (a bottom-k sketch, Cohen and Kaplan 2007).
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS = 128  # the similarity is known to ±0.035 at 0.8

_CJK_SHARE = 0.3  # of Chinese, Japanese or Korean characters: then windows are short
_FACTOR = np.uint32(0x9E3779B1)  # odd, 2^32 over the golden ratio
_SEED = 1
_BOTTOM = 2048  # windows of a document at most
_WIDTH, _CJK_WIDTH = 12, 3  # letters in a window
_PARAGRAPH_BREAK = re.compile(r"(\n[ \t]*\n\s*)")
_SHORTEST = 16  # letters and digits; shorter paragraphs, such as headings, may repeat
_PENDING = 100_000  # hashes held aside before they are merged into the sorted ones


@functools.cache
def _folding() -> NDArray[np.uint16]:
    """Return UTF-16 unit → its lower-case form, 0 if neither letter nor digit, [65536]."""
    table = np.zeros(65536, np.uint16)
    for unit in range(65536):
        character = chr(unit)
        if character.isalnum() or 0xD800 <= unit < 0xE000:  # halves of rarer characters count too
            lower = character.lower()
            table[unit] = ord(lower) if len(lower) == 1 else unit
    return table


def letters_and_digits(text: str) -> NDArray[np.uint16]:
    """Return the letters and digits of `text` as lower-case UTF-16 units, [units]."""
    if text.isascii():
        units = _folding()[:128].take(np.frombuffer(text.encode("ascii"), np.uint8))
    else:
        encoded = text.encode("utf-16-le", "surrogatepass")
        units = _folding().take(np.frombuffer(encoded, np.uint16))
    return units[units != 0]


def is_cjk(units: NDArray[np.uint16]) -> bool:
    """Return whether text is written as Chinese, Japanese and Korean are, without spaces."""
    return bool(np.count_nonzero(units >= 0x2E80) >= _CJK_SHARE * max(len(units), 1))


def window_hashes(units: NDArray[np.uint16], width: int) -> NDArray[np.uint32]:
    """Hash each window of `width` units, [units - width + 1]; a shorter text is one window.

    A polynomial hash built by doubling: that of 2n units is made of two of n.
    """
    width = min(width, len(units))
    if width == 0:
        return np.empty(0, np.uint32)
    power, factor = units.astype(np.uint32) + np.uint32(1), _FACTOR  # windows of `size` units
    size, total, total_size = 1, None, 0
    count = len(units) - width + 1
    while True:
        if width & size:
            part = power[total_size : total_size + count]
            total = part.copy() if total is None else total * factor + part
            total_size += size
        if size * 2 > width:
            break
        power = power[:-size] * factor + power[size:]
        size, factor = size * 2, np.uint32(int(factor) ** 2 & 0xFFFFFFFF)
    assert total is not None
    return _mix(total)


def _mix(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Spread the bits in place (the finalizer of MurmurHash3)."""
    hashes ^= hashes >> np.uint32(16)
    hashes *= np.uint32(0x85EBCA6B)
    hashes ^= hashes >> np.uint32(13)
    hashes *= np.uint32(0xC2B2AE35)
    hashes ^= hashes >> np.uint32(16)
    return hashes


def text_digest(text: str) -> bytes:
    """Return 16 bytes that only identical texts share."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def minhash_signature(text: str) -> NDArray[np.uint16]:
    """Return a MinHash signature, [128]: the share of equal numbers in two of them estimates the
    Jaccard similarity of their texts. It is all zeros for a text without letters or digits."""
    import rensa

    units = letters_and_digits(text)
    if len(units) == 0:
        return np.zeros(PERMUTATIONS, np.uint16)
    hashes = _bottom(window_hashes(units, _CJK_WIDTH if is_cjk(units) else _WIDTH))
    offsets = np.array([0, len(hashes)], np.uint64)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
        hashes.astype(np.uint64), offsets, PERMUTATIONS, _SEED
    )
    return np.array(matrix.to_rows()[0], np.uint32).astype(np.uint16)  # the low 16 bits do


def _bottom(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the smallest distinct hashes."""
    if len(hashes) > 4 * _BOTTOM:  # sort only those that are likely among them
        likely = hashes[hashes < np.uint32(min(2**32 - 1, 2 * _BOTTOM * 2**32 // len(hashes)))]
        smallest = np.unique(likely)
        if len(smallest) >= _BOTTOM:
            return smallest[:_BOTTOM]
    return np.unique(hashes)[:_BOTTOM]


def _split_paragraphs(text: str) -> list[str]:
    """Return paragraphs at even indices, the breaks between them at odd ones.

    Paragraphs lie between empty lines, or are lines where there is no empty line.
    """
    parts = _PARAGRAPH_BREAK.split(text)
    return parts if len(parts) > 1 else re.split(r"(\n)", text)


def passages(text: str, characters: int) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of runs of whole paragraphs, each ended once it is this long."""
    line, first_line, passage = 1, 1, ""
    for part in _split_paragraphs(text):
        if passage or not part.isspace():
            first_line = first_line if passage else line
            passage += part
        line += part.count("\n")
        if len(passage) >= characters:
            yield first_line, passage
            passage = ""
    if passage.strip():
        yield first_line, passage


def _paragraph_hash(paragraph: str) -> int:
    """Return 64 bits, blind to case and spacing; 0 for one too short to be called repeated."""
    words = paragraph.lower().split()
    if sum(map(len, words)) < _SHORTEST:
        return 0
    joined = " ".join(words).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest()) or 1


class SeenParagraphs:
    """Remembers every paragraph of the texts it is shown, in eight bytes each."""

    def __init__(self) -> None:
        self._sorted = np.empty(0, np.uint64)
        self._pending: set[int] = set()

    def drop_repeated(self, text: str) -> tuple[str, int]:
        """Return `text` without the paragraphs seen before, and how many these were.

        A paragraph keeps the break after it. Very short ones, such as headings, always stay.
        """
        parts = _split_paragraphs(text)
        hashes = np.array([_paragraph_hash(part) for part in parts[0::2]], np.uint64)
        is_new = self._remember(hashes)
        if is_new.all():
            return text, 0
        pairs = zip(parts[0::2], [*parts[1::2], ""], is_new, strict=True)
        return "".join(part + end for part, end, new in pairs if new), int((~is_new).sum())

    def _remember(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which are new, [paragraphs], the first of several alike included."""
        is_new = np.ones(len(hashes), np.bool_)
        old = np.zeros(len(hashes), np.bool_)
        if len(self._sorted):
            places = np.searchsorted(self._sorted, hashes)
            old = self._sorted[np.minimum(places, len(self._sorted) - 1)] == hashes
        for index, value in enumerate(hashes.tolist()):
            if value == 0:
                continue
            is_new[index] = not old[index] and value not in self._pending
            if is_new[index]:
                self._pending.add(value)
        if len(self._pending) >= _PENDING:
            pending = np.fromiter(self._pending, np.uint64, len(self._pending))
            self._sorted = np.sort(np.concatenate([self._sorted, pending]))
            self._pending.clear()
        return is_new
