from __future__ import annotations

from pathlib import Path

import pytest
import samples

from nextword.text.quality import quality

PROSE = " ".join(samples.PARAGRAPHS[::2])


@pytest.mark.parametrize("text", [PROSE, samples.PARAGRAPHS[1], samples.TEXT])
def test_prose_passes(text: str) -> None:
    assert quality(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" \n", "empty"),
        ("One two.", "too short"),
        ("=== *** --- ///" * 20 + " a b c d e f", "mostly symbols"),
        ("1 2 3 4 5 6 7 8 9 " * 9, "words too short or too long"),
        ("1999 2001 1543 1776 1848 1917 " * 3, "mostly numbers"),
        (f"{PROSE}\n" * 20, "repeated lines"),
        ("buy cheap pills now " * 50, "repeated phrases"),
        ("\n".join(f"Story number {n} begins like this ..." for n in range(9)), "lines cut short"),
    ],
)
def test_what_is_no_prose_is_named(text: str, reason: str) -> None:
    assert quality(text) == reason


def test_published_books_and_poems_pass(shared_data: Path) -> None:
    for path in sorted((shared_data / "novels").glob("*.txt"))[:5]:
        assert quality(path.read_text(encoding="utf-8-sig")) is None
