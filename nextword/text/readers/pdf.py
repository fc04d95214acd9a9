"""PDF: the text of its pages through pypdf; a file is one document."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

from nextword.errors import UserError
from nextword.text.compression import read_whole
from nextword.text.document import Bad, Document, Source, Tally, why
from nextword.text.limits import TookTooLong, deadline, seconds_for

_LIMIT = 2**28  # bytes of a file


def read_pdf(source: Source, text_column: str | None, tally: Tally) -> Iterator[Document | Bad]:
    """A file without any text is bad: most likely it is scanned."""
    content = read_whole(source.path, source.compression, _LIMIT)
    try:
        with deadline(seconds_for(len(content))):
            text = _text(content)
    except UserError:
        raise
    except TookTooLong:
        raise UserError("takes too long to take apart", where=source.path) from None
    except Exception as error:  # pypdf raises nearly anything on a damaged file
        raise UserError(f"is not a whole PDF file ({why(error)})", where=source.path) from None
    if text.strip():
        yield Document(text, source.path)
    else:
        what = "holds no text (is it scanned? then it needs OCR)"
        yield Bad(what, source.path, kind="no text in a PDF")


def _text(content: bytes) -> str:
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of each oddity
    reader = PdfReader(io.BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        raise UserError("is locked with a password", mend="save it without one")
    pages = (page.extract_text().strip() for page in reader.pages)
    return "\n\n".join(page for page in pages if page)
