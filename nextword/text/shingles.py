"""Hashes of every window of a text: what near duplicates and overlap are measured on.

Windows run over letters and digits alone, in lower case, so that line breaks, spacing, punctuation
and capitals make no difference. Writing without spaces says more in a character, hence its
windows are shorter.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

_DENSE_SHARE = 0.3  # of Chinese, Japanese or Korean characters: then windows are short
_FACTOR = np.uint32(0x9E3779B1)  # odd, 2^32 over the golden ratio


@functools.cache
def _folding() -> NDArray[np.uint16]:
    """[65536] UTF-16 unit → its lower-case form, 0 where it is neither letter nor digit."""
    table = np.zeros(65536, np.uint16)
    for unit in range(65536):
        character = chr(unit)
        if character.isalnum() or 0xD800 <= unit < 0xE000:  # halves of rarer characters count too
            lower = character.lower()
            table[unit] = ord(lower) if len(lower) == 1 else unit
    return table


def letters(text: str) -> NDArray[np.uint16]:
    """The letters and digits of `text` as lower-case UTF-16 units."""
    if text.isascii():
        units = _folding()[:128].take(np.frombuffer(text.encode("ascii"), np.uint8))
    else:
        encoded = text.encode("utf-16-le", "surrogatepass")
        units = _folding().take(np.frombuffer(encoded, np.uint16))
    return units[units != 0]


def is_dense(units: NDArray[np.uint16]) -> bool:
    return bool(np.count_nonzero(units >= 0x2E80) >= _DENSE_SHARE * max(len(units), 1))


def window_hashes(units: NDArray[np.uint16], width: int) -> NDArray[np.uint32]:
    """A hash of each window of `width` units; of the whole if it is shorter than that.

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
    """Spread the bits in place (the finaliser of MurmurHash3)."""
    hashes ^= hashes >> np.uint32(16)
    hashes *= np.uint32(0x85EBCA6B)
    hashes ^= hashes >> np.uint32(13)
    hashes *= np.uint32(0xC2B2AE35)
    hashes ^= hashes >> np.uint32(16)
    return hashes
