"""Entities in tagged words, and how many of them are found: precision, recall and F1.

The rules are those of the CoNLL-2000 script, as seqeval has them: an entity is right where its
kind, its first and its last word are. In "strict" an entity must begin with B-, as IOB2 says.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from nextword.evaluation.classification import ClassReport, class_reports
from nextword.evaluation.metrics import Ints, Metric

OUTSIDE = "O"
BEGINS, ENDS = "BSU", "ESL"  # prefixes of words that begin, that end an entity

Entity = tuple[str, int, int]  # kind, first word, the word after the last


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of tags in IOB1, IOB2, BIOES, BILOU or BMES.

    One begins at B, S or U, after E or L, where the kind changes and after O, whatever its prefix:
    what a model predicts need not be well-formed.
    """
    entities: list[Entity] = []
    first, before = 0, OUTSIDE
    for number, tag in enumerate((*tags, OUTSIDE)):
        same = tag[2:] == before[2:] and tag != OUTSIDE and before != OUTSIDE
        if same and tag[0] not in BEGINS and before[0] not in ENDS + "U":
            before = tag
            continue
        if before != OUTSIDE:
            entities.append((before[2:], first, number))
        first, before = number, tag
    return entities


def strict_entities_of(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of tags in IOB2, only those that begin with B-."""
    return [entity for entity in entities_of(tags) if tags[entity[1]].startswith("B-")]


def iob2(entities: Iterable[Entity], words: int) -> list[str]:
    """Return the tags of so many words in IOB2."""
    tags = [OUTSIDE] * words
    for kind, first, end in entities:
        tags[first:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - first - 1)]
    return tags


def kinds_of(tags: Iterable[str]) -> list[str]:
    """Return the kinds of entity that tags name, in order."""
    return sorted({tag[2:] for tag in tags if tag != OUTSIDE})


def count_entities(
    targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]], strict: bool
) -> Ints:
    """Count the entities of each text that are right, predicted and in the targets, [texts, 3]."""
    read = strict_entities_of if strict else entities_of
    rows = []
    for target, prediction in zip(targets, predictions, strict=True):
        there, predicted = set(read(target)), set(read(prediction))
        rows.append((len(there & predicted), len(predicted), len(there)))
    return np.array(rows, np.int64).reshape(-1, 3)


def entity_metrics(
    targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> dict[str, Metric]:
    """Return precision, recall and F1 over all entities, F1 of the strict ones, and the share of
    words that have the right tag, of texts whose tags are given."""
    loose = count_entities(targets, predictions, strict=False)
    strict = count_entities(targets, predictions, strict=True)
    words = np.array(
        [
            (sum(a == b for a, b in zip(target, tags, strict=True)), len(target))
            for target, tags in zip(targets, predictions, strict=True)
        ]
    )

    def hits_per(rows: Ints, columns: Sequence[int]) -> Metric:
        def compute(chosen: Ints) -> float:
            sums = rows[chosen].sum(0)
            return divide(sums[0], sum(sums[column] for column in columns) / len(columns))

        return Metric(len(rows), compute)

    return {
        "precision": hits_per(loose, [1]),
        "recall": hits_per(loose, [2]),
        "F1": hits_per(loose, [1, 2]),
        "strict F1": hits_per(strict, [1, 2]),
        "accuracy": hits_per(words, [1]),
    }


def entity_reports(
    targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> list[ClassReport]:
    """Return precision, recall and F1 of each kind of entity that there is or was predicted."""
    reports = []
    for kind in kinds_of(itertools.chain(*targets, *predictions)):
        own = [[_only(kind, tags) for tags in texts] for texts in (targets, predictions)]
        hits, predicted, there = count_entities(own[0], own[1], strict=False).sum(0).tolist()
        figures = (
            divide(hits, predicted),
            divide(hits, there),
            divide(hits, (predicted + there) / 2),
        )
        reports.append(ClassReport(kind, *figures, there, {}))
    return reports


def word_metrics(
    targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> dict[str, Metric]:
    """Return the share of words that have the right tag, and the mean F1 of the tags that occur, of
    texts whose words are tagged one by one, as with parts of speech."""
    counts = _count_tags(targets, predictions)

    def accuracy(chosen: Ints) -> float:
        hits, _, there = counts[chosen].sum((0, 2)).tolist()
        return divide(hits, there)

    def macro_f1(chosen: Ints) -> float:
        hits, predicted, there = counts[chosen].sum(0)
        occurs = predicted + there > 0
        return float((2 * hits[occurs] / (predicted + there)[occurs]).mean())

    return {"accuracy": Metric(len(counts), accuracy), "macro F1": Metric(len(counts), macro_f1)}


def word_reports(
    targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> list[ClassReport]:
    """Return precision, recall and F1 of each tag that there is or was predicted."""
    names = sorted({*itertools.chain(*targets, *predictions)})
    number_of = {name: number for number, name in enumerate(names)}
    there, predicted = (
        np.array([number_of[tag] for tags in texts for tag in tags], np.int64)
        for texts in (targets, predictions)
    )
    return class_reports(names, there, predicted)


def _count_tags(targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> Ints:
    """Count the words of each text and tag that are right, predicted and in the targets,
    [texts, 3, tags]."""
    names = sorted({*itertools.chain(*targets, *predictions)})
    number_of = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(targets), 3, len(names)), np.int64)
    for text, (target, prediction) in enumerate(zip(targets, predictions, strict=True)):
        for right, guess in zip(target, prediction, strict=True):
            counts[text, 0, number_of[right]] += right == guess
            counts[text, 1, number_of[guess]] += 1
            counts[text, 2, number_of[right]] += 1
    return counts


def _only(kind: str, tags: Sequence[str]) -> list[str]:
    return [tag if tag[2:] == kind else OUTSIDE for tag in tags]


def divide(part: float, whole: float) -> float:
    """Divide, with 0 for a part of nothing."""
    return float(part / whole) if whole else 0.0
