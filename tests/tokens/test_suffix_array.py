from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nextword.tokens.suffix_array import (
    SuffixArray,
    bounds_of_firsts,
    maximal_matches,
    sort_suffixes,
)

LENGTH = 16  # of a query
KINDS = [("<u2", 3), ("<u2", 60_000), ("<i4", 3), ("<i4", 200_000)]


def array_of(tokens: NDArray[Any], vocab_size: int) -> SuffixArray:
    return SuffixArray(tokens, sort_suffixes(tokens), bounds_of_firsts(tokens, vocab_size))


def drawn(seed: int, count: int, dtype: str, vocab_size: int) -> NDArray[Any]:
    """Ids that repeat themselves, so that long matches exist."""
    random = np.random.default_rng(seed)
    phrase = random.integers(0, vocab_size, 40)
    parts = [phrase[random.integers(0, 20) : random.integers(20, 40)] for _ in range(count // 20)]
    return np.concatenate([*parts, random.integers(0, vocab_size, 50)]).astype(dtype)


def stands(tokens: list[int], query: list[int]) -> list[int]:
    """Every place of a query, by comparing it everywhere."""
    return [at for at in range(len(tokens)) if tokens[at : at + len(query)] == query]


@pytest.mark.parametrize(("dtype", "vocab_size"), KINDS)
def test_suffixes_are_sorted_as_python_sorts_them(dtype: str, vocab_size: int) -> None:
    tokens = drawn(1, 300, dtype, vocab_size)
    listed = tokens.tolist()
    expected = sorted(range(len(listed)), key=lambda at: listed[at:])
    assert sort_suffixes(tokens).tolist() == expected


@pytest.mark.parametrize(("dtype", "vocab_size"), KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_matches_and_occurrences_are_those_found_by_comparing_everywhere(
    dtype: str, vocab_size: int, seed: int
) -> None:
    tokens = drawn(seed, 400, dtype, vocab_size)
    array, listed = array_of(tokens, vocab_size), tokens.tolist()
    random = np.random.default_rng(seed)
    for _ in range(12):
        at = int(random.integers(0, len(tokens) - LENGTH))
        query = tokens[at : at + LENGTH].tolist()
        query[int(random.integers(0, LENGTH))] = int(random.integers(0, vocab_size))
        longest = next(n for n in range(LENGTH, -1, -1) if n == 0 or stands(listed, query[:n]))
        assert array.longest_match(query) == longest
        if longest:
            found = array.occurrences(query[:longest]).tolist()
            assert sorted(found) == stands(listed, query[:longest])
        every = [
            (a, b)
            for a in range(LENGTH)
            for b in range(a + 1, LENGTH + 1)
            if stands(listed, query[a:b])
        ]
        maximal = [
            (a, b)
            for a, b in every
            if not any(c <= a and b <= d and (c, d) != (a, b) for c, d in every)
        ]
        assert maximal_matches([array], query) == maximal


def test_matches_are_the_longest_of_several_arrays() -> None:
    one, other = (array_of(np.array(ids, "<u2"), 10) for ids in ([1, 2, 3, 4], [3, 4, 5, 6]))
    assert maximal_matches([one, other], [1, 2, 3, 4, 5, 6, 9, 2]) == [(0, 4), (2, 6), (7, 8)]


def test_an_id_that_the_vocabulary_lacks_stands_nowhere() -> None:
    array = array_of(np.array([1, 2, 3], "<u2"), 4)
    assert array.longest_match([99]) == array.longest_match([0]) == 0
    assert maximal_matches([array], [99, 2, 3]) == [(1, 3)]
    assert maximal_matches([], [1, 2]) == []


def test_a_long_match_is_compared_to_its_end() -> None:
    tokens = np.tile(np.arange(5, dtype="<u2"), 400)
    tokens[1200] = 4
    array = array_of(tokens, 5)
    assert array.longest_match(tokens[:1200].tolist()) == 1200
    assert array.longest_match([*tokens[1000:1201].tolist(), 4]) == 201
