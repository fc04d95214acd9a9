from __future__ import annotations

import random
import warnings

import pytest
from seqeval import metrics as seqeval
from seqeval.scheme import IOB2

from nextword.evaluation.entities import entities_of, entity_metrics, entity_reports, iob2


@pytest.mark.parametrize("strict", [False, True])
def test_precision_recall_and_f1_are_seqevals(strict: bool) -> None:
    chance = random.Random(3)
    pool = ["O", "B-a", "I-a", "B-b", "I-b"] + ([] if strict else ["E-a", "S-a", "S-b", "E-b"])
    for _ in range(60):
        targets = [chance.choices(pool, k=chance.randint(1, 9)) for _ in range(5)]
        predictions = [chance.choices(pool, k=len(tags)) for tags in targets]
        values = {
            name: metric.value for name, metric in entity_metrics(targets, predictions).items()
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if strict:
                expected = {
                    "strict F1": seqeval.f1_score(targets, predictions, mode="strict", scheme=IOB2)
                }
            else:
                report = seqeval.classification_report(targets, predictions, output_dict=True)
                for row in entity_reports(targets, predictions):
                    theirs = report[row.name]
                    assert (row.precision, row.recall) == pytest.approx(
                        (theirs["precision"], theirs["recall"])
                    )
                    assert (row.f1, row.examples) == pytest.approx(
                        (theirs["f1-score"], theirs["support"])
                    )
                expected = {
                    "precision": seqeval.precision_score(targets, predictions),
                    "recall": seqeval.recall_score(targets, predictions),
                    "F1": seqeval.f1_score(targets, predictions),
                    "accuracy": seqeval.accuracy_score(targets, predictions),
                }
        assert {name: values[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    "tags",
    [
        "I-x I-x B-x O I-y",  # IOB1
        "B-x I-x B-x O B-y",  # IOB2
        "B-x E-x S-x O S-y",  # BIOES
        "B-x L-x U-x O U-y",  # BILOU
        "B-x E-x S-x O S-y",  # BMES
    ],
)
def test_every_scheme_is_read_and_iob2_kept(tags: str) -> None:
    found = entities_of(tags.split())
    assert found == [("x", 0, 2), ("x", 2, 3), ("y", 4, 5)]
    assert iob2(found, 5) == ["B-x", "I-x", "B-x", "O", "B-y"]
