"""What is held out for validation, and how much of it also stands in the training text.

Whole documents are held out, passages of long ones, or the last part of the text. The overlap is
measured on long windows of letters (about ten words), as contamination of test sets is (Brown et
al. 2020, appendix C); every fourth window is looked at, the same ones in every text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nextword.text.duplicates import is_cjk, letters_and_digits, window_hashes

_LARGEST_SHARE = 0.1  # of all text; a document beyond this is cut rather than held out whole
_NEGLIGIBLE_SHARE = 0.01  # of all text
_ATTEMPTS = 16
_PASSAGE = 10_000  # characters held out in one place
_MOST_PASSAGES = 10  # held out of one document
_SLACK = 0.2  # of a passage, in which its ends look for a break between paragraphs
_BREAKS = [re.compile(r"\n[ \t]*\n\s*"), re.compile(r"\n"), re.compile(r"[.!?。！？]\s?|\s")]

_WIDTH, _CJK_WIDTH = 48, 12  # letters in a window of the overlap
_SAMPLED_HASHES = 2**30  # of 2^32
_FILTER_BITS = 23
_SEEN_SHARE = 0.5  # of its windows: then a held-out piece counts as seen in training

Spans = list[tuple[int, int]]


@dataclass(slots=True)
class SplitPlan:
    """Which characters of each document are held out.

    `whole` [documents] is 1 where all of it is held out, 0 where none is, and -1 where `cuts` has
    passages of it.
    """

    whole: NDArray[np.int8]
    cuts: dict[int, Spans]
    exact: bool  # cut at these very characters, not at the nearest break

    def pieces(self, index: int, text: str) -> tuple[list[str], list[str]]:
        """Return (training pieces, held-out pieces) of a document, in order.

        No piece is empty, and together they are the text.
        """
        if self.whole[index] >= 0:
            pieces = [text] if text else []
            return ([], pieces) if self.whole[index] else (pieces, [])
        train, val, done = [], [], 0
        for start, stop in self.cuts[index]:
            if not self.exact:
                slack = int(_SLACK * (stop - start))
                start, stop = _nearest_break(text, start, slack), _nearest_break(text, stop, slack)
            start, stop = max(start, done), max(stop, done)
            train.append(text[done:start])
            val.append(text[start:stop])
            done = stop
        train.append(text[done:])
        return [piece for piece in train if piece], [piece for piece in val if piece]

    def part(self, start: int, stop: int) -> SplitPlan:
        """Return the plan of documents `start` to `stop`, numbered from 0."""
        cuts = {index - start: spans for index, spans in self.cuts.items() if start <= index < stop}
        return SplitPlan(self.whole[start:stop], cuts, self.exact)


def plan_split(
    characters: ArrayLike,
    clusters: ArrayLike,
    fraction: float,
    seed: int,
    how: Literal["document", "position"] = "document",
) -> SplitPlan:
    """Hold out `fraction` of the characters, as a pure function of the arguments.

    `characters` and `clusters` [documents]: lengths, and the number of the near-duplicate cluster
    each belongs to. "position": the first int(n * (1 - fraction)) characters are trained on.
    "document": clusters are held out whole, at random; those too large for that have passages
    held out of them instead, the same passages of each member.
    """
    lengths = np.asarray(characters, np.int64)
    if fraction <= 0 or lengths.sum() == 0:
        return SplitPlan(np.zeros(len(lengths), np.int8), {}, exact=True)
    if how == "position":
        return _by_position(lengths, fraction)
    members = _numbered(np.asarray(clusters))
    sizes = np.bincount(members, weights=lengths).astype(np.int64)
    large = sizes > min(fraction, _LARGEST_SHARE) * lengths.sum()
    target = fraction * sizes[~large].sum()
    sizes[large] = 0
    held_out = _choose_clusters(sizes, target, seed)
    if sizes[held_out].sum() < target / 2 and target > _NEGLIGIBLE_SHARE * lengths.sum():
        large[:] = True  # too few to choose from
    whole = held_out[members].astype(np.int8)
    whole[large[members]] = -1
    cuts = {
        int(index): _passages(int(lengths[index]), fraction, (seed, int(members[index])))
        for index in np.flatnonzero(whole < 0)
    }
    return SplitPlan(whole, cuts, exact=False)


def _numbered(clusters: NDArray[Any]) -> NDArray[np.int64]:
    """Number clusters from 0 on, in the order of their names, [documents].

    np.unique does so too; where names are numbers of documents this takes half of the memory.
    """
    if len(clusters) == 0 or clusters.min() < 0 or clusters.max() > 4 * len(clusters):
        members: NDArray[np.int64] = np.unique(clusters, return_inverse=True)[1]
        return members
    is_there = np.zeros(int(clusters.max()) + 1, np.bool_)
    is_there[clusters] = True
    numbers = np.cumsum(is_there, dtype=np.int64)
    numbers -= 1
    return numbers[clusters]


def _by_position(lengths: NDArray[np.int64], fraction: float) -> SplitPlan:
    boundary = int(int(lengths.sum()) * (1 - fraction))
    ends = np.cumsum(lengths)
    starts = ends - lengths
    whole = (starts >= boundary).astype(np.int8)
    straddling = np.flatnonzero((starts < boundary) & (ends > boundary))
    whole[straddling] = -1
    cuts = {int(i): [(boundary - int(starts[i]), int(lengths[i]))] for i in straddling}
    return SplitPlan(whole, cuts, exact=True)


def _choose_clusters(sizes: NDArray[np.int64], target: float, seed: int) -> NDArray[np.bool_]:
    """Choose clusters at random whose sizes add up to nearly `target`, never more, [clusters].

    Where they are so few that a choice falls short by a tenth, the best of several is taken.
    """
    random = np.random.default_rng(seed)
    best = np.zeros(len(sizes), np.bool_)
    for _ in range(_ATTEMPTS):
        order = random.permutation(len(sizes))
        order = order[sizes[order] > 0]
        ends = sizes[order]
        np.cumsum(ends, out=ends)
        filled = int(np.searchsorted(ends, target, side="right"))
        del ends
        chosen = np.zeros(len(sizes), np.bool_)
        chosen[order[:filled]] = True
        room = target - int(sizes[chosen].sum())
        for cluster in order[filled : filled + 10_000]:  # smaller ones further on fill the rest
            if sizes[cluster] <= room:
                chosen[cluster] = True
                room -= int(sizes[cluster])
        if sizes[chosen].sum() > sizes[best].sum():
            best = chosen
        if room <= 0.1 * target:
            break
    return best


def _passages(length: int, fraction: float, seed: Sequence[int]) -> Spans:
    """Place equal passages, one at random in each of the equal stretches of a document."""
    count = min(max(round(length * fraction / _PASSAGE), 1), _MOST_PASSAGES)
    places = np.random.default_rng(seed).random(count)
    stretch = length / count
    size = stretch * fraction
    starts = [number * stretch + place * (stretch - size) for number, place in enumerate(places)]
    return [(round(start), round(start + size)) for start in starts]


def _nearest_break(text: str, place: int, slack: int) -> int:
    """Return the break between paragraphs, else lines, else words, that is closest to `place`."""
    if place <= 0 or place >= len(text):
        return min(max(place, 0), len(text))
    low, high = max(place - slack, 0), min(place + slack, len(text))
    window = text[low:high]
    for pattern in _BREAKS:
        ends = [low + match.end() for match in pattern.finditer(window)]
        if ends:
            return min(ends, key=lambda end: abs(end - place))
    return place


def overlap_windows(text: str) -> NDArray[np.uint32]:
    """Return hashes of the sampled windows of a text, [windows]."""
    units = letters_and_digits(text)
    hashes = window_hashes(units, _CJK_WIDTH if is_cjk(units) else _WIDTH)
    return hashes[hashes < np.uint32(_SAMPLED_HASHES)]


class WindowIndex:
    """Finds which windows are among some `known` ones, sorted and different, [known]."""

    def __init__(self, known: NDArray[np.uint32]) -> None:
        self.known = known
        self._filter = np.zeros(2**_FILTER_BITS, np.bool_)  # by low bits: spares most searches
        self._filter[known & np.uint32(len(self._filter) - 1)] = True

    def places(self, windows: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Return where in `known` those of the windows are that are there, each once, in order."""
        if not len(self.known):
            return np.empty(0, np.int64)
        likely = windows[self._filter[windows & np.uint32(len(self._filter) - 1)]]
        places = np.minimum(np.searchsorted(self.known, likely), len(self.known) - 1)
        return np.unique(places[self.known[places] == likely])


