"""Which columns hold questions, documents and sources, and what is to be written for each."""

from __future__ import annotations

from typing import Any

import pytest
from support.prompts import as_records, read

from nextword.errors import UserError


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("summarize", {"text": "Long.", "summary": " "}, "rows.jsonl:2: column 'summary' is empty"),
        ("translate", {"en": "a", "de": None}, "rows.jsonl:2: column 'de' is empty"),
        ("translate", {"en": "", "de": "b"}, "rows.jsonl:2: column 'en' is empty"),
        ("translate", {"en": "a", "de": {"x": 1}}, "rows.jsonl:2: column 'de' is empty"),
        ("translate", {"en": ["a"], "de": "b"}, "rows.jsonl:2: column 'en' is not text"),
        ("translate", {"en": "['a']", "de": "b"}, "rows.jsonl:2: column 'en' holds a list as text"),
        ("translate", {"en": "a", "de": float("nan")}, "rows.jsonl:2: column 'de' is empty"),
        ("summarize", {"text": float("nan"), "summary": "a"}, "rows.jsonl:2: column 'text' is emp"),
        (
            "qa",
            {"context": "{'a': ['b']}", "question": "c", "answer": "d"},
            "2: column 'context' h",
        ),
        ("summarize", {"text": "a", "summary": "[]"}, "rows.jsonl:2: column 'summary' is empty"),
        ("summarize", {"text": "a", "summary": "['a', 3]"}, "rows.jsonl:2: holds a list as text"),
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


@pytest.mark.parametrize(
    ("summary", "references"),
    [
        ("['It fell.', 'It broke.']", ("It fell. It broke.",)),
        ('["它掉了。", "它坏了。"]', ("它掉了。它坏了。",)),
        ("[Applause] Thank you.", ("[Applause] Thank you.",)),
        ("It fell.\nIt broke.", ("It fell.\nIt broke.",)),
        (["It fell.", "It broke."], ("It fell.", "It broke.")),
        ({"text": "It fell.", "by": "Bo"}, ("It fell.",)),
    ],
)
def test_sentences_that_are_held_as_text_are_one_summary(
    summary: Any, references: tuple[str, ...]
) -> None:
    dataset = read("summarize", as_records({"document": "['A.', 'B.']", "summary": summary}))
    assert dataset.examples[0].references == references
    assert dataset.inputs == ["A. B."]
    assert ("summary.by" in dataset.report.unused) == isinstance(summary, dict)
    assert dataset.report.notes, "that a list was joined is said"


def test_the_first_usual_column_that_holds_something_is_chosen() -> None:
    row = {"text": None, "content": "Long.", "summary": "", "abstract": "Short."}
    dataset = read("summarize", as_records(row))
    assert (dataset.inputs, dataset.examples[0].references) == (["Long."], ("Short.",))
    (text,) = read("text", as_records({"text": "", "content": ["One.", "Two."]})).examples
    assert text == "One.\nTwo."


def test_an_answer_that_is_blank_is_refused_and_one_that_there_is_not_is_not() -> None:
    for answers in ([], {"text": [], "answer_start": []}):
        row = {"context": "It rained.", "question": "Who won?", "answers": answers}
        assert read("qa", as_records(row)).examples[0].references == ()
    blank = {"context": "It rained.", "question": "Who won?", "answer": ""}
    with pytest.raises(UserError, match=r"rows.jsonl:1: column 'answer' is empty; .*answers \[\]"):
        read("qa", as_records(blank))


def test_a_prompt_of_ones_own_says_what_is_used() -> None:
    row = {
        "title": "Rain",
        "context": "It rained.",
        "question": "Who won?",
        "answer": "Ada",
        "n": 1,
    }
    records = as_records(row)
    dataset = read("qa", records, prompt="{title}: {question}")
    assert dataset.report.unused == {"context": 1, "n": 1}
    assert read("qa", records).report.unused == {"title": 1, "n": 1}
    assert read("qa", records, prompt="{context} {question}").report.unused == {"title": 1, "n": 1}


def test_two_unnamed_languages_need_no_names_but_three_columns_do() -> None:
    nested = as_records({"id": 3, "translation": {"en": "a cat", "de": "eine Katze"}})
    assert read("translate", nested).columns.targets == ["translation.de"]
    back = read("translate", as_records({"en": "a", "de": "b"}), target_column="en")
    assert back.columns.inputs == {"source": "de"}
    with pytest.raises(UserError, match=r"no column is clearly the source .*--text-column"):
        read("translate", as_records({"en": "a", "de": "b", "fr": "c"}))
