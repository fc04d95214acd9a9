"""Which labelled examples are held out to validate on, and whether they were seen in training."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.evaluation.entities import kinds_of
from nextword.settings import FinetuneSettings, TaskSettings
from nextword.tasks.classify.data import find_columns, labelled_texts, labels_of, name_of, names_of
from nextword.tasks.columns import find_task_columns
from nextword.tasks.records import Record
from nextword.tasks.tag.data import find_tag_columns, tagged_texts
from nextword.text.duplicates import digest


def hold_out(
    found: Sequence[Record], settings: FinetuneSettings
) -> tuple[list[Record], list[Record]]:
    """(examples to learn from, examples held out): a share at random, those with the same input
    (of questions, about the same text) always together, and of each label some to learn from.
    Raises UserError where there are too few.
    """
    if not settings.val_fraction:
        return list(found), []
    groups = groups_of(found, settings)
    sizes = np.bincount(groups)
    order = np.random.default_rng(settings.splits_by).permutation(len(sizes))
    target = max(settings.val_fraction * len(found), 1)
    held = np.zeros(len(sizes), np.bool_)
    room = target
    for group in order:
        if sizes[group] <= room:
            held[group], room = True, room - sizes[group]
    if not held.any():  # every group is larger than the share
        held[order[np.argmin(sizes[order])]] = sizes.min() <= len(found) / 2
    _leave_labels(found, groups, held, settings)
    apart = held[groups]
    if not apart.any() or apart.all():
        raise UserError(
            f"{len(found):,} examples with {len(sizes):,} different inputs are too few to hold "
            "some out",
            mend="give more, or others to validate on with --val, or --val-fraction 0",
        )
    train = [record for record, out in zip(found, apart, strict=True) if not out]
    return train, [record for record, out in zip(found, apart, strict=True) if out]


def _leave_labels(
    found: Sequence[Record],
    groups: NDArray[np.int64],
    held: NDArray[np.bool_],
    settings: FinetuneSettings,
) -> None:
    """Put groups back whose labels would otherwise be held out only, and so never be learnt."""
    if settings.task == "tag":
        tagged = tagged_texts(found, find_tag_columns(found, settings, labelled=True))
        names = [kinds_of(text.tags) for text in tagged]
    elif settings.task == "classify":
        texts = labelled_texts(found, find_columns(found, settings, labelled=True))
        kind = labels_of(texts, settings.labels).kind
        if kind == "amount":
            return
        names = [names_of(t.label) if kind == "several" else [name_of(t.label)] for t in texts]
    else:
        return
    left = Counter(n for own, g in zip(names, groups, strict=True) if not held[g] for n in own)
    for own, group in zip(names, groups, strict=True):
        if held[group] and any(not left[name] for name in own):
            held[group] = False
            for other, its in zip(names, groups, strict=True):
                left.update(other if its == group else ())


def groups_of(found: Sequence[Record], settings: TaskSettings) -> NDArray[np.int64]:
    """A number for each example, [examples], the same for those with the same input: of questions,
    for those about the same text."""
    digests = [digest(normal(text)) for text in inputs_of(found, settings)]
    _, groups = np.unique(digests, return_inverse=True)
    return groups.astype(np.int64)


def fingerprint(found: Sequence[Record]) -> str:
    """A digest of the examples' values, to tell whether data is still the same."""
    total = hashlib.sha256()
    for record in found:
        values = json.dumps(dict(record.values), default=str, ensure_ascii=False)
        total.update(values.encode("utf-8", "surrogatepass") + b"\0")
    return total.hexdigest()


def normal(text: str) -> str:
    """Without what makes no difference: capitals and spacing."""
    return " ".join(text.lower().split())


def inputs_of(found: Sequence[Record], settings: TaskSettings, *, whole: bool = False) -> list[str]:
    """What the model is given of each record; of a question only its text, unless `whole`."""
    if not found:
        return []
    if settings.task == "classify":
        columns = find_columns(found, settings, labelled=False)
        named = [columns.text] if columns.pair is None else [columns.text, columns.pair]
    elif settings.task == "tag":
        texts = tagged_texts(found, find_tag_columns(found, settings, labelled=False))
        return [text.text for text in texts]
    elif settings.task in ("chat", "text"):
        return [str(dict(record.values)) for record in found]
    else:
        roles = find_task_columns(found, settings, answered=False).inputs
        apart = "context" in roles and not whole
        named = [roles["context"]] if apart else list(roles.values())
    if not named:
        return [str(dict(record.values)) for record in found]
    return ["\n".join(str(record[name]) for name in named) for record in found]
