"""Which columns hold questions, documents and sources, and what is to be written for each."""

from __future__ import annotations

from typing import Any

import pytest
from support.prompts import as_records, read

from nextword.errors import UserError
from nextword.tasks.generate.data import answer_start


def test_a_flat_column_says_where_an_answer_begins() -> None:
    values = {"context": "The bridge was built by Ada.", "answer": "Ada"}
    for start in (24, "24"):
        (row,) = as_records(values | {"answer_start": start})
        assert answer_start(row, ["answer"]) == 24


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("summarize", {"text": "Long.", "summary": " "}, "rows.jsonl:2: column 'summary' is empty"),
        ("translate", {"en": "a", "de": None}, "rows.jsonl:2: column 'de' is empty"),
        ("translate", {"en": "", "de": "b"}, "rows.jsonl:2: column 'en' is empty"),
        ("translate", {"en": "a", "de": {"x": 1}}, "rows.jsonl:2: column 'de' is empty"),
        ("translate", {"en": ["a"], "de": "b"}, "rows.jsonl:2: column 'en' is not text"),
    ],
)
def test_what_is_empty_or_not_text_is_refused_with_its_place(
    task: str, row: dict[str, Any], message: str
) -> None:
    good = dict.fromkeys(row, "some text here")
    with pytest.raises(UserError) as raised:
        read(task, as_records(good, row))
    assert message in str(raised.value)


def test_several_references_are_kept() -> None:
    row = {"dialogue": "#A#: Hi.", "summary1": "A greets.", "summary2": "A says hi.", "topic1": "x"}
    (example,) = read("summarize", as_records(row)).examples
    assert example.references == ("A greets.", "A says hi.")
    named = read("summarize", as_records(row), target_column="summary")
    assert named.examples[0].references == example.references
    answers = {"context": "x", "question": "y", "answers": ["1889", "in 1889", "1889"]}
    (example,) = read("qa", as_records(answers)).examples
    assert example.references == ("1889", "in 1889")


def test_an_answer_that_is_blank_is_refused_and_one_that_there_is_not_is_not() -> None:
    for answers in ([], {"text": [], "answer_start": []}):
        row = {"context": "It rained.", "question": "Who won?", "answers": answers}
        assert read("qa", as_records(row)).examples[0].references == ()
    blank = {"context": "It rained.", "question": "Who won?", "answer": ""}
    with pytest.raises(UserError, match=r"rows.jsonl:1: column 'answer' is empty; .*answers \[\]"):
        read("qa", as_records(blank))


def test_two_unnamed_languages_need_no_names_but_three_columns_do() -> None:
    nested = as_records({"id": 3, "translation": {"en": "a cat", "de": "eine Katze"}})
    assert read("translate", nested).columns.targets == ["translation.de"]
    back = read("translate", as_records({"en": "a", "de": "b"}), target_column="en")
    assert back.columns.inputs == {"source": "de"}
    with pytest.raises(UserError, match=r"no column is clearly the source .*--text-column"):
        read("translate", as_records({"en": "a", "de": "b", "fr": "c"}))
