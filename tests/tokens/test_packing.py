"""Which examples share a row."""

from __future__ import annotations

import numpy as np
import pytest

from nextword.tokens.packing import bin_pack


def padded(lengths: list[int], rows: list[list[int]]) -> int:
    """Tokens that a model computes for, those of no example with them."""
    return len(rows) * max(sum(lengths[index] for index in row) for row in rows)


@pytest.mark.parametrize("seed", range(20))
def test_every_example_is_in_one_row_and_no_row_is_too_long(seed: int) -> None:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 150, generator.integers(1, 40)).tolist()
    rows = bin_pack(lengths, 128)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert max(sum(lengths[index] for index in row) for row in rows) <= max(128, *lengths)


def test_the_last_row_is_not_left_half_empty() -> None:
    lengths = [40] * 4  # three and one would take 240 tokens
    assert padded(lengths, bin_pack(lengths, 128)) == sum(lengths)


def test_next_to_nothing_is_padding_with_sentences() -> None:
    generator = np.random.default_rng(0)
    batches = [generator.lognormal(3.0, 0.55, 16).clip(3, 80).astype(int) for _ in range(50)]
    read = sum(padded(batch.tolist(), bin_pack(batch.tolist(), 128)) for batch in batches)
    assert read < 1.03 * sum(int(batch.sum()) for batch in batches)
