from __future__ import annotations

import random

import pytest

from nextword.text.split import Overlap, overlap_windows


def prose(words: int, seed: int) -> str:
    chance = random.Random(seed)
    return " ".join("".join(chance.choices("abcdefghij", k=5)) for _ in range(words))


def measured(val: list[str], train: list[str], found: Overlap | None = None) -> Overlap:
    found = found or Overlap()
    for text in val:
        found.add_val(overlap_windows(text))
    for text in train:
        found.add_train(overlap_windows(text))
    return found


def test_text_held_out_and_trained_on_is_found() -> None:
    secret, copied, half = prose(500, 1), prose(500, 2), prose(500, 3)
    train = [prose(3000, 4) + copied.upper() + prose(3000, 5), half[: len(half) // 2]]
    found = measured([secret, copied, half], train)
    assert found.documents_seen == 1
    assert found.share == pytest.approx(0.5, abs=0.05)


def test_separate_texts_do_not_overlap() -> None:
    found = measured([prose(2000, 1)], [prose(20_000, 2)])
    assert found.share == 0 and found.documents_seen == 0


def test_nothing_held_out_is_no_overlap() -> None:
    found = measured([], [prose(100, 1)])
    assert found.share == 0 and found.documents_seen == 0 and Overlap().share == 0


def test_memory_is_bounded_and_the_share_stays() -> None:
    val = [prose(400, seed) for seed in range(40)]
    found = measured(val, val[:20], Overlap(max_windows=2000))
    assert found.window_count <= 2000
    assert found.share == pytest.approx(0.5, abs=0.05) and 18 <= found.documents_seen <= 20
