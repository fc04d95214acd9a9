"""Entities in tagged words, and how many of them are found: precision, recall and F1.

The rules are those of the CoNLL-2000 script, as seqeval has them: an entity is right where its
kind, its first and its last word are. In "strict" an entity must begin with B-, as IOB2 says.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from nextword.evaluation.bootstrap import Resampler
from nextword.evaluation.classification import ClassFigures, Ints, Metric, resampled

OUTSIDE = "O"
BEGINS, ENDS = "BSU", "ESL"  # prefixes of words that begin, that end an entity

Entity = tuple[str, int, int]  # kind, first word, the word after the last


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """Of tags in IOB1, IOB2, BIOES, BILOU or BMES. One begins at B, S or U, after E or L, where the
    kind changes and after O, whatever its prefix: what a model says need not be well-formed."""
    found: list[Entity] = []
    first, before = 0, OUTSIDE
    for number, tag in enumerate((*tags, OUTSIDE)):
        same = tag[2:] == before[2:] and tag != OUTSIDE and before != OUTSIDE
        if same and tag[0] not in BEGINS and before[0] not in ENDS + "U":
            before = tag
            continue
        if before != OUTSIDE:
            found.append((before[2:], first, number))
        first, before = number, tag
    return found


def strict_entities_of(tags: Sequence[str]) -> list[Entity]:
    """Of tags in IOB2, only those that begin with B-."""
    return [entity for entity in entities_of(tags) if tags[entity[1]].startswith("B-")]


def iob2(entities: Iterable[Entity], words: int) -> list[str]:
    tags = [OUTSIDE] * words
    for kind, first, end in entities:
        tags[first:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - first - 1)]
    return tags


def kinds_of(tags: Iterable[str]) -> list[str]:
    return sorted({tag[2:] for tag in tags if tag != OUTSIDE})


def counts(truth: Sequence[Sequence[str]], said: Sequence[Sequence[str]], strict: bool) -> Ints:
    """Entities that are right, that were said and that there are, of each text, [texts, 3]."""
    read = strict_entities_of if strict else entities_of
    rows = []
    for wanted, found in zip(truth, said, strict=True):
        one, other = set(read(wanted)), set(read(found))
        rows.append((len(one & other), len(other), len(one)))
    return np.array(rows, np.int64).reshape(-1, 3)


def judge_tags(
    truth: Sequence[Sequence[str]], said: Sequence[Sequence[str]], draws: Resampler | None
) -> dict[str, Metric]:
    """Precision, recall and F1 over all entities, F1 of the strict ones, and how many words have
    the right tag. Intervals are over texts drawn anew."""
    loose, strict = counts(truth, said, False), counts(truth, said, True)
    words = np.array([[_right(*pair), len(pair[0])] for pair in zip(truth, said, strict=True)])

    def part(rows: Ints, over: Sequence[int]) -> Metric:
        def figure(chosen: Ints) -> float:
            sums = rows[chosen].sum(0)
            return float(share(sums[0], sum(sums[column] for column in over) / len(over)))

        return resampled(len(rows), draws, figure)

    return {
        "precision": part(loose, [1]),
        "recall": part(loose, [2]),
        "F1": part(loose, [1, 2]),
        "strict F1": part(strict, [1, 2]),
        "accuracy": part(words, [1]),
    }


def kind_figures(
    truth: Sequence[Sequence[str]], said: Sequence[Sequence[str]]
) -> list[ClassFigures]:
    """Precision, recall and F1 of each kind of entity that there is or was said."""
    rows = []
    for kind in kinds_of(itertools.chain(*truth, *said)):
        own = [[_only(kind, tags) for tags in texts] for texts in (truth, said)]
        hits, guessed, there = counts(own[0], own[1], False).sum(0).tolist()
        figures = share(hits, guessed), share(hits, there), share(hits, (guessed + there) / 2)
        rows.append(ClassFigures(kind, *figures, there, {}))
    return rows


def _only(kind: str, tags: Sequence[str]) -> list[str]:
    return [tag if tag[2:] == kind else OUTSIDE for tag in tags]


def _right(truth: Sequence[str], said: Sequence[str]) -> int:
    return sum(one == other for one, other in zip(truth, said, strict=True))


def share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
