"""How much of the held-out text also stands in the training text.

Measured on long windows of letters (about ten words), as contamination of test sets is (Brown et
al., 2020, appendix C); every fourth window is looked at, the same ones in every text.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nextword.text.shingles import is_dense, letters, window_hashes

_WIDTH, _DENSE_WIDTH = 48, 12  # letters in a window; Chinese and the like
_SAMPLED = 2**30  # of 2^32 hashes
_MOST = 2**20  # windows of held-out text remembered; with more, only those of smaller hashes
_SEEN_SHARE = 0.5  # of its windows: then a held-out piece counts as seen in training


def windows(text: str) -> NDArray[np.uint32]:
    """Hashes of the sampled windows of a text."""
    units = letters(text)
    hashes = window_hashes(units, _DENSE_WIDTH if is_dense(units) else _WIDTH)
    return hashes[hashes < np.uint32(_SAMPLED)]


class Overlap:
    """Show it every piece held out, then every piece trained on; memory is bounded."""

    def __init__(self) -> None:
        self._pieces: list[NDArray[np.uint32]] = []  # windows of each held-out piece
        self._count = 0
        self._limit = _SAMPLED
        self._known: NDArray[np.uint32] | None = None  # all of them, sorted, once training begins

    def add_val(self, windows: NDArray[np.uint32]) -> None:
        assert self._known is None, "held-out pieces come before those trained on"
        kept = np.unique(windows)
        self._pieces.append(kept[kept < self._limit])
        self._count += len(self._pieces[-1])
        while self._count > _MOST:
            self._limit //= 2
            self._pieces = [piece[piece < self._limit].copy() for piece in self._pieces]
            self._count = sum(map(len, self._pieces))

    def add_train(self, windows: NDArray[np.uint32]) -> None:
        if self._known is None:
            self._prepare()
        assert self._known is not None
        likely = windows[self._filter[windows & np.uint32(len(self._filter) - 1)]]
        if len(likely) and len(self._known):
            places = np.minimum(np.searchsorted(self._known, likely), len(self._known) - 1)
            self._seen[places[self._known[places] == likely]] = True

    def _prepare(self) -> None:
        self._known = np.unique(np.concatenate([np.empty(0, np.uint32), *self._pieces]))
        self._seen = np.zeros(len(self._known), np.bool_)
        self._filter = np.zeros(2**23, np.bool_)  # by the low bits: spares most searches
        self._filter[self._known & np.uint32(len(self._filter) - 1)] = True

    def _seen_shares(self) -> list[tuple[int, int]]:
        """(windows seen, windows) of each piece."""
        if self._known is None:
            self._prepare()
        assert self._known is not None
        return [
            (int(self._seen[np.searchsorted(self._known, piece)].sum()), len(piece))
            for piece in self._pieces
        ]

    @property
    def share(self) -> float:
        """Of the held-out windows, how many the training text has too."""
        shares = self._seen_shares()
        return sum(seen for seen, _ in shares) / max(sum(count for _, count in shares), 1)

    @property
    def documents_seen(self) -> int:
        """Held-out pieces with over half of their windows in the training text."""
        return sum(seen > _SEEN_SHARE * count for seen, count in self._seen_shares())
