from __future__ import annotations

import random

import numpy as np
import pytest

from nextword.text.duplicates import Duplicates, digest, sketch

CHANCE = random.Random(7)
WORDS = ["".join(CHANCE.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(5000)]
SIGNS = [chr(c) for c in range(0x4E00, 0x5E00)]


def prose(words: int, seed: int) -> list[str]:
    return random.Random(seed).choices(WORDS, k=words)


def chinese(length: int, seed: int) -> list[str]:
    return random.Random(seed).choices(SIGNS, k=length)


def changed(units: list[str], share: float, fresh: list[str]) -> list[str]:
    chance = random.Random(1)
    return [chance.choice(fresh) if chance.random() < share else unit for unit in units]


def clusters(texts: list[str], similarity: float = 0.8) -> list[int]:
    found = Duplicates(similarity)
    for text in texts:
        found.add(digest(text), sketch(text))
    return found.clusters().tolist()


@pytest.mark.parametrize("length", [60, 600, 60_000])
def test_a_slightly_changed_text_is_a_near_duplicate(length: int) -> None:
    words, other = prose(length, 1), prose(length, 2)
    texts = [words, other, changed(words, 0.02, WORDS), changed(other, 0.5, WORDS)]
    assert clusters([" ".join(text) for text in texts]) == [0, 1, 0, 3]


@pytest.mark.parametrize("length", [60, 5000])
def test_chinese_is_compared_by_characters(length: int) -> None:
    signs, other = chinese(length, 1), chinese(length, 2)
    texts = [signs, other, changed(signs, 0.02, SIGNS), changed(other, 0.4, SIGNS)]
    assert clusters(["".join(text) for text in texts]) == [0, 1, 0, 3]


def jaccard(left: str, right: str, width: int) -> float:
    letters = ["".join(filter(str.isalnum, text)).lower() for text in (left, right)]
    first, second = (
        {text[at : at + width] for at in range(len(text) - width + 1)} for text in letters
    )
    return len(first & second) / len(first | second)


@pytest.mark.parametrize("share", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("length", [200, 20_000])
def test_signatures_estimate_the_jaccard_similarity(share: float, length: int) -> None:
    words = prose(length, 3)
    left, right = " ".join(words), " ".join(changed(words, share, WORDS))
    estimate = float((sketch(left) == sketch(right)).mean())
    assert estimate == pytest.approx(jaccard(left, right, 12), abs=0.12)


def test_exact_duplicates_are_found_without_signatures() -> None:
    found = Duplicates()
    for text in ("a", "b", "a", "", "b", "a"):
        found.add(digest(text), None)
    assert found.exact().tolist() == found.clusters().tolist() == [0, 1, 0, 3, 1, 0]


def test_texts_without_letters_are_no_duplicates_unless_equal() -> None:
    assert clusters(["!!!", "???", "!!!"]) == [0, 1, 0]


def test_nothing_gives_nothing() -> None:
    assert clusters([]) == []


def test_thousands_of_copies_among_others_form_one_cluster() -> None:
    words = prose(80, 4)
    copies = [" ".join([*words, WORDS[n]]) for n in range(1500)]
    others = [" ".join(prose(80, n)) for n in range(10, 1510)]
    mixed = [text for pair in zip(copies, others, strict=True) for text in pair]
    found = np.array(clusters(mixed))
    assert (found[0::2] == 0).all()
    assert (found[1::2] == np.arange(1, len(mixed), 2)).all()


def test_a_document_costs_a_few_hundred_bytes() -> None:
    assert len(digest("x" * 10**6)) + sketch("word " * 10**5).nbytes <= 300
