"""EPUB: a zip of pages in reading order; a book is one document."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from nextword.errors import UserError
from nextword.text.compression import read_whole
from nextword.text.document import Bad, Document, Source, Tally, why
from nextword.text.limits import TookTooLong, deadline, seconds_for
from nextword.text.readers.html import all_text, decode_page

_LIMIT = 2**28  # bytes of a book, packed, and of its pages, unpacked
_PAGE = 2**26
_PAGE_SUFFIXES = (".xhtml", ".html", ".htm", ".xml")


def read_epub(source: Source, text_column: str | None, tally: Tally) -> Iterator[Document | Bad]:
    content = read_whole(source.path, source.compression, _LIMIT)
    try:
        with deadline(seconds_for(len(content))), zipfile.ZipFile(io.BytesIO(content)) as archive:
            book = _Book(archive)
            chapters = [all_text(decode_page(book.read(name))) for name in book.pages()]
    except UserError:
        raise
    except TookTooLong:
        raise UserError("takes too long to take apart", where=source.path) from None
    except Exception as error:  # zipfile raises a dozen kinds for damaged archives
        raise UserError(f"is not a whole EPUB file ({why(error)})", where=source.path) from None
    yield Document("\n\n".join(chapter for chapter in chapters if chapter), source.path)


class _Book:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self._allowed = _LIMIT  # bytes that may still be unpacked

    def read(self, name: str) -> bytes:
        with self.archive.open(name) as file:
            content = file.read(min(_PAGE, self._allowed) + 1)
        self._allowed -= len(content)
        if len(content) > _PAGE or self._allowed < 0:
            raise UserError(f"{name!r} in it unpacks to too much (a decompression bomb?)")
        return content

    def pages(self) -> list[str]:
        """The pages in reading order, as the package says, else in the order of their names."""
        names = set(self.archive.namelist())
        container = _xml(self.read("META-INF/container.xml")) if _CONTAINER in names else None
        paths = _attributes(container, "rootfile", "full-path")
        if paths and paths[0] in names:
            package = _xml(self.read(paths[0]))
            folder = posixpath.dirname(paths[0])
            hrefs = dict(
                zip(
                    _attributes(package, "item", "id"),
                    _attributes(package, "item", "href"),
                    strict=True,
                )
            )
            order = [hrefs[i] for i in _attributes(package, "itemref", "idref") if i in hrefs]
            found = [posixpath.normpath(posixpath.join(folder, unquote(href))) for href in order]
            if pages := [name for name in dict.fromkeys(found) if name in names]:
                return pages
        pages = sorted(name for name in names if name.lower().endswith(_PAGE_SUFFIXES))
        pages = [name for name in pages if not name.startswith("META-INF/")]
        if not pages:
            raise ValueError("it holds no pages")
        return pages


_CONTAINER = "META-INF/container.xml"


def _xml(content: bytes) -> Any:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    return etree.fromstring(content, parser)  # None if nothing can be recovered


def _attributes(root: Any, tag: str, attribute: str) -> list[str]:
    """The attribute of each such element, "" where it is missing."""
    if root is None:
        return []
    return [element.get(attribute, "") for element in root.iter("{*}" + tag)]
