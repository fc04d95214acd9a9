"""Finds the examples that the training data holds too, word for word or nearly.

A model that has seen an example before may know it by heart: what is measured on it says little
about new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nextword.text.duplicates import minhash_signature, text_digest
from nextword.text.near_duplicates import DuplicateFinder

SIMILAR = 0.8  # of the windows of letters that one of two texts holds, both do
MOST_SKETCHED = 200_000  # examples; of more only those that are the same are found


@dataclass(frozen=True)
class Duplicate:
    """The training example that is most like another one; `alike` is 1 where only capitals and
    spacing differ, else an estimate of the Jaccard similarity of their windows of letters."""

    place: str
    text: str
    alike: float

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def normalize(text: str) -> str:
    """Remove what makes no difference: capitals and spacing."""
    return " ".join(text.lower().split())


def find_duplicates(
    train: Sequence[str], places: Sequence[str], texts: Sequence[str]
) -> list[Duplicate | None]:
    """Return for each of the texts the training text that is most like it, None for none.

    `places` [train] say where the training texts came from.
    """
    known = [normalize(text) for text in train]
    asked = [normalize(text) for text in texts]
    first = {text_digest(text): number for number, text in reversed(list(enumerate(known)))}
    duplicates: list[Duplicate | None] = [None] * len(asked)
    for number, text in enumerate(asked):
        if (same := first.get(text_digest(text))) is not None:
            duplicates[number] = Duplicate(places[same], train[same], 1.0)
    if len(known) + len(asked) > MOST_SKETCHED:
        return duplicates
    near = DuplicateFinder(SIMILAR)
    signatures = np.stack([minhash_signature(text) for text in (*known, *asked)])
    for text, signature in zip((*known, *asked), signatures, strict=True):
        near.add(text_digest(text), signature)
    clusters = near.clusters()
    near.close()
    train_clusters = clusters[: len(known)]
    for number, signature in enumerate(signatures[len(known) :]):
        members = np.flatnonzero(train_clusters == clusters[len(known) + number])
        if duplicates[number] is not None or not len(members) or not signature.any():
            continue
        alike = (signatures[members] == signature).mean(1)
        best = int(members[alike.argmax()])
        if alike.max() >= SIMILAR:  # some of a cluster are alike only through others
            duplicates[number] = Duplicate(places[best], train[best], min(float(alike.max()), 0.99))
    return duplicates


def count_duplicates(duplicates: Sequence[Duplicate | None]) -> tuple[int, int]:
    """Return how many are the same, and how many nearly."""
    exact = sum(duplicate is not None and duplicate.alike == 1 for duplicate in duplicates)
    return exact, sum(duplicate is not None for duplicate in duplicates) - exact


def describe_counts(exact: int, near: int) -> str:
    """Return "3 and 1 nearly the same"; "" for none."""
    parts = [f"{exact:,}"] if exact else []
    parts += [f"{near:,} nearly the same"] if near else []
    return " and ".join(parts)
