"""Words and tags that a table or an annotation program writes in its own way."""

from __future__ import annotations

from typing import Any

import pytest

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.dataset import Dataset
from nextword.tasks.records import Record
from nextword.tasks.tag.task import Tag


def read(*rows: dict[str, Any]) -> Dataset[Any]:
    records = [Record(row, f"row {number}") for number, row in enumerate(rows, start=1)]
    return Tag.read(records, TaskSettings(task="tag"))


@pytest.mark.parametrize(
    "row",
    [
        {"text": "Ada Thorne ran", "labels": "B-PER I-PER O"},
        {"text": "Ada Thorne ran", "tags": ["B-PER", "I-PER", "O"]},
        {
            "Sentence": "Ada Thorne ran",
            "POS": "['NN', 'NN', 'VB']",
            "Tag": "['B-PER', 'I-PER', 'O']",
        },
    ],
)
def test_spaces_may_separate_words_and_their_tags(row: dict[str, Any]) -> None:
    assert Tag.present(read(row, row), 0) == "⟦Ada Thorne|PER⟧ ran"


def test_fewer_tags_than_words_between_spaces_are_refused() -> None:
    with pytest.raises(UserError, match="row 1: column 'tags' holds 2 tags for 3 words"):
        read({"text": "Ada Thorne ran", "tags": ["B-PER", "O"]})


@pytest.mark.parametrize("names", [("Word", "Tag"), ("words", "labels")])
def test_a_table_with_a_word_in_each_row_is_refused(names: tuple[str, str]) -> None:
    rows = [dict(zip(names, pair, strict=True)) for pair in (("Ada", "B-PER"), ("ran", "O"))]
    with pytest.raises(UserError, match="a word in each row"):
        read(*rows)


def test_what_an_annotator_rejected_or_skipped_is_left_out_and_counted() -> None:
    spans = [{"start": 0, "end": 3, "label": "PER"}]
    answers = ["accept", "reject", "ignore", "accept"]
    found = read(*({"text": "Ada ran", "spans": spans, "answer": answer} for answer in answers))
    assert [record.place for record in found.records] == ["row 1", "row 4"]
    assert [str(error.where) for error in found.report.left_out.values()] == ["row 2", "row 3"]
    assert not found.report.unused
