"""HTML pages, EPUB books and PDF files; each file is one document.

Pages give their main text through trafilatura, or all of it where that finds none. A book gives
its pages in reading order. A PDF gives the text of its pages through pypdf.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
import posixpath
import re
import signal
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from types import FrameType
from typing import Any
from urllib.parse import unquote

from nextword.errors import UserError
from nextword.text.compression import read_file
from nextword.text.document import Document, Documents, ReadError, ReadStats, Source, explaining
from nextword.text.encoding import decode, detect_encoding

_MAX_PAGE = 2**26  # bytes of an HTML page
_MAX_BOOK = 2**28  # bytes of a PDF, of a packed book, and of its unpacked pages together
_CHARSET = re.compile(
    rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*[\"']?([\w-]+)", re.I
)
_LEFT_OUT = re.compile("script|style|head|template|noscript|svg|nav|form|iframe|object|button")
_BLOCKS = re.compile(
    "address|article|aside|blockquote|body|br|d[dlt]|div|fig(caption|ure)|footer|h[1-6]|header|hr|"
    "li|main|[ou]l|p|pre|section|table|t[dhr]"
)
_NO_TEXT = ("script", "style")
BESIDE_TEXT = "outside the main text"
_CONTAINER = "META-INF/container.xml"
_PAGE_SUFFIXES = (".xhtml", ".html", ".htm", ".xml")


class ParsingTimeout(BaseException):
    """Parsing used more processor time than a file of its size can need.

    Not an Exception, so that a parser that swallows those does not swallow this one.
    """


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ParsingTimeout in the block after this much processor time.

    Processor time, so that a busy machine rejects no file that an idle one reads. Signals reach
    the main thread only; in any other the block runs without a limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_running = True

    def stop(number: int, frame: FrameType | None) -> None:
        if is_running:
            raise ParsingTimeout

    before = signal.signal(signal.SIGVTALRM, stop)
    again = 0.1  # seconds, in case the first signal is lost in a callback
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, again)
    try:
        yield
    finally:
        is_running = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextlib.contextmanager
def _parsing(source: Source, size: int, kind: str) -> Iterator[None]:
    """Turn whatever a parser does to a damaged or hostile file of `size` bytes into a UserError."""
    try:
        with (
            explaining(source.path, f"is not a whole {kind} file ({{reason}})"),
            time_limit(4.0 + size / 20_000),  # far more than a good file takes
        ):
            yield
    except ParsingTimeout:
        raise UserError("takes too long to take apart", where=source.path) from None


def read_html(source: Source, text_column: str | None, stats: ReadStats) -> Documents:
    """Yield the text of a page. Raises UserError if it cannot be taken apart."""
    content = read_file(source.path, source.compression, _MAX_PAGE)
    with _parsing(source, len(content), "HTML"):
        html = decode_page(content)
        everything, left = page_text(html)
        text = main_text(html) or everything
        left += (_characters(everything) - _characters(text)).total()
    if left:  # menus, footers, comments
        stats.leave(source.kind, BESIDE_TEXT, left)
    yield Document(text, source.path)


def _characters(text: str) -> Counter[str]:
    """Count the characters of a text but for spaces, which are set anew without tags."""
    return Counter("".join(text.split()))


def decode_page(content: bytes) -> str:
    """Return the page as text, in the encoding that it declares if its bytes agree."""
    declared = _CHARSET.search(content[:2048])
    if declared:
        name = declared.group(1).decode("ascii", "replace").lower()
        name = {"gb2312": "gb18030", "gbk": "gb18030", "iso-8859-1": "cp1252"}.get(name, name)
        try:
            if codecs.lookup(name)._is_text_encoding:
                return content.decode(name)
        except (LookupError, UnicodeError):
            pass
    return decode(content, detect_encoding(content))


def main_text(html: str) -> str:
    """Return the article without menus and footers; "" if there seems to be none."""
    import trafilatura

    for name in ("trafilatura", "htmldate", "courlan", "justext"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they warn of each page they give up
    try:
        return trafilatura.extract(html, include_comments=False, deduplicate=False) or ""
    except Exception:  # `all_text` reads what it fails on
        return ""


def page_text(html: str) -> tuple[str, int]:
    """Return all text outside menus and forms, a block a line, and how many characters are in
    those; scripts and styles are no text."""
    from lxml import etree
    from lxml import html as parser

    content = html.encode("utf-8", "replace")
    try:
        root = parser.document_fromstring(content, parser=parser.HTMLParser(encoding="utf-8"))
    except (etree.ParserError, ValueError, AssertionError):  # nothing in it
        return "", 0
    return _tree_text(root)


def _tree_text(root: Any) -> tuple[str, int]:
    """Return what `page_text` does, of an lxml tree, without recursion."""
    from lxml import etree

    parts: list[str] = []
    left = 0
    left_out: Any = None  # the element whose inside is being left out
    for event, element in etree.iterwalk(root, events=("start", "end", "comment", "pi")):
        name = element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else None
        is_block = name is not None and _BLOCKS.fullmatch(name) is not None
        if left_out is None and is_block:
            parts.append("\n")
        if event == "start":
            if left_out is None and name is not None and _LEFT_OUT.fullmatch(name):
                left_out = element
            if element.text and name is not None:
                if left_out is None:
                    parts.append(re.sub(r"\s+", " ", element.text))
                elif name not in _NO_TEXT:
                    left += len("".join(element.text.split()))
            continue
        if element is left_out:
            left_out = None
        if element.tail and element is not root:
            if left_out is None:
                parts.append(re.sub(r"\s+", " ", element.tail))
            else:
                left += len("".join(element.tail.split()))
    lines = (line.strip() for line in "".join(parts).split("\n"))
    return "\n".join(line for line in lines if line), left


def read_epub(source: Source, text_column: str | None, stats: ReadStats) -> Documents:
    """Yield a book as one document. Raises UserError if it is damaged or unpacks to too much."""
    content = read_file(source.path, source.compression, _MAX_BOOK)
    with _parsing(source, len(content), "EPUB"), zipfile.ZipFile(io.BytesIO(content)) as archive:
        book = _Book(archive)
        pages = book.pages()
        chapters = [page_text(decode_page(book.read(name))) for name in pages]
        further = [book.size_of(name) for name in book.further_pages(pages)]
    if further:
        stats.leave(source.kind, "pages outside the reading order", sum(further), len(further))
    if left := sum(left for _, left in chapters):
        stats.leave(source.kind, BESIDE_TEXT, left)
    yield Document("\n\n".join(chapter for chapter, _ in chapters if chapter), source.path)


class _Book:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self._allowed = _MAX_BOOK  # bytes that may still be unpacked

    def read(self, name: str) -> bytes:
        with self.archive.open(name) as file:
            content = file.read(min(_MAX_PAGE, self._allowed) + 1)
        self._allowed -= len(content)
        if len(content) > _MAX_PAGE or self._allowed < 0:
            raise UserError(f"{name!r} in it unpacks to too much (a decompression bomb?)")
        return content

    def size_of(self, name: str) -> int:
        """Return how many characters of text a page has that is not read; 0 if it is damaged."""
        try:
            text, left = page_text(decode_page(self.read(name)))
        except (UserError, OSError, zipfile.BadZipFile, zlib.error):
            return 0
        return _characters(text).total() + left

    def pages(self) -> list[str]:
        """Return the pages in the package's reading order, else in the order of their names."""
        names = set(self.archive.namelist())
        container = _parse_xml(self.read(_CONTAINER)) if _CONTAINER in names else None
        paths = _attributes(container, "rootfile", "full-path")
        if paths and paths[0] in names:
            package = _parse_xml(self.read(paths[0]))
            ids, hrefs = (_attributes(package, "item", name) for name in ("id", "href"))
            href_of = dict(zip(ids, hrefs, strict=True))
            folder = posixpath.dirname(paths[0])
            spine = [
                posixpath.normpath(posixpath.join(folder, unquote(href_of[id])))
                for id in _attributes(package, "itemref", "idref")
                if id in href_of
            ]
            if pages := [name for name in dict.fromkeys(spine) if name in names]:
                return pages
        pages = self.further_pages([])
        if not pages:
            raise ValueError("it holds no pages")
        return pages

    def further_pages(self, pages: list[str]) -> list[str]:
        """Return the pages that are not among `pages`, in the order of their names."""
        return sorted(
            name
            for name in set(self.archive.namelist()).difference(pages)
            if name.lower().endswith(_PAGE_SUFFIXES) and not name.startswith("META-INF/")
        )


