from __future__ import annotations

import threading

import pytest

from nextword.training.background import Prefetcher


def test_items_come_in_the_order_they_are_taken_each_made_once() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number * number

    with Prefetcher(make) as items:
        assert [items.take(number) for number in range(3, 9)] == [n * n for n in range(3, 9)]
    assert made == sorted(set(made)) and made[0] == 3


def test_the_next_items_are_made_while_one_is_in_use() -> None:
    coming = {number: threading.Event() for number in range(10)}

    def make(number: int) -> int:
        coming[number].set()
        return number

    with Prefetcher(make, ahead=2) as items:
        items.take(0)
        assert coming[1].wait(10) and coming[2].wait(10)
        assert not coming[3].is_set()
        items.take(1)
        assert coming[3].wait(10)


def test_an_error_is_raised_where_its_item_is_taken() -> None:
    def make(number: int) -> int:
        if number == 2:
            raise ValueError("no such row")
        return number

    with Prefetcher(make) as items:
        assert [items.take(0), items.take(1)] == [0, 1]
        with pytest.raises(ValueError, match="no such row"):
            items.take(2)
