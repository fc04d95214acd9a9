from __future__ import annotations

import random

import pytest

from nextword.evaluation.contamination import (
    SIMILAR,
    Duplicate,
    count_duplicates,
    find_duplicates,
)
from nextword.settings import TaskSettings
from nextword.tasks.classify.task import Classify
from nextword.tasks.generate.task import AnswerQuestions
from nextword.tasks.records import Record


def duplicates_of(texts: list[str], train: list[str]) -> list[Duplicate | None]:
    """Of each text what it is a duplicate of, all of them read from rows of texts and labels."""
    settings = TaskSettings(task="classify")
    known, unknown = (
        Classify.read(
            [Record({"text": text, "label": "x"}, f"row {n}") for n, text in enumerate(rows)],
            settings,
        )
        for rows in (train, texts)
    )
    return find_duplicates(known.inputs, known.places, unknown.inputs)


def sentence(chance: random.Random, words: int = 40) -> str:
    return " ".join("".join(chance.choices("abcdefghij", k=6)) for _ in range(words))


def jaccard(one: str, other: str, width: int = 12) -> float:
    """Of windows of letters, by the definition."""
    a, b = (
        {w[i : i + width] for i in range(len(w) - width + 1)}
        for w in (text.replace(" ", "") for text in (one, other))
    )
    return len(a & b) / len(a | b)


def test_the_same_text_is_found_whatever_its_capitals_and_spacing() -> None:
    duplicates = duplicates_of(["a film ", "film", "no."], ["No.", "A film", "a  FILM"])
    assert duplicates == [
        Duplicate("row 1", "A film", 1.0),
        None,
        Duplicate("row 0", "No.", 1.0),
    ]
    assert count_duplicates(duplicates) == (2, 0)


def test_nearly_the_same_text_is_found_beside_the_most_similar_one() -> None:
    chance = random.Random(4)
    texts = [sentence(chance) for _ in range(60)]
    near = texts[7].split()
    near[20] = "changed"
    far = texts[9].split()
    for place in range(0, 40, 4):
        far[place] = "changed"
    others = [" ".join(near), " ".join(far), sentence(chance)]
    assert jaccard(others[0], texts[7]) > SIMILAR > 0.5 > jaccard(others[1], texts[9])
    first, *rest = duplicates_of(others, texts)
    assert first is not None and first.place == "row 7" and rest == [None, None]
    assert first.alike == pytest.approx(jaccard(others[0], texts[7]), abs=0.1)
    assert count_duplicates([first, *rest]) == (0, 1)


def test_a_chain_of_likenesses_joins_nothing_that_is_not_alike() -> None:
    chance = random.Random(8)
    words = sentence(chance, 60).split()
    chain = [list(words)]
    for step in range(12):
        chain.append([*chain[-1]])
        chain[-1][step * 5 % 60 : step * 5 % 60 + 2] = ["other", f"words{step}"]
    texts = [" ".join(link) for link in chain]
    assert jaccard(texts[0], texts[-1]) < 0.6
    assert duplicates_of(texts[1:], texts[:1])[-1] is None


def test_questions_about_a_text_that_was_learned_are_nearly_known() -> None:
    text, settings = sentence(random.Random(1), 80), TaskSettings(task="qa")
    learned = [Record({"context": text, "question": "Who came?", "answers": ["a"]}, "1")]
    others = [
        Record({"context": text, "question": question, "answers": ["b"]}, "2")
        for question in ("Who came?", "And who went?")
    ]
    known, unknown = (AnswerQuestions.read(records, settings) for records in (learned, others))
    duplicates = find_duplicates(known.inputs, known.places, unknown.inputs)
    assert count_duplicates(duplicates) == (1, 1)
