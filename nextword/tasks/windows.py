"""Texts longer than a model sees at once, in parts that overlap (Devlin et al. 2018, 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

OVERLAP = 3  # of a window this part is in the one before too


def windows(lengths: Sequence[int], room: int) -> list[tuple[int, int]]:
    """From which piece to before which each window goes, the pieces having these lengths: together
    at most `room`, of which a third is shared with the window before. One window for no pieces."""
    ends = np.cumsum(lengths)
    found = [(0, int(np.searchsorted(ends, room, "right")))]
    while found[-1][1] < len(ends):
        last = found[-1]
        shared = ends[last[1] - 1] - room // OVERLAP  # tokens before the next window
        first = max(int(np.searchsorted(ends, shared, "left")) + 1, last[0] + 1)
        first = min(first, last[1])
        before = ends[first - 1]
        found.append((first, int(np.searchsorted(ends, before + room, "right"))))
    return found


def best_window(spans: Sequence[tuple[int, int]], count: int, causal: bool) -> NDArray[np.int64]:
    """For each of `count` pieces the window that shows most of what is around it, [pieces]; to a
    decoder, of what is before it."""
    best = np.zeros(count, np.int64)
    most = np.full(count, -1)
    for number, (first, end) in enumerate(spans):
        at = np.arange(first, end)
        around = at - first if causal else np.minimum(at - first, end - 1 - at)
        better = around > most[first:end]
        best[first:end][better] = number
        most[first:end][better] = around[better]
    return best
