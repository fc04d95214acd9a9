from __future__ import annotations

import numpy as np
import pytest

from nextword.tokens.permutation import key, permute


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 16, 17, 100, 1000, 4097, 65_536, 100_003])
def test_every_place_is_visited_once(size: int) -> None:
    for seed in (0, 1, 2**63):
        assert sorted(permute(np.arange(size), size, seed).tolist()) == list(range(size))


def test_one_place_is_found_alone_and_far_out() -> None:
    size = 10**12 + 39
    places = np.array([0, 1, size // 2, size - 1])
    together = permute(places, size, 5)
    assert [int(permute(int(place), size, 5)) for place in places] == together.tolist()
    assert ((together >= 0) & (together < size)).all()


def test_another_seed_is_another_order_and_orders_look_random() -> None:
    size = 10_000
    first, second = permute(np.arange(size), size, 1), permute(np.arange(size), size, 2)
    assert (first == second).mean() < 0.01
    assert abs(np.corrcoef(first, np.arange(size))[0, 1]) < 0.05
    assert (np.diff(first) == 1).mean() < 0.01


def test_keys_are_the_same_on_every_machine() -> None:
    assert key(1337, 0, "order") == key(1337, 0, "order") != key(1337, 1, "order")
    assert key("a") == 3405396810240292928


def test_a_place_outside_is_an_error() -> None:
    with pytest.raises(IndexError):
        permute(5, 5, 0)