class Overlap:
    """How much held-out text the training text has too, in bounded memory.

    Every held-out piece has to be added before the first training piece. Of more than
    `max_windows` held-out windows, only those with smaller hashes are remembered.
    """

    def __init__(self, max_windows: int = 2**20) -> None:
        self.max_windows = max_windows
        self.window_count = 0
        self._pieces: list[NDArray[np.uint32]] = []  # windows of each held-out piece
        self._limit = _SAMPLED_HASHES
        self._index: WindowIndex | None = None  # of all of them, once training begins

    def add_val(self, windows: NDArray[np.uint32]) -> None:
        """Take the windows of a held-out piece."""
        assert self._index is None, "held-out pieces come before training pieces"
        windows = np.unique(windows)
        self._pieces.append(windows[windows < self._limit])
        self.window_count += len(self._pieces[-1])
        while self.window_count > self.max_windows:
            self._limit //= 2
            self._pieces = [piece[piece < self._limit].copy() for piece in self._pieces]
            self.window_count = sum(map(len, self._pieces))

    def add_train(self, windows: NDArray[np.uint32]) -> None:
        """Take windows of the training text."""
        self.add_places(self.index().places(windows))

    def add_places(self, places: NDArray[np.int64]) -> None:
        """Take what the index finds of windows of the training text."""
        self.index()
        self._seen[places] = True

    def index(self) -> WindowIndex:
        """Return the index of the held-out windows; none can be added any more."""
        if self._index is None:
            known = np.unique(np.concatenate([np.empty(0, np.uint32), *self._pieces]))
            self._index = WindowIndex(known)
            self._seen = np.zeros(len(known), np.bool_)
        return self._index

    def _seen_counts(self) -> list[tuple[int, int]]:
        """Return (windows seen, windows) of each piece."""
        known = self.index().known
        return [
            (int(self._seen[np.searchsorted(known, piece)].sum()), len(piece))
            for piece in self._pieces
        ]

    @property
    def share(self) -> float:
        """The share of the held-out windows that the training text has too."""
        counts = self._seen_counts()
        return sum(seen for seen, _ in counts) / max(sum(count for _, count in counts), 1)

    @property
    def documents_seen(self) -> int:
        """Held-out pieces with over half of their windows in the training text."""
        return sum(seen > _SEEN_SHARE * count for seen, count in self._seen_counts())
