"""What is held out: whole documents, passages of long ones, or the last part of the text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LARGEST_SHARE = 0.1  # of all text; a document beyond this is cut rather than held out whole
_MATTERS = 0.01  # share of all text
_CHOICES = 16
_PASSAGE = 10_000  # characters held out in one place
_MOST_PASSAGES = 10  # held out of one document
_SLACK = 0.2  # of a passage, in which its ends look for a break between paragraphs
_BREAKS = [re.compile(r"\n[ \t]*\n\s*"), re.compile(r"\n"), re.compile(r"[.!?。！？]\s?|\s")]

Spans = list[tuple[int, int]]


@dataclass(slots=True)
class Plan:
    """Which characters of each document are held out.

    `whole` [documents] is 1 where all of it is held out, 0 where none is, and -1 where `cuts` has
    passages of it.
    """

    whole: NDArray[np.int8]
    cuts: dict[int, Spans]
    exact: bool  # cut at these very characters, not at the nearest break

    def pieces(self, index: int, text: str) -> tuple[list[str], list[str]]:
        """(training pieces, held-out pieces) of a document: in order, none empty, nothing lost."""
        if self.whole[index] >= 0:
            held = [text] if text else []
            return ([], held) if self.whole[index] else (held, [])
        train, val, done = [], [], 0
        for start, stop in self.cuts[index]:
            if not self.exact:
                slack = int(_SLACK * (stop - start))
                start, stop = _near(text, start, slack), _near(text, stop, slack)
            start, stop = max(start, done), max(stop, done)
            train.append(text[done:start])
            val.append(text[start:stop])
            done = stop
        train.append(text[done:])
        return [piece for piece in train if piece], [piece for piece in val if piece]


def plan(
    characters: ArrayLike,
    clusters: ArrayLike,
    fraction: float,
    seed: int,
    how: Literal["document", "position"] = "document",
) -> Plan:
    """Hold out `fraction` of the characters; a pure function of the arguments.

    `characters` and `clusters` [documents]: lengths, and the number of the near-duplicate cluster
    each belongs to. "position": the first int(n * (1 - fraction)) characters are trained on.
    "document": clusters are held out whole, at random; those too large for that have passages
    held out of them instead, the same passages of each member.
    """
    lengths = np.asarray(characters, np.int64)
    if fraction <= 0 or lengths.sum() == 0:
        return Plan(np.zeros(len(lengths), np.int8), {}, exact=True)
    if how == "position":
        return _by_position(lengths, fraction)
    _, members = np.unique(np.asarray(clusters), return_inverse=True)
    sizes = np.bincount(members, weights=lengths).astype(np.int64)
    large = sizes > min(fraction, _LARGEST_SHARE) * lengths.sum()
    target = fraction * sizes[~large].sum()
    held = _choose(np.where(large, 0, sizes), target, seed)
    if sizes[held].sum() < target / 2 and target > _MATTERS * lengths.sum():
        large[:] = True  # too few to choose among
    whole = np.where(large[members], -1, held[members]).astype(np.int8)
    cuts = {
        int(index): _passages(int(lengths[index]), fraction, (seed, int(members[index])))
        for index in np.flatnonzero(whole < 0)
    }
    return Plan(whole, cuts, exact=False)


def _by_position(lengths: NDArray[np.int64], fraction: float) -> Plan:
    boundary = int(int(lengths.sum()) * (1 - fraction))
    ends = np.cumsum(lengths)
    starts = ends - lengths
    whole = (starts >= boundary).astype(np.int8)
    straddling = np.flatnonzero((starts < boundary) & (ends > boundary))
    whole[straddling] = -1
    cuts = {int(i): [(boundary - int(starts[i]), int(lengths[i]))] for i in straddling}
    return Plan(whole, cuts, exact=True)


def _choose(sizes: NDArray[np.int64], target: float, seed: int) -> NDArray[np.bool_]:
    """A random choice of clusters whose sizes add up to nearly `target`, never more.

    Where they are so few that a choice falls short by a tenth, the best of several.
    """
    random = np.random.default_rng(seed)
    best = np.zeros(len(sizes), np.bool_)
    for _ in range(_CHOICES):
        order = random.permutation(len(sizes))
        order = order[sizes[order] > 0]
        filled = int(np.searchsorted(np.cumsum(sizes[order]), target, side="right"))
        held = np.zeros(len(sizes), np.bool_)
        held[order[:filled]] = True
        room = target - int(sizes[held].sum())
        for cluster in order[filled : filled + 10_000]:  # smaller ones further on fill the rest
            if sizes[cluster] <= room:
                held[cluster] = True
                room -= int(sizes[cluster])
        if sizes[held].sum() > sizes[best].sum():
            best = held
        if room <= 0.1 * target:
            break
    return best


def _passages(length: int, fraction: float, seed: Sequence[int]) -> Spans:
    """Equal passages, one at a random place in each of the equal stretches of a document."""
    count = min(max(round(length * fraction / _PASSAGE), 1), _MOST_PASSAGES)
    starts = np.random.default_rng(seed).random(count)
    stretch = length / count
    size = stretch * fraction
    spans = []
    for number, place in enumerate(starts):
        start = number * stretch + place * (stretch - size)
        spans.append((round(start), round(start + size)))
    return spans


def _near(text: str, place: int, slack: int) -> int:
    """The break between paragraphs, else lines, else words, that is closest to `place`."""
    if place <= 0 or place >= len(text):
        return min(max(place, 0), len(text))
    low, high = max(place - slack, 0), min(place + slack, len(text))
    window = text[low:high]
    for pattern in _BREAKS:
        ends = [low + match.end() for match in pattern.finditer(window)]
        if ends:
            return min(ends, key=lambda end: abs(end - place))
    return place
