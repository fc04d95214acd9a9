"""Which columns hold a text and its translation."""

from __future__ import annotations

from typing import Any

import pytest
from support.prompts import as_records, read

from nextword.errors import UserError


@pytest.mark.parametrize(
    ("row", "pair"),
    [
        ({"id": "17", "english": "a b", "fr": "c d"}, ("english", "fr")),
        ({"id": 17, "one": "a b", "other": "c d"}, ("one", "other")),
        ({"id": "train-17", "de": "a", "en": "b", "url": "http://x.y/17"}, ("de", "en")),
        ({"id": "Selamat pagi", "en": "Good morning"}, ("id", "en")),
        ({"lang": "a b", "en": "a", "de": "b", "score": 0.5}, ("en", "de")),
        ({"target": "b", "source": "a", "en": "c"}, ("source", "target")),
        ({"translation": {"de": "a", "en": "b"}}, ("translation.de", "translation.en")),
        ({"translation": "{'de': 'a', 'en': 'b'}"}, ("translation.de", "translation.en")),
        ({"source": "a", "translation": "b"}, ("source", "translation")),
    ],
)
def test_numbers_of_rows_are_no_source(row: dict[str, Any], pair: tuple[str, str]) -> None:
    dataset = read("translate", as_records(row))
    assert (dataset.columns.inputs["source"], *dataset.columns.targets) == pair
    used = {name.partition(".")[0] for name in pair}
    assert set(dataset.report.unused) == set(row) - used


@pytest.mark.parametrize(
    ("row", "readings"),
    [
        ({"en": "a", "de": "b", "fr": "c"}, "en → de, en → fr, de → fr"),
        ({"id": "abc", "english": "a b", "fr": "c"}, "id → english, id → fr, english → fr"),
        ({"source": "wiki", "en": "a", "de": "b"}, "source → en, source → de, en → de"),
        ({"translation": {"de": "a", "en": "b", "fr": "c"}}, "translation.de → translation.en, "),
    ],
)
def test_where_more_than_one_reading_is_possible_all_are_shown(
    row: dict[str, Any], readings: str
) -> None:
    with pytest.raises(UserError, match=f"it may be {readings}.*--text-column and --target-column"):
        read("translate", as_records(row))


def test_a_named_source_leaves_one_target_or_asks() -> None:
    row = {"en": "a", "de": "b", "note": 3}
    dataset = read("translate", as_records(row), text_column="de")
    assert dataset.columns.targets == ["en"]
    with pytest.raises(UserError, match=r"clearly the translation .* en → de, en → fr"):
        read("translate", as_records({"en": "a", "de": "b", "fr": "c"}), text_column="en")