def _parse_xml(content: bytes) -> Any:
    """Return the root; None if nothing can be recovered."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    return etree.fromstring(content, parser)


def _attributes(root: Any, tag: str, attribute: str) -> list[str]:
    """Return the attribute of each such element, "" where it is missing."""
    if root is None:
        return []
    return [element.get(attribute, "") for element in root.iter("{*}" + tag)]


def read_pdf(source: Source, text_column: str | None, stats: ReadStats) -> Documents:
    """Yield a file as one document; one without any text is a ReadError, as it may be scanned.

    Raises UserError if it is damaged or locked with a password.
    """
    content = read_file(source.path, source.compression, _MAX_BOOK)
    with _parsing(source, len(content), "PDF"):
        pages = _pdf_pages(content)
    text = "\n\n".join(page for page in pages if page)
    if text.strip():
        if empty := pages.count(""):
            stats.leave(source.kind, "pages without text", 0, empty)
        yield Document(text, source.path)
    else:
        what = "holds no text (is it scanned? then it needs OCR)"
        yield ReadError(what, source.path, kind="no text in a PDF")


def _pdf_pages(content: bytes) -> list[str]:
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of each oddity
    reader = PdfReader(io.BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        raise UserError("is locked with a password", mend="save it without one")
    return [page.extract_text().strip() for page in reader.pages]
