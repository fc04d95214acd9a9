"""Answers to questions, in all the ways that data sets write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.prompts import as_records, read

from nextword.errors import UserError
from nextword.tasks.generate.data import PromptedExample
from nextword.tasks.records import read_records

NAN = float("nan")
CONTEXT = "Ada met Bo. Ada slept."


def answered(**row: Any) -> PromptedExample:
    asked = {"context": CONTEXT, "question": "Who?"} | row
    example: PromptedExample = read("qa", as_records(asked)).examples[0]
    return example


@pytest.mark.parametrize(
    ("row", "references", "start"),
    [
        ({"answers": "['Bo']"}, ("Bo",), None),
        ({"answers": '["Bo", "the one"]'}, ("Bo", "the one"), None),
        ({"answers": "{'text': ['Bo'], 'answer_start': [8]}"}, ("Bo",), 8),
        (
            {"answers": "{'text': array(['Bo'], dtype=object), 'answer_start': array([8])}"},
            ("Bo",),
            8,
        ),
        ({"answers": [{"text": "Bo", "answer_start": 8}]}, ("Bo",), 8),
        ({"answers": {"text": "Bo", "answer_start": 8}}, ("Bo",), 8),
        ({"answers": ["Bo", "Ada"], "answer_start": [8, 0]}, ("Bo", "Ada"), 8),
        ({"answer_text": "Bo", "answer_start": "8"}, ("Bo",), 8),
        ({"answer_text": "Bo", "answer_start": 8.0}, ("Bo",), 8),
        ({"answer": "Bo", "answer_start": -1}, ("Bo",), None),
        ({"answer": "Bo", "answer_start": NAN}, ("Bo",), None),
        ({"answer": 7}, ("7",), None),
        ({"answer": "[7]"}, ("[7]",), None),
        ({"answer": "", "answers": ["Bo"]}, ("Bo",), None),
        ({"answers": "[]"}, (), None),
        ({"answers": "{'text': [], 'answer_start': []}"}, (), None),
        ({"answers": None, "is_impossible": True}, (), None),
        ({"answer_text": NAN, "is_impossible": "True"}, (), None),
        ({"answer_text": "", "is_impossible": "true"}, (), None),
        ({"answer_text": "", "Is_Impossible": 1}, (), None),
        ({"answer": "Bo", "is_impossible": "False"}, ("Bo",), None),
    ],
)
def test_answers_are_read_from_lists_objects_and_their_text(
    row: dict[str, Any], references: tuple[str, ...], start: int | None
) -> None:
    example = answered(**row)
    assert (example.references, example.answer_start) == (references, start)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"answer": NAN}, "column 'answer' is empty"),
        ({"answers": [""]}, "column 'answers' is empty"),
        ({"answer1": "", "answer2": None}, "columns answer1, answer2 are empty"),
        ({"answers": "['Bo'"}, "looks like a list that is not closed"),
        ({"answers": True}, "column 'answers' is not text"),
        ({"answers": [], "is_impossible": False}, "is empty, and is_impossible is false"),
        ({"answer": "Bo", "is_impossible": 1}, "is_impossible is true, and the answer is 'Bo'"),
        ({"answer": "Bo", "is_impossible": "perhaps"}, "is_impossible is 'perhaps'"),
        ({"answer": "Bo", "answer_start": "later"}, "answer_start is 'later'"),
        ({"answers": {"text": ["Bo"], "answer_start": [8, 9]}}, "1 answers and 2 places"),
        (
            {"answer": "Ada", "answer_start": 6},
            "at answer_start 6 stands 't B', .*'Ada' stands at 0, 12",
        ),
        ({"answer": "Bo", "context": "['Ada met Bo.', 'x']"}, "'context' holds a list as text"),
    ],
)
def test_a_record_that_contradicts_itself_or_has_no_answer_stops(
    row: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UserError, match=f"rows.jsonl:1: .*{problem}"):
        answered(**row)


@pytest.mark.parametrize(
    ("context", "answer", "start", "found"),
    [
        (CONTEXT, "Bo", 0, 8),  # it stands nowhere else
        (CONTEXT, "Ada", 11, 12),  # off by one
        ("😀😀😀 Ada 😀😀😀 Ada", "Ada", 18, 12),  # counted in UTF-16
        ("     Ada met Ada.", "Ada", 8, 13),  # counted without the spaces before
    ],
)
def test_an_answer_is_looked_up_where_the_data_counts_otherwise(
    context: str, answer: str, start: int, found: int
) -> None:
    row = {"context": context, "question": "Who?", "answer": answer, "answer_start": start}
    dataset = read("qa", as_records(row))
    assert dataset.examples[0].answer_start == found
    assert list(dataset.report.notes.values()) == [1]


def test_a_file_in_squads_format_is_read_whole(tmp_path: Path) -> None:
    questions: list[dict[str, Any]] = [
        {
            "id": "1",
            "question": "Who?",
            "answers": [{"text": "Bo", "answer_start": 8, "id": "a"}] * 2,
        },
        {
            "id": "2",
            "question": "Who is king?",
            "answers": [],
            "is_impossible": True,
            "plausible_answers": [{"text": "Ada", "answer_start": 0}],
        },
    ]
    articles = [{"title": "T", "paragraphs": [{"context": CONTEXT, "id": "p", "qas": questions}]}]
    (tmp_path / "squad.json").write_text(json.dumps({"version": "v2", "data": articles}))
    (tmp_path / "articles.json").write_text(json.dumps(articles))
    for name in ("squad.json", "articles.json"):
        dataset = read("qa", read_records([str(tmp_path / name)]))
        assert [example.references for example in dataset.examples] == [("Bo",), ()]
        assert dataset.examples[0].answer_start == 8
        named = {"id", "plausible_answers", "data.title", "paragraphs.id", "answers.id"}
        assert set(dataset.report.unused) == named
    del questions[0]["answers"]
    (tmp_path / "squad.json").write_text(json.dumps({"data": articles}))
    with pytest.raises(UserError, match="question 1: column 'answers' is empty"):
        read("qa", read_records([str(tmp_path / "squad.json")]))


@pytest.mark.parametrize("name", ["has_answer", "answerable", "is_answerable"])
def test_a_question_may_say_that_it_has_an_answer(name: str) -> None:
    assert answered(answer="Bo", **{name: 1}).references == ("Bo",)
    assert answered(answer="", **{name: False}).references == ()
    with pytest.raises(UserError, match=f"contradicts itself: {name} is false"):
        answered(answer="Bo", **{name: "False"})


def test_a_place_may_be_counted_in_bytes() -> None:
    context = "Für Zoë Müllers Öl: Bo. Da ist Bo."
    start = context.index("Bo", context.index("Bo") + 1)
    places = {"answer": "Bo", "answer_start": len(context[:start].encode())}
    assert answered(context=context, **places).answer_start == start


@pytest.mark.parametrize("value", ["nan", "NaN", "<NA>"])
def test_no_value_as_text_is_no_answer(value: str) -> None:
    with pytest.raises(UserError, match=f"column 'answer' is empty: it holds '{value}'"):
        answered(answer=value)
