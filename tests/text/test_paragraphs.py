from __future__ import annotations

import numpy as np

from nextword.text.paragraphs import Paragraphs, hashes, passages, without

LICENCE = "Permission is hereby granted, free of charge, to any person obtaining a copy"


def kept(text: str, seen: Paragraphs) -> str:
    return without(text, seen.unseen(hashes(text)))


def test_a_paragraph_seen_before_is_dropped_whatever_its_spacing_and_case() -> None:
    seen = Paragraphs()
    first = f"One story of a king.\n\n{LICENCE}\n\nThe end.\n"
    assert kept(first, seen) == first
    again = LICENCE.upper().replace(" ", "\n")
    assert kept(f"Another story of a queen.\n\n{again}\n\nThe end.\n", seen) == (
        "Another story of a queen.\n\nThe end.\n"
    )


def test_a_paragraph_repeated_in_one_text_stays_once() -> None:
    assert kept("\n\n".join([LICENCE] * 3), Paragraphs()) == LICENCE + "\n\n"


def test_lines_are_paragraphs_where_none_is_empty() -> None:
    assert kept(f"{LICENCE}\n{LICENCE}\nThe end", Paragraphs()) == f"{LICENCE}\nThe end"


def test_many_paragraphs_are_remembered() -> None:
    seen, chance = Paragraphs(), np.random.default_rng(0)
    values = chance.integers(1, 2**63, 250_000).astype(np.uint64)
    for part in np.array_split(values, 10):
        assert seen.unseen(part).all()
    assert not seen.unseen(values).any()
    assert seen.unseen(np.zeros(3, np.uint64)).all()


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
