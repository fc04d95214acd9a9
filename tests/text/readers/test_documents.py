"""Claims about HTML, EPUB and PDF."""

from __future__ import annotations

import io
import time
import types
import zipfile

import pytest
import samples
from samples import ReadBytes

from nextword.errors import UserError
from nextword.text.readers import documents


def test_a_page_loses_its_menu_scripts_and_styles(read_bytes: ReadBytes) -> None:
    [document], tally = read_bytes("a.html", samples.HTML)
    assert all(paragraph in document.text for paragraph in samples.PARAGRAPHS)
    assert tally.unused["html"]["outside the main text"].characters >= len("Copyright, cookies")
    for boilerplate in ("tracking", "color: red", "About", "<p>", "cookies"):
        assert boilerplate not in document.text


def test_a_page_too_short_for_an_article_is_read_plainly(read_bytes: ReadBytes) -> None:
    page = "<html><head><title>T</title></head><body><p>One<b>two</b></p><p>three<script>x</script>"
    [document], _ = read_bytes("a.html", page)
    assert "".join(document.text.split()) == "Onetwothree"


@pytest.mark.parametrize("declared", ["gb2312", "gbk", "big5"])
def test_a_page_is_in_the_encoding_it_declares(declared: str, read_bytes: ReadBytes) -> None:
    text = "我他也在" * 20
    page = f'<html><head><meta charset="{declared}"></head><body><p>{text}</p></body></html>'
    [document], _ = read_bytes("a.html", page.encode(declared))
    assert text in document.text


@pytest.mark.parametrize(
    "page", ["<div>" * 200_000, "<a href='" * 50_000, "<!--" * 100_000, "&" * 10**6]
)
def test_a_hostile_page_takes_bounded_time(page: str, read_bytes: ReadBytes) -> None:
    started = time.process_time()
    read_bytes("a.html", page, skip_bad=True)
    assert time.process_time() - started < 5


def test_a_book_is_read_in_the_order_of_its_spine(read_bytes: ReadBytes) -> None:
    [document], _ = read_bytes("a.epub", samples.epub())
    assert document.text == f"{samples.PARAGRAPHS[0]}\n\n{samples.PARAGRAPHS[1]}"


def archive(**pages: str | bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as book:
        for name, content in pages.items():
            book.writestr(name.replace("__", "/") + ".xhtml", content)
    return file.getvalue()


def test_a_book_without_a_package_is_read_by_name(read_bytes: ReadBytes) -> None:
    [document], _ = read_bytes("a.epub", archive(b="<p>second</p>", a="<p>first</p>"))
    assert document.text == "first\n\nsecond"


def test_pages_of_a_book_that_are_not_read_are_counted(read_bytes: ReadBytes) -> None:
    file = io.BytesIO(samples.epub())
    with zipfile.ZipFile(file, "a") as book:
        book.writestr("further.xhtml", "<p>further</p>")
    [document], tally = read_bytes("a.epub", file.getvalue())
    assert "further" not in document.text
    assert tally.unused["epub"]["pages outside the reading order"].records == 1
    assert tally.unused["epub"]["pages outside the reading order"].characters == len("further")
    _, tally = read_bytes("a.epub", samples.epub())
    assert set(tally.unused["epub"]) == {"outside the main text"}, "the titles of its pages"


def test_a_book_that_unpacks_to_too_much_is_refused(read_bytes: ReadBytes) -> None:
    with pytest.raises(UserError, match="unpacks to too much"):
        read_bytes("a.epub", archive(a=b"<p>" + bytes(2**27)))


def test_entities_of_a_book_are_not_expanded(read_bytes: ReadBytes) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
    )
    page = bomb + "]><html><body><p>&j;</p></body></html>"
    [document], _ = read_bytes("a.epub", archive(a=page, b="<p>fine</p>"))
    assert len(document.text) < 5000


def test_the_words_of_a_pdf_are_read(read_bytes: ReadBytes) -> None:
    [document], tally = read_bytes("a.pdf", samples.pdf("Hello there"))
    assert document.text == "Hello there" and tally.unused == {}


def test_pages_of_a_pdf_without_text_are_counted(
    read_bytes: ReadBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned = types.SimpleNamespace(extract_text=lambda: " ")
    written = types.SimpleNamespace(extract_text=lambda: "Hello")
    reader = types.SimpleNamespace(is_encrypted=False, pages=[scanned, written, scanned])
    monkeypatch.setattr("pypdf.PdfReader", lambda file: reader)
    [document], tally = read_bytes("a.pdf", samples.pdf("Hello"))
    assert document.text == "Hello"
    assert tally.unused["pdf"]["pages without text"].records == 2


def test_a_scanned_pdf_is_named(read_bytes: ReadBytes) -> None:
    with pytest.raises(UserError, match=r"no text .*OCR"):
        read_bytes("a.pdf", samples.pdf(""))


def test_a_parser_that_does_not_end_is_stopped() -> None:
    with pytest.raises(documents.ParsingTimeout), documents.time_limit(0.2):
        while True:
            try:
                sum(range(1000))
            except Exception:  # what a parser does with errors
                continue
