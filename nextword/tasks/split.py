"""Which labelled examples are held out, and which belong together."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.evaluation.bootstrap import Resampler
from nextword.evaluation.contamination import normalize
from nextword.settings import FinetuneSettings
from nextword.tasks.dataset import Dataset
from nextword.tasks.records import Record
from nextword.text.duplicates import text_digest

D = TypeVar("D", bound=Dataset[Any])


def hold_out(
    dataset: D, label_names: Sequence[Sequence[str]], settings: FinetuneSettings
) -> tuple[D, D]:
    """Return (examples to learn from, examples held out).

    A share is held out at random, examples with the same input (of questions, about the same text)
    always together, and some of each label, of `label_names` [examples], are left to learn from.
    Raises UserError where there are too few.
    """
    if not settings.val_fraction:
        return dataset, dataset.select([])
    groups = groups_of(dataset)
    sizes = np.bincount(groups)
    order = np.random.default_rng(settings.splits_by).permutation(len(sizes))
    room = max(settings.val_fraction * len(dataset), 1)
    held = np.zeros(len(sizes), np.bool_)
    for group in order:
        if sizes[group] <= room:
            held[group], room = True, room - sizes[group]
    if not held.any():  # every group is larger than the share
        held[order[np.argmin(sizes[order])]] = sizes.min() <= len(dataset) / 2
    _leave_labels(label_names, groups, held)
    is_held_out = held[groups]
    if not is_held_out.any() or is_held_out.all():
        raise UserError(
            f"{len(dataset):,} examples with {len(sizes):,} different inputs are too few to hold "
            "some out",
            mend="give more, or others to validate on with --val, or --val-fraction 0",
        )
    train, val = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
    return dataset.select(train), dataset.select(val)


def _leave_labels(
    labels: Sequence[Sequence[str]], groups: NDArray[np.int64], held: NDArray[np.bool_]
) -> None:
    """Put back groups whose labels would be held out only, and so never be learned."""
    left = Counter(n for own, g in zip(labels, groups, strict=True) if not held[g] for n in own)
    for own, group in zip(labels, groups, strict=True):
        if held[group] and any(not left[name] for name in own):
            held[group] = False
            for other, its in zip(labels, groups, strict=True):
                left.update(other if its == group else ())


def groups_of(dataset: Dataset[Any]) -> NDArray[np.int64]:
    """Return a number for each example, [examples], the same for those that share their input."""
    digests = [text_digest(normalize(text)) for text in dataset.shared_inputs]
    _, groups = np.unique(digests, return_inverse=True)
    return groups.astype(np.int64)


def fingerprint(records: Sequence[Record]) -> str:
    """Return a digest of the records' values, which tells whether data is still the same."""
    total = hashlib.sha256()
    for record in records:
        values = json.dumps(dict(record.values), default=str, ensure_ascii=False)
        total.update(values.encode("utf-8", "surrogatepass") + b"\0")
    return total.hexdigest()


def resampler_of(dataset: Dataset[Any], seed: int) -> Resampler:
    """Return how examples are drawn for intervals: those with the same input together, and all
    questions about one text."""
    groups = groups_of(dataset)
    repeated = len(np.unique(groups)) < len(groups)
    return Resampler(seed, groups if repeated else None)
