from __future__ import annotations

import numpy as np
import pytest

from nextword.text.shingles import is_dense, letters, window_hashes


def direct(units: np.ndarray, width: int) -> list[int]:
    """The polynomial hash of each window and the finaliser of MurmurHash3, in plain Python."""
    hashes = []
    for start in range(len(units) - width + 1):
        value = 0
        for unit in units[start : start + width].tolist():
            value = (value * 0x9E3779B1 + unit + 1) % 2**32
        value ^= value >> 16
        value = value * 0x85EBCA6B % 2**32
        value ^= value >> 13
        value = value * 0xC2B2AE35 % 2**32
        hashes.append(value ^ value >> 16)
    return hashes


@pytest.mark.parametrize("width", [1, 2, 3, 5, 12, 13, 48, 100])
def test_every_window_is_hashed(width: int) -> None:
    units = letters("It was a bright cold day in April, 秦川雄帝宅, and the clocks struck 13. 😀")
    assert window_hashes(units, width).tolist() == direct(units, min(width, len(units)))


def test_case_spacing_and_punctuation_make_no_difference() -> None:
    assert letters("It's  a\nTEST. É").tolist() == letters("its a test é").tolist()
    assert letters("Plain ASCII").tolist() == letters("plain,ascii—").tolist()
    assert len(letters("... —\n")) == 0 and len(window_hashes(letters(""), 5)) == 0


def test_writing_without_spaces_is_told() -> None:
    assert is_dense(letters("秦川雄帝宅，函谷壯皇居。 OK"))
    assert not is_dense(letters("mostly English, with 中文 in it"))
