"""Answers pointed at: characters to tokens and back, windows, and the best span."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support.prompts import as_records, read

from nextword.errors import UserError
from nextword.tasks.extractive_qa.answers import Span, best_answers, best_spans
from nextword.tasks.extractive_qa.data import EncodedQuestions, Reader, span_format
from nextword.tokens.tokenizer_training import byte_tokenizer

TOKENIZER = byte_tokenizer()
LONG = "".join(f"Town {number} has a mill. " for number in range(40)) + "石桥是赵明修建的。"


def encoded_from(*rows: dict[str, Any], training: bool = True) -> EncodedQuestions:
    reader = Reader(TOKENIZER, max_length=64, causal=True, start_id=TOKENIZER.end_id)
    return reader.encode(read("qa", as_records(*rows)), training=training)


def row(context: str, *answers: str, start: int | None = None) -> dict[str, Any]:
    values = {"context": context, "question": "Who?", "answers": list(answers)}
    return values if start is None else values | {"starts": [start]}


def answered(encoded: EncodedQuestions, scores: Sequence[Any]) -> list[list[Span]]:
    return best_answers(encoded, scores, span_format(encoded.questions))


@pytest.mark.parametrize("answer", ["Town 0", "Town 37", "赵明", "mill"])
def test_scores_of_the_right_tokens_give_back_the_answer(answer: str) -> None:
    encoded = encoded_from(row(LONG, answer))
    assert len(encoded.items) > 10 and any(window.target != (0, 0) for window in encoded.items)
    scores = []
    for window in encoded.items:
        given = np.zeros((1 + window.end - window.begin, 2))
        given[window.target[0], 0] = given[window.target[1], 1] = 5.0 * (window.target != (0, 0))
        scores.append(given)
    (found,) = answered(encoded, scores)
    assert found[0].answer == answer == LONG[found[0].begin : found[0].end]
    assert sum(each.probability for each in found) == pytest.approx(1)


def test_the_place_that_the_data_names_is_taken() -> None:
    text = "Ada met Ada."
    for start, begin in ((None, 0), (0, 0), (8, 8), (7, 8)):
        (question,) = encoded_from(row(text, "Ada", start=start)).questions
        assert question.span is not None and question.cut(*question.span) == (begin, begin + 3)


def test_what_is_found_is_named_by_the_characters_of_the_record() -> None:
    encoded = encoded_from(row("\n\n Ada met Bo.", "Bo"))
    scores = [np.zeros((1 + window.end - window.begin, 2)) for window in encoded.items]
    for window, given in zip(encoded.items, scores, strict=True):
        given[window.target[0], 0] = given[window.target[1], 1] = 5.0
    (found,) = answered(encoded, scores)
    assert found[0].answer == "Bo" == "\n\n Ada met Bo."[found[0].begin : found[0].end]


def test_best_spans_are_the_best_of_all_that_are_short_enough() -> None:
    scores = np.random.default_rng(0).normal(size=(12, 2))
    every = [
        (first, last, scores[first, 0] + scores[last, 1])
        for first, last in itertools.product(range(12), repeat=2)
        if first <= last < first + 4
    ]
    every.sort(key=lambda span: -span[2])
    assert best_spans(scores, 4, 7) == [pytest.approx(span) for span in every[:7]]


def test_a_question_is_declined_only_where_such_were_learned() -> None:
    declining = encoded_from(row("Ada slept.", "Ada"), row("Ada slept."))
    never = encoded_from(row("Ada slept.", "Ada"))
    for encoded, answer in ((declining, ""), (never, "A")):
        scores = [np.zeros((1 + window.end - window.begin, 2)) for window in encoded.items]
        for given in scores:
            given[0], given[1] = 3.0, 1.0
        assert answered(encoded, scores)[0][0].answer == answer


def test_an_answer_that_is_not_in_the_text_is_left_out_and_named() -> None:
    right = [row(f"Ada {number} slept.", "Ada") for number in range(30)]
    encoded = encoded_from(*right, row("Ada slept.", "Joss"))
    assert len(encoded.questions) == 30
    left_out = "1 question left out: whose answer does not stand in the text"
    assert [note for note in encoded.notes if "left out" in note] == [left_out]
    assert len(encoded_from(*right, row("A.", "Joss"), training=False).questions) == 31
    with pytest.raises(UserError, match=r"rows.jsonl:2: 1 of 2 questions.* does not stand in"):
        encoded_from(right[0], row("Ada slept.", "Joss"))


def test_an_empty_question_is_not_learned_but_answered_when_measured() -> None:
    right = [row(f"Ada {number} slept.", "Ada") for number in range(30)]
    empty = row("Ada slept.", "Ada") | {"question": " "}
    encoded = encoded_from(*right, empty)
    assert len(encoded.questions) == 30
    left_out = "1 question left out: with an empty question"
    assert [note for note in encoded.notes if "left out" in note] == [left_out]
    assert len(encoded_from(*right, empty, training=False).questions) == 31
