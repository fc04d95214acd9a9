"""Which examples stand in the training data too, word for word or nearly.

A model that has read an example before may know it by heart: what is measured on it says little
about new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nextword.settings import TaskSettings
from nextword.tasks.records import Record
from nextword.tasks.split import inputs_of, normal
from nextword.text.duplicates import Duplicates, digest, sketch

ALIKE = 0.8  # of the windows of letters that one of two texts holds, both do
MOST_SKETCHED = 200_000  # examples; of more only those that are the same are found


@dataclass(frozen=True)
class Duplicate:
    """The training example that is most like one held out; `alike` is 1 where only capitals and
    spacing differ, else an estimate of the Jaccard similarity of their windows of letters."""

    place: str
    text: str
    alike: float

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def find_duplicates(
    train: Sequence[Record],
    other: Sequence[Record],
    settings: TaskSettings,
    read_as: TaskSettings | None = None,
) -> list[Duplicate | None]:
    """For each of the other examples its twin in the training data, None where it has none;
    `read_as` where their columns are others. Of a question its text counts too, so that two about
    one long text are nearly the same."""
    texts = inputs_of(train, settings, whole=True)
    learnt = [normal(text) for text in texts]
    asked = [normal(text) for text in inputs_of(other, read_as or settings, whole=True)]
    first = {digest(text): number for number, text in reversed(list(enumerate(learnt)))}
    found: list[Duplicate | None] = [None] * len(asked)
    for number, text in enumerate(asked):
        if (same := first.get(digest(text))) is not None:
            found[number] = Duplicate(train[same].place, texts[same], 1.0)
    if len(learnt) + len(asked) > MOST_SKETCHED:
        return found
    collected = Duplicates(ALIKE)
    signatures = np.stack([sketch(text) for text in (*learnt, *asked)])
    for text, signature in zip((*learnt, *asked), signatures, strict=True):
        collected.add(digest(text), signature)
    clusters = collected.clusters()
    members = clusters[: len(learnt)]
    for number, signature in enumerate(signatures[len(learnt) :]):
        near = np.flatnonzero(members == clusters[len(learnt) + number])
        if found[number] is not None or not len(near) or not signature.any():
            continue
        alike = (signatures[near] == signature).mean(1)
        best = int(near[alike.argmax()])
        if alike.max() >= ALIKE:  # of the same cluster some are alike only through others
            found[number] = Duplicate(train[best].place, texts[best], min(float(alike.max()), 0.99))
    return found


def count_duplicates(found: Sequence[Duplicate | None]) -> tuple[int, int]:
    """(the same, nearly the same)"""
    exact = sum(twin is not None and twin.alike == 1 for twin in found)
    return exact, sum(twin is not None for twin in found) - exact


def describe_counts(exact: int, near: int) -> str:
    """ "3 and 1 nearly the same"; "" for none."""
    parts = [f"{exact:,}"] if exact else []
    parts += [f"{near:,} nearly the same"] if near else []
    return " and ".join(parts)
