from __future__ import annotations

import random

import numpy as np
import pytest

from nextword.text.duplicates import (
    SeenParagraphs,
    is_cjk,
    letters_and_digits,
    minhash_signature,
    passages,
    text_digest,
    window_hashes,
)
from nextword.text.near_duplicates import DuplicateFinder

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
    found = DuplicateFinder(similarity)
    for text in texts:
        found.add(text_digest(text), minhash_signature(text))
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
    estimate = float((minhash_signature(left) == minhash_signature(right)).mean())
    assert estimate == pytest.approx(jaccard(left, right, 12), abs=0.12)


def test_exact_duplicates_are_found_without_signatures() -> None:
    found = DuplicateFinder()
    for text in ("a", "b", "a", "", "b", "a"):
        found.add(text_digest(text), None)
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
    assert len(text_digest("x" * 10**6)) + minhash_signature("word " * 10**5).nbytes <= 300


def direct(units: np.ndarray, width: int) -> list[int]:
    """The polynomial hash of each window and the finaliser of MurmurHash3, in plain Python."""
    hashes = []
    for start in range(len(units) - width + 1):
        value = 0
        for unit in units[start : start + width].tolist():
            value = (value * 0x9E3779B1 + unit + 1) % 2**32
        value ^= value >> 16
        value = value * 0x85EBCA6B % 2**32
        value ^= value >> 13
        value = value * 0xC2B2AE35 % 2**32
        hashes.append(value ^ value >> 16)
    return hashes


@pytest.mark.parametrize("width", [1, 2, 3, 5, 12, 13, 48, 100])
def test_every_window_is_hashed(width: int) -> None:
    units = letters_and_digits(
        "It was a bright cold day in April, 秦川雄帝宅, and the clocks struck 13. 😀"
    )
    assert window_hashes(units, width).tolist() == direct(units, min(width, len(units)))


def test_case_spacing_and_punctuation_make_no_difference() -> None:
    assert (
        letters_and_digits("It's  a\nTEST. É").tolist()
        == letters_and_digits("its a test é").tolist()
    )
    assert letters_and_digits("Plain ASCII").tolist() == letters_and_digits("plain,ascii—").tolist()
    assert (
        len(letters_and_digits("... —\n")) == 0
        and len(window_hashes(letters_and_digits(""), 5)) == 0
    )


def test_writing_without_spaces_is_told() -> None:
    assert is_cjk(letters_and_digits("秦川雄帝宅，函谷壯皇居。 OK"))
    assert not is_cjk(letters_and_digits("mostly English, with 中文 in it"))


LICENCE = "Permission is hereby granted, free of charge, to any person obtaining a copy"


def test_a_paragraph_seen_before_is_dropped_whatever_its_spacing_and_case() -> None:
    seen = SeenParagraphs()
    first = f"One story of a king.\n\n{LICENCE}\n\nThe end.\n"
    assert seen.drop_repeated(first)[0] == first
    again = LICENCE.upper().replace(" ", "\n")
    assert seen.drop_repeated(f"Another story of a queen.\n\n{again}\n\nThe end.\n")[0] == (
        "Another story of a queen.\n\nThe end.\n"
    )


def test_a_paragraph_repeated_in_one_text_stays_once() -> None:
    assert SeenParagraphs().drop_repeated("\n\n".join([LICENCE] * 3)) == (LICENCE + "\n\n", 2)


def test_lines_are_paragraphs_where_none_is_empty() -> None:
    assert SeenParagraphs().drop_repeated(f"{LICENCE}\n{LICENCE}\nThe end") == (
        f"{LICENCE}\nThe end",
        1,
    )


def test_many_paragraphs_are_remembered() -> None:
    seen, chance = SeenParagraphs(), np.random.default_rng(0)
    lines = [f"a paragraph numbered {value}" for value in chance.integers(1, 2**63, 250_000)]
    for part in np.array_split(lines, 10):
        assert seen.drop_repeated("\n".join(part)) == ("\n".join(part), 0)
    assert seen.drop_repeated("\n".join(lines)) == ("", len(lines))
    assert seen.drop_repeated("short\nshort\n") == ("short\nshort\n", 0)


def test_passages_are_whole_paragraphs_with_the_line_each_begins_at() -> None:
    text = "one\ntwo\n\nthree\n\n\nfour\n\nfive\n"
    assert list(passages(text, 4)) == [(1, "one\ntwo"), (4, "three"), (7, "four"), (9, "five\n")]
    assert list(passages(text, 9)) == [
        (1, "one\ntwo\n\n"),
        (4, "three\n\n\nfour"),
        (9, "five\n"),
    ]
    assert list(passages(text, 1000)) == [(1, text)]
    assert list(passages("\n \n\n", 4)) == []
