"""Answers that are the letter of an option, as tests of reading have them."""

from __future__ import annotations

from typing import Any

import pytest
from support.prompts import as_records, read

from nextword.errors import UserError
from nextword.tasks.generate.options import AS_LETTER

TEXTS = ["a red boat", "a blue boat", "a tree", "a cat"]
ASKED = {"article": "It was a tree by the water.", "question": "What was it?"}


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"options": TEXTS}, "C"),
        ({"options": TEXTS}, "(c)"),
        ({"choices": {"text": TEXTS, "label": ["A", "B", "C", "D"]}}, "C"),
        ({"choices": {"text": TEXTS, "label": ["1", "2", "3", "4"]}}, "3"),
        ({"choices": [{"label": "A", "text": "a"}, {"label": "B", "text": "a tree"}]}, "B"),
        ({"options": {"A": "a cat", "B": "a tree"}}, "B"),
        ({"options": str(TEXTS)}, "C"),
        (dict(zip("ABCD", TEXTS, strict=True)), "C"),
        ({"options": TEXTS}, "a tree"),
        ({"options": ["1", "2", "a tree"]}, "a tree"),
    ],
)
def test_the_letter_of_an_option_is_read_as_its_text(options: dict[str, Any], answer: str) -> None:
    rows = [ASKED | options | {"answer": answer}, ASKED | options | {"answer": "a tree"}]
    dataset = read("qa", as_records(*rows))
    assert [example.references for example in dataset.examples] == [("a tree",)] * 2
    assert dataset.report.notes[AS_LETTER] == (answer != "a tree")
    if answer != "a tree":
        assert set(options) <= set(dataset.columns.extras) and not dataset.report.unused


@pytest.mark.parametrize(
    ("options", "answer", "reason"),
    [
        (TEXTS, 2, "answer '2' may be the number of an option, counted from 0 or from 1"),
        (TEXTS, "E", "answer 'E' is none of the options A 'a red boat', B 'a blue boat'"),
    ],
)
def test_a_letter_that_no_option_has_and_a_number_are_refused(
    options: list[str], answer: Any, reason: str
) -> None:
    rows = as_records(ASKED | {"options": options, "answer": answer})
    with pytest.raises(UserError, match=r"rows\.jsonl:1") as caught:
        read("qa", rows)
    assert caught.value.what.startswith(reason)


def test_a_letter_is_what_the_assistant_says_only_where_the_prompt_holds_the_options() -> None:
    row = {"question": "What was it?", "options": TEXTS, "answer": "C"}
    with pytest.raises(UserError, match="the prompt does not hold the options"):
        read("chat", as_records(row))
    asked = "What was it? " + " ".join(
        f"{n}) {text}" for n, text in zip("ABCD", TEXTS, strict=True)
    )
    dataset = read("chat", as_records(row | {"question": asked}))
    assert dataset.examples[0][-1].content == "C"
