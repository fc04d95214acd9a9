from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.text.split import plan_split

BOOK = "\n\n".join(f"Paragraph {n} of the book. " + "It goes on. " * (n % 17) for n in range(3000))


def alone(count: int) -> np.ndarray:
    return np.arange(count)


def test_a_cluster_is_held_out_whole() -> None:
    chance = np.random.default_rng(0)
    clusters = chance.integers(0, 300, 2000)
    sizes = chance.integers(10, 1000, 2000)
    whole = plan_split(sizes, clusters, 0.1, seed=1).whole
    for cluster in range(300):
        assert len(set(whole[clusters == cluster].tolist())) <= 1
    assert sizes[whole == 1].sum() / sizes.sum() == pytest.approx(0.1, abs=0.005)


def test_the_split_is_a_pure_function_of_its_seed() -> None:
    sizes = np.random.default_rng(0).integers(10, 1000, 500)
    same = [plan_split(sizes, alone(500), 0.1, seed=5).whole for _ in range(2)]
    assert np.array_equal(*same)
    assert not np.array_equal(same[0], plan_split(sizes, alone(500), 0.1, seed=6).whole)


def test_a_single_book_is_split_by_passages_at_paragraphs() -> None:
    train, val = plan_split([len(BOOK)], [0], 0.1, seed=1).pieces(0, BOOK)
    assert sum(map(len, val)) / len(BOOK) == pytest.approx(0.1, abs=0.01)
    assert all(piece.startswith("Paragraph") for piece in val)
    assert all(piece in BOOK for piece in train + val) and 2 <= len(val) <= 10
    assert sum(map(len, train + val)) == len(BOOK)


def test_by_position_the_last_part_is_held_out_exactly() -> None:
    train, val = plan_split([len(BOOK)], [0], 0.1, 1, "position").pieces(0, BOOK)
    assert train == [BOOK[: int(len(BOOK) * 0.9)]] and val == [BOOK[int(len(BOOK) * 0.9) :]]
    texts = ["a" * 50, "b" * 30, "c" * 20]
    split = plan_split([50, 30, 20], alone(3), 0.25, 1, "position")
    pieces = [split.pieces(index, text) for index, text in enumerate(texts)]
    assert pieces == [([texts[0]], []), (["b" * 25], ["b" * 5]), ([], [texts[2]])]


def test_the_customary_split_of_shakespeare(shared_data: Path) -> None:
    text = (shared_data / "tinyshakespeare.txt").read_text()
    train, val = plan_split([len(text)], [0], 0.1, 1337, "position").pieces(0, text)
    assert (len(train[0]), len(val[0])) == (1003854, 111540)


def test_copies_of_a_book_have_the_same_passages_held_out() -> None:
    split = plan_split([len(BOOK)] * 3, [0, 0, 0], 0.1, seed=1)
    assert split.pieces(0, BOOK) == split.pieces(1, BOOK) == split.pieces(2, BOOK)


def test_a_large_book_among_poems_gives_passages_and_they_whole_poems() -> None:
    sizes = [len(BOOK)] + [100] * 400
    split = plan_split(sizes, alone(401), 0.1, seed=1)
    assert split.whole[0] == -1 and (split.whole[1:] == 1).sum() == 40


def test_nothing_held_out_when_nothing_is_asked() -> None:
    split = plan_split([10, 20], [0, 1], 0.0, seed=1)
    assert split.pieces(1, "x" * 20) == (["x" * 20], [])
    assert len(plan_split([], [], 0.1, seed=1).whole) == 0


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.text("ab \n。", max_size=300), min_size=1, max_size=20),
    st.floats(0, 0.9),
    st.integers(0, 2**62),
    st.sampled_from(["document", "position"]),
)
def test_every_character_is_in_exactly_one_piece(
    texts: list[str], fraction: float, seed: int, how: str
) -> None:
    clusters = [index // 2 for index in range(len(texts))]
    split = plan_split([len(text) for text in texts], clusters, fraction, seed, how)  # type: ignore[arg-type]
    for index, text in enumerate(texts):
        train, val = split.pieces(index, text)
        assert "" not in train + val
        assert sorted("".join(train + val)) == sorted(text)
        if fraction == 0:
            assert not val


@pytest.mark.parametrize("count", [1, 2, 5, 10, 11, 30, 300])
def test_something_is_always_held_out(count: int) -> None:
    for seed in range(20):
        sizes = np.random.default_rng(seed).integers(100, 100_000, count)
        split = plan_split(sizes, alone(count), 0.1, seed)
        texts = ["x" * int(size) for size in sizes]
        held = sum(len(v) for i, t in enumerate(texts) for v in split.pieces(i, t)[1])
        assert 0.05 <= held / sizes.sum() <= 0.11
