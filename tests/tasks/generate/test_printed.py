"""Columns that hold what Python printed of lists."""

from __future__ import annotations

import pytest
from support.prompts import as_records, read

from nextword.errors import UserError
from nextword.tasks.generate.printed import PRINTED

LIST = "['a cat', 'a dog']"


@pytest.mark.parametrize(
    ("task", "row"),
    [
        ("chat", {"instruction": "Name two.", "output": LIST}),
        ("chat", {"instruction": LIST, "output": "Two."}),
        ("prefer", {"prompt": "Name two.", "chosen": LIST, "rejected": "['no' 'none']"}),
        ("prefer", {"prompt": "Name two.", "chosen": "A cat.", "rejected": LIST}),
    ],
)
def test_a_column_of_printed_lists_is_refused_and_a_few_are_counted(
    task: str, row: dict[str, str]
) -> None:
    (column,) = [name for name, text in row.items() if text == LIST]
    with pytest.raises(UserError, match=f"column '{column}' holds a list as text"):
        read(task, as_records(row, row))
    dataset = read(task, as_records(row, {name: f"Some {name}." for name in row}))
    assert dataset.report.notes[PRINTED.format(column)] == 1


@pytest.mark.parametrize(
    "answer", ['["a cat", "a dog"]', "[1, 2]", "[Applause] Thank you [laughs]"]
)
def test_json_numbers_and_prose_may_be_what_an_answer_says(answer: str) -> None:
    dataset = read("chat", as_records({"instruction": "Say it.", "output": answer}))
    assert dataset.examples[0][-1].content == answer and not dataset.report.notes
