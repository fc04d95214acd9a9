"""Scores that stand beside preferences."""

from __future__ import annotations

import pytest
from support.prompts import as_records, read

from nextword.errors import UserError
from nextword.tasks.prefer.scores import TIED

ROW = {"prompt": "A cow says", "chosen": "moo", "rejected": "baa"}


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [("score_chosen", "score_rejected"), ("chosen-rating", "rejected-rating")],
)
def test_a_rejected_answer_with_the_better_score_contradicts_itself(
    chosen: str, rejected: str
) -> None:
    rows = [ROW | {chosen: 8.5, rejected: "3"}, ROW | {chosen: 2, rejected: 7.0}]
    with pytest.raises(UserError, match=f"contradicts itself: {chosen} is 2 and {rejected} is 7"):
        read("prefer", as_records(*rows))
    dataset = read("prefer", as_records(rows[0], ROW | {chosen: 4, rejected: 4}, ROW))
    assert len(dataset) == 3 and dataset.report.notes[TIED] == 1
    assert set(dataset.columns.extras) == {chosen, rejected}


def test_likelihoods_are_no_scores_and_are_named_as_unused() -> None:
    row = ROW | {"logps_chosen": -9.0, "logps_rejected": -2.0}
    assert set(read("prefer", as_records(row)).report.unused) == {"logps_chosen", "logps_rejected"}
