from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.text.clean import clean


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\r\nb\rc\n", "a\nb\nc\n"),
        ("a\x00b\x07\x1b[0m\x7f", "ab[0m"),
        ("\ufeffStart\u200b of\xad text", "Start of text"),
        ("cafe\u0301", "café"),
        ("a\x0cb\u2028c", "a\nb\nc"),
        ("  keep\t these \n\n\n spaces  ", "  keep\t these \n\n\n spaces  "),
        ("“quotes” — dashes…", "“quotes” — dashes…"),
        ("👨‍👩‍👧 می‌خواهم", "👨‍👩‍👧 می‌خواهم"),  # joiners carry meaning
        ("秦川雄帝宅，函谷壯皇居。", "秦川雄帝宅，函谷壯皇居。"),
        ("ｆｕｌｌ width ① ﬁ", "ｆｕｌｌ width ① ﬁ"),  # NFC, not NFKC
        ("", ""),
    ],
)
def test_text_is_written_one_way(before: str, after: str) -> None:
    assert clean(before) == after


@settings(max_examples=1000, deadline=None)
@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean(text)
    assert clean(once) == once and unicodedata.is_normalized("NFC", once)
    kept = (c for c in once if unicodedata.category(c) == "Cc")
    assert all(c in "\n\t" for c in kept)


def test_ascii_controls_alone_are_dropped_from_plain_text() -> None:
    text = "".join(map(chr, range(128)))
    assert clean(text).replace("\n", "").replace("\t", "") == text[32:127]
