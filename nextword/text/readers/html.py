"""Web pages: their main text through trafilatura, or all of it where that finds none."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any

from nextword.errors import UserError
from nextword.text.compression import read_whole
from nextword.text.document import Bad, Document, Source, Tally
from nextword.text.encoding import decode, detect
from nextword.text.limits import TookTooLong, deadline, seconds_for

_LIMIT = 2**26  # bytes of one page
_CHARSET = re.compile(
    rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*[\"']?([\w-]+)", re.I
)
_DROPPED = re.compile("script|style|head|template|noscript|svg|nav|form|iframe|object|button")
_BLOCKS = re.compile(
    "address|article|aside|blockquote|body|br|d[dlt]|div|fig(caption|ure)|footer|h[1-6]|header|hr|"
    "li|main|[ou]l|p|pre|section|table|t[dhr]"
)


def read_html(source: Source, text_column: str | None, tally: Tally) -> Iterator[Document | Bad]:
    content = read_whole(source.path, source.compression, _LIMIT)
    try:
        with deadline(seconds_for(len(content))):
            html = decode_page(content)
            text = main_text(html) or all_text(html)
    except TookTooLong:
        raise UserError("takes too long to take apart", where=source.path) from None
    yield Document(text, source.path)


def decode_page(content: bytes) -> str:
    """The page as text; what it says of its own encoding counts, if its bytes agree."""
    declared = _CHARSET.search(content[:2048])
    if declared:
        name = declared.group(1).decode("ascii", "replace").lower()
        name = {"gb2312": "gb18030", "gbk": "gb18030", "iso-8859-1": "cp1252"}.get(name, name)
        try:
            if codecs.lookup(name)._is_text_encoding:
                return content.decode(name)
        except (LookupError, UnicodeError):
            pass
    return decode(content, detect(content))


def main_text(html: str) -> str:
    """The article without menus, advertisements and footers; "" if there seems to be none."""
    import logging

    import trafilatura

    for name in ("trafilatura", "htmldate", "courlan", "justext"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # of each page it cannot parse
    try:
        return trafilatura.extract(html, include_comments=False, deduplicate=False) or ""
    except Exception:  # whatever a broken page does to it, the plain way is left
        return ""


def all_text(html: str) -> str:
    """All text outside scripts, styles and forms, a block a line."""
    from lxml import etree
    from lxml import html as parser

    content = html.encode("utf-8", "replace")
    try:
        root = parser.document_fromstring(content, parser=parser.HTMLParser(encoding="utf-8"))
    except (etree.ParserError, ValueError, AssertionError):  # nothing in it
        return ""
    return tree_text(root)


def tree_text(root: Any) -> str:
    """The text of an lxml tree, a block a line, walked without recursion."""
    from lxml import etree

    parts: list[str] = []
    dropped: Any = None  # the element whose inside is being left out
    for event, element in etree.iterwalk(root, events=("start", "end", "comment", "pi")):
        name = element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else None
        is_block = name is not None and _BLOCKS.fullmatch(name) is not None
        if dropped is None and is_block:
            parts.append("\n")
        if event == "start":
            if dropped is None and name is not None and _DROPPED.fullmatch(name):
                dropped = element
            if dropped is None and element.text:
                parts.append(re.sub(r"\s+", " ", element.text))
            continue
        if element is dropped:
            dropped = None
        if dropped is None and element.tail and element is not root:
            parts.append(re.sub(r"\s+", " ", element.tail))
    lines = (line.strip() for line in "".join(parts).split("\n"))
    return "\n".join(line for line in lines if line)
