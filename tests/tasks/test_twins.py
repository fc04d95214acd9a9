from __future__ import annotations

import random

import pytest

from nextword.evaluation.contamination import SIMILAR, count_duplicates, find_duplicates
from nextword.settings import TaskSettings
from nextword.tasks.records import Record

CLASSIFY = TaskSettings(task="classify")


def rows(texts: list[str]) -> list[Record]:
    return [Record({"text": text, "label": "x"}, f"row {n}") for n, text in enumerate(texts)]


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
    found = find_duplicates(
        rows(["No.", "A film", "a  FILM"]), rows(["a film ", "film", "no."]), CLASSIFY
    )
    assert [twin and (twin.place, twin.text, twin.alike) for twin in found] == [
        ("row 1", "A film", 1.0),
        None,
        ("row 0", "No.", 1.0),
    ]
    assert count_duplicates(found) == (2, 0)


def test_nearly_the_same_text_is_found_beside_the_most_similar_one() -> None:
    chance = random.Random(4)
    texts = [sentence(chance) for _ in range(60)]
    near = texts[7].split()
    near[20] = "changed"
    far = texts[9].split()
    for place in range(0, 40, 4):
        far[place] = "changed"
    asked = [" ".join(near), " ".join(far), sentence(chance)]
    assert jaccard(asked[0], texts[7]) > SIMILAR > 0.5 > jaccard(asked[1], texts[9])
    found = find_duplicates(rows(texts), rows(asked), CLASSIFY)
    assert found[0] is not None and found[0].place == "row 7" and found[1:] == [None, None]
    assert found[0].alike == pytest.approx(jaccard(asked[0], texts[7]), abs=0.1)
    assert count_duplicates(found) == (0, 1)


def test_a_chain_of_likenesses_joins_nothing_that_is_not_alike() -> None:
    chance = random.Random(8)
    words = sentence(chance, 60).split()
    chain = [list(words)]
    for step in range(12):
        chain.append([*chain[-1]])
        chain[-1][step * 5 % 60 : step * 5 % 60 + 2] = ["other", f"words{step}"]
    texts = [" ".join(link) for link in chain]
    assert jaccard(texts[0], texts[-1]) < 0.6
    assert find_duplicates(rows(texts[:1]), rows(texts[1:]), CLASSIFY)[-1] is None


def test_questions_about_a_text_that_was_learnt_are_nearly_known() -> None:
    text = sentence(random.Random(1), 80)
    learnt = [Record({"context": text, "question": "Who came?", "answers": ["a"]}, "1")]
    asked = [
        Record({"context": text, "question": question, "answers": ["b"]}, "2")
        for question in ("Who came?", "And who went?")
    ]
    assert count_duplicates(find_duplicates(learnt, asked, TaskSettings(task="qa"))) == (1, 1)
