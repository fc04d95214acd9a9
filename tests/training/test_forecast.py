from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nextword.tokens.store import Split, Store
from nextword.training.forecast import expected_bits_per_byte, unigram_entropy


def split_of(tokens: list[int], bytes_of_text: int) -> Split:
    starts = np.array([0, len(tokens)])
    sizes = np.array([bytes_of_text], dtype=np.int32)
    return Split("train", np.array(tokens), starts, 0, 8, sizes=sizes)


def test_the_unigram_entropy_is_that_of_the_frequencies() -> None:
    assert unigram_entropy(split_of([1, 2, 3, 4] * 25, 100)) == pytest.approx(2.0)
    uneven = split_of([1] * 90 + [2] * 10, 100)
    assert unigram_entropy(uneven) == pytest.approx(-0.9 * math.log2(0.9) - 0.1 * math.log2(0.1))


def test_before_anything_is_learned_only_frequencies_are_known() -> None:
    assert expected_bits_per_byte(split_of([1, 2, 3, 4] * 25, 400), 0.0) == pytest.approx(0.5)


def test_more_text_seen_and_more_new_text_make_it_better(store: Path) -> None:
    train = Store.open(store).train
    found = [expected_bits_per_byte(train, 10.0**power) or 0.0 for power in range(3, 9)]
    assert found == sorted(found, reverse=True) and found[0] > 1.2 * found[-1] > 0
    half = replace(train, tokens=train.tokens[: len(train) // 2])
    seen = 10.0 * len(train)
    assert train.sizes is not None and half.sizes is not None
    assert (expected_bits_per_byte(half, seen) or 0.0) / len(half) * len(train) > found[0] * 0.3
    assert expected_bits_per_byte(replace(train, sizes=None), seen) is None
