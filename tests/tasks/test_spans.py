"""Answers pointed at: characters to tokens and back, windows, and the best span."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from nextword.errors import UserError
from nextword.hub import directory as hub
from nextword.models.heads import SpanFinder
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings, TaskSettings
from nextword.tasks.extractive_qa.data import Questions, best_answers, best_spans, read_questions
from nextword.tasks.extractive_qa.task import window_scores
from nextword.tasks.records import Record
from nextword.tasks.windows import windows
from nextword.tokens.tokenizer_training import byte_tokenizer

TOKENIZER = byte_tokenizer()
LONG = "".join(f"Town {number} has a mill. " for number in range(40)) + "石桥是赵明修建的。"


def questions(*rows: dict[str, Any], limit: int = 64, training: bool = True) -> Questions:
    found = [Record(row, f"a.jsonl:{number}") for number, row in enumerate(rows, start=1)]
    settings = TaskSettings(task="qa")
    return read_questions(
        found, settings, TOKENIZER, TOKENIZER.end_id, limit, causal=True, training=training
    )


def asked(context: str, *answers: str, start: int | None = None) -> dict[str, Any]:
    row = {"context": context, "question": "Who?", "answers": list(answers)}
    return row if start is None else row | {"starts": [start]}


@pytest.mark.parametrize("answer", ["Town 0", "Town 37", "赵明", "mill"])
def test_scores_of_the_right_tokens_give_back_the_answer(answer: str) -> None:
    made = questions(asked(LONG, answer))
    assert len(made.windows) > 10 and any(window.target != (0, 0) for window in made.windows)
    scores = []
    for window in made.windows:
        given = np.zeros((1 + window.end - window.begin, 2))
        given[window.target[0], 0] = given[window.target[1], 1] = 5.0 * (window.target != (0, 0))
        scores.append(given)
    (found,) = best_answers(made, scores)
    assert found[0].answer == answer == LONG[found[0].begin : found[0].end]
    assert sum(each.probability for each in found) == pytest.approx(1)


def test_the_place_that_the_data_names_is_taken() -> None:
    text = "Ada met Ada."
    for start, begin in ((None, 0), (0, 0), (8, 8), (7, 8)):
        (question,) = questions(asked(text, "Ada", start=start)).questions
        assert question.span is not None and question.cut(*question.span) == (begin, begin + 3)


def test_what_is_found_is_named_by_the_characters_of_the_record() -> None:
    made = questions(asked("\n\n Ada met Bo.", "Bo"))
    scores = [np.zeros((1 + window.end - window.begin, 2)) for window in made.windows]
    for window, given in zip(made.windows, scores, strict=True):
        given[window.target[0], 0] = given[window.target[1], 1] = 5.0
    (found,) = best_answers(made, scores)
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


def test_a_question_is_declined_only_where_such_were_learnt() -> None:
    declining = questions(asked("Ada slept.", "Ada"), asked("Ada slept."))
    never = questions(asked("Ada slept.", "Ada"))
    for made, answer in ((declining, ""), (never, "A")):
        scores = [np.zeros((1 + w.end - w.begin, 2)) for w in made.windows]
        for given in scores:
            given[0], given[1] = 3.0, 1.0
        assert best_answers(made, scores)[0][0].answer == answer


def test_an_answer_that_is_not_in_the_text_is_left_out_and_named() -> None:
    right = [asked(f"Ada {number} slept.", "Ada") for number in range(30)]
    made = questions(*right, asked("Ada slept.", "Joss"))
    assert len(made.questions) == 30 and made.dropped.total() == 1
    assert len(questions(*right, asked("A.", "Joss"), training=False).questions) == 31
    with pytest.raises(UserError, match=r"a.jsonl:2: 1 of 2 questions.* does not stand in"):
        questions(right[0], asked("Ada slept.", "Joss"))


def test_an_empty_question_is_not_learnt_but_answered_when_measured() -> None:
    right = [asked(f"Ada {number} slept.", "Ada") for number in range(30)]
    empty = asked("Ada slept.", "Ada") | {"question": " "}
    made = questions(*right, empty)
    assert len(made.questions) == 30 and made.dropped == {"with an empty question": 1}
    assert len(questions(*right, empty, training=False).questions) == 31


def test_windows_overlap_by_a_third_and_hold_everything() -> None:
    found = windows([1] * 100, 30)
    assert found[0] == (0, 30) and found[-1][1] == 100
    assert all(one[1] - other[0] == 10 for one, other in itertools.pairwise(found))
    assert windows([1] * 30, 30) == [(0, 30)] and windows([], 30) == [(0, 0)]


def test_transformers_gives_the_same_scores_of_begin_and_end(tmp_path: Path) -> None:
    size = ModelSettings(family="qwen3", layers=2, width=32, heads=2, context_length=64)
    model = SpanFinder(Transformer(config_for(size, TOKENIZER.vocab_size), seed=1), seed=2).eval()
    hub.save_span_finder(tmp_path / "model", model, TOKENIZER)
    there = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path / "model").eval()
    made = questions(asked(LONG, "Town 3"), asked("Ada slept.", "Ada"))
    for window, given in zip(made.windows, window_scores(model, made.windows), strict=True):
        with torch.no_grad():
            answer = there(torch.tensor(window.example.ids)[None])
        theirs = torch.stack((answer.start_logits[0], answer.end_logits[0]), -1).numpy()
        places = [window.nowhere, *range(window.begin, window.end)]
        assert np.abs(theirs[places] - given).max() < 1e-4


def test_only_answers_are_extracted(tmp_path: Path) -> None:
    from nextword.settings import FinetuneSettings, resolve

    with pytest.raises(UserError, match="expected --task qa"):
        resolve(FinetuneSettings, {"task": "classify", "extract": True})
