from __future__ import annotations

import pytest

from nextword.text.traces import (
    JSON,
    LICENCE,
    LOST,
    MARKUP,
    MISREAD,
    PRINTED_BYTES,
    SUBTITLES,
    traces,
)


@pytest.mark.parametrize(
    ("text", "trace"),
    [
        ("*** START OF THE PROJECT GUTENBERG EBOOK ***\nA walk.", LICENCE),
        ("<p>A walk along the river.</p>", MARKUP),
        ("He said &quot;no&quot; and left.", MARKUP),
        ('[\n {\n  "text": "A walk"}]', JSON),
        ("Schöne Grüße aus München".encode().decode("latin-1"), MISREAD),
        ("it’s a “walk”".encode().decode("cp1252", "ignore"), MISREAD),
        ("привет, как дела".encode().decode("latin-1"), MISREAD),
        ("今天天气很好".encode().decode("latin-1"), MISREAD),
        ("A caf\ufffd in the park.", LOST),
        ("1\n00:00:01,000 --> 00:00:02,000\nHello.\n", SUBTITLES),
        ("b'A walk in the rain.'", PRINTED_BYTES),
    ],
)
def test_what_text_shows_of_how_it_was_kept_is_named(text: str, trace: str) -> None:
    assert traces(text) == [trace]


@pytest.mark.parametrize(
    "text",
    [
        "A walk along the river. 1 < 2 & 3 > 2, says R&D.",
        "Die Straße war naß. „Größe“, sagte er; ÄÖÜ – Ä” und ß“.",
        "L’été dernier, où étaient-ils allés ? « Ça va »",
        "{braces} of a poem, and [brackets]",
        "今天天气很好，我们去公园散步。",
        "O João não foi à praia: ‘Âmbar’, É isso…",
        "b'fore the dawn we rode",
        "",
    ],
)
def test_ordinary_text_shows_nothing(text: str) -> None:
    assert traces(text) == []
