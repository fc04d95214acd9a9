from __future__ import annotations

import itertools

from nextword.tasks.tag.data import windows


def test_windows_overlap_by_a_third_and_hold_everything() -> None:
    found = windows([1] * 100, 30)
    assert found[0] == (0, 30) and found[-1][1] == 100
    assert all(one[1] - other[0] == 10 for one, other in itertools.pairwise(found))
    assert windows([1] * 30, 30) == [(0, 30)] and windows([], 30) == [(0, 0)]
