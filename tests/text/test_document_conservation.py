"""No character of a page, a book or a PDF file is lost without a word.

Characters other than spaces are counted by hand as a file is made, and compared with those that are
used and those that are counted as left out. Files are damaged too: they are refused, and counted.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from html import escape
from pathlib import Path

import pytest
import samples

from nextword.text.document import ReadStats
from nextword.text.sources import find_sources, read_documents

WORDS = [
    "mill",
    "river",
    "bridge",
    "ét\u00e9",
    "\u6cb3",
    "a<b",
    "R&D",
    "1.5",
    "\u65e5\u672c\u8a9e",
    "don't",
]
BLOCKS = ["p", "div", "section", "h2", "blockquote", "li", "td", "article", "main"]
ASIDE = ["nav", "form", "footer", "aside", "header", "button", "noscript"]
INLINE = ["b", "i", "a", "span", "em"]
Made = tuple[bytes, Counter[str]]  # a file, and the characters in it


def characters(text: str) -> Counter[str]:
    return Counter("".join(text.split()))


class Page:
    """Draws pages; `said` is all that they say to people."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.said = Counter[str]()

    def words(self, most: int) -> str:
        text = " ".join(self.draw.choices(WORDS, k=self.draw.randint(1, most)))
        self.said += characters(text)
        return escape(text, quote=False)

    def inline(self) -> str:
        parts = [self.words(8)]
        for _ in range(self.draw.randint(0, 2)):
            tag = self.draw.choice(INLINE)
            parts.append(f" <{tag}>{self.words(3)}</{tag}> {self.words(4)}")
        if self.draw.random() < 0.1:
            parts.append("<!-- a comment --><br/>" + self.words(2))
        return "".join(parts)

    def block(self, depth: int = 0) -> str:
        tag = self.draw.choice(BLOCKS + ASIDE * (depth < 2))
        count = self.draw.randint(1, 3)
        inside = [self.block(depth + 1) if depth < 2 else self.inline() for _ in range(count)]
        if self.draw.random() < 0.1:
            inside.append("<script>var x = 'no text';</script><style>p {}</style>")
        return f"<{tag}>{''.join(inside)}</{tag}>"

    def page(self) -> str:
        head = f"<title>{self.words(3)}</title><style>p {{}}</style>"
        blocks = "".join(self.block() for _ in range(self.draw.randint(0, 5)))
        if self.draw.random() < 0.3:  # enough for an article
            blocks += "".join(f"<p>{self.words(60)}</p>" for _ in range(6))
        return f"<html><head>{head}</head><body>{blocks}</body></html>"


def make_page(draw: random.Random) -> Made:
    page = Page(draw)
    return page.page().encode(), page.said


def make_book(draw: random.Random) -> Made:
    page = Page(draw)
    pages = [page.page() for _ in range(draw.randint(1, 4))]
    further = [page.page() for _ in range(draw.choice([0, 0, 1, 2]))]
    return samples.epub(pages, further), page.said


def make_pdf(draw: random.Random) -> Made:
    pages = [
        "\n".join(
            " ".join(draw.choices(["mill", "river", "1.5", "days", "R&D;"], k=draw.randint(1, 9)))
            for _ in range(draw.randint(1, 6))
        )
        if draw.random() < 0.8
        else ""
        for _ in range(draw.randint(1, 5))
    ]
    return samples.pdf(*pages), characters("".join(pages))


MAKERS: dict[str, Callable[[random.Random], Made]] = {
    "html": make_page,
    "epub": make_book,
    "pdf": make_pdf,
}


def conserve(path: Path, cases: int) -> None:
    kind = path.suffix[1:]
    read = refused = 0
    for seed in range(cases):
        draw = random.Random(seed)
        content, said = MAKERS[kind](draw)
        is_damaged = kind != "html" and draw.random() < 0.2
        path.write_bytes(content[: draw.randrange(1, len(content))] if is_damaged else content)
        stats = ReadStats()
        [source] = find_sources([str(path)])
        documents = list(read_documents(source, skip_bad=True, stats=stats))
        assert stats.accepted == len(documents) and stats.total == 1, f"seed {seed}"
        if stats.rejected:
            assert is_damaged or not said, f"seed {seed}: {stats.reasons}"
            refused += 1
            continue
        read += 1
        used = characters("".join(document.text for document in documents))
        left = sum(f.characters for fields in stats.unused.values() for f in fields.values())
        lost = (said - used).total()  # to be counted; main text may have marks of its own
        assert (lost == left) if kind != "html" else (lost <= left <= said.total()), f"seed {seed}"
    assert read > cases / 2 and (refused > cases / 20 or kind == "html")


@pytest.mark.parametrize("kind", MAKERS)
def test_what_a_document_says_is_used_counted_or_refused(kind: str, tmp_path: Path) -> None:
    conserve(tmp_path / f"a.{kind}", 60)


@pytest.mark.slow(cases=10_000)
@pytest.mark.parametrize("kind", MAKERS)
def test_ten_thousand_documents_are_accounted_for(kind: str, tmp_path: Path) -> None:
    conserve(tmp_path / f"a.{kind}", 10_000)
