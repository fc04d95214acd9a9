"""Which labelled examples are held out to validate on, and whether they were seen in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nextword.errors import UserError
from nextword.settings import FinetuneSettings, TaskSettings
from nextword.tasks.classify import find_columns
from nextword.tasks.records import Record
from nextword.tasks.task_columns import find_task_columns
from nextword.text.duplicates import digest


def hold_out(
    found: Sequence[Record], settings: FinetuneSettings
) -> tuple[list[Record], list[Record]]:
    """(examples to learn from, examples held out): a share at random, those with the same input
    (of questions, about the same text) always together. Raises UserError where there are too few.
    """
    inputs = inputs_of(found, settings)
    _, groups = np.unique([digest(text) for text in inputs], return_inverse=True)
    sizes = np.bincount(groups)
    order = np.random.default_rng(settings.seed).permutation(len(sizes))
    target = settings.val_fraction * len(found)
    held = np.zeros(len(sizes), np.bool_)
    held[order[np.cumsum(sizes[order]) <= max(target, 1)]] = target > 0
    apart = held[groups]
    if (target and not apart.any()) or apart.all():
        raise UserError(
            f"{len(found):,} examples with {len(sizes):,} different inputs are too few to hold "
            "some out",
            mend="give more, or others to validate on with --val, or --val-fraction 0",
        )
    train = [record for record, out in zip(found, apart, strict=True) if not out]
    return train, [record for record, out in zip(found, apart, strict=True) if out]


def seen_in_training(
    train: Sequence[Record], other: Sequence[Record], settings: TaskSettings
) -> int:
    """How many of the other examples have an input that stands in the training data too."""
    known = {digest(normal(text)) for text in inputs_of(train, settings)}
    return sum(digest(normal(text)) in known for text in inputs_of(other, settings))


def normal(text: str) -> str:
    """Without what makes no difference: capitals and spacing."""
    return " ".join(text.lower().split())


def inputs_of(found: Sequence[Record], settings: TaskSettings) -> list[str]:
    """What the model is given of each record."""
    if not found:
        return []
    if settings.task == "classify":
        columns = find_columns(found, settings, labelled=False)
        named = [columns.text] if columns.pair is None else [columns.text, columns.pair]
    elif settings.task in ("chat", "text"):
        return [str(dict(record.values)) for record in found]
    else:
        roles = find_task_columns(found, settings, answered=False).inputs
        named = [roles["context"]] if "context" in roles else list(roles.values())
    if not named:
        return [str(dict(record.values)) for record in found]
    return ["\n".join(str(record[name]) for name in named) for record in found]
