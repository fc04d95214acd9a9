"""Templates of prompts: text with {fields}, chosen by task and language."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nextword.errors import UserError, nearest
from nextword.text.cleaning import detect_language

SAMPLE = 200  # texts whose language decides on that of a template
_FIELD = re.compile(r"\{\{|\}\}|\{([^{}\n]*)\}|[{}]")

# Fields stand on lines of their own, so that their text is cut into the same tokens as if it had
# been read together with what is around it.
ENGLISH = {
    "qa": "{context}\n\nQuestion:\n{question}\n\nAnswer:\n",
    "summarize": "{document}\n\nSummary:\n",
    "translate": "{source}\n\nTranslation:\n",
}
CHINESE = {
    "qa": "{context}\n\n问题：\n{question}\n\n答案：\n",
    "summarize": "{document}\n\n摘要：\n",
    "translate": "{source}\n\n译文：\n",
}


@dataclass(frozen=True)
class Field:
    name: str


Piece = str | Field


PAIRED = {"qa": "{question}\n\n{context}", "summarize": "{document}", "translate": "{source}"}


def default_template(task: str, spoken: str, apart: bool = False) -> str:
    """The usual one, where texts of the language `spoken` are followed by their answer, or stand
    `apart` from it in an encoder."""
    if apart:
        return PAIRED[task]
    return (CHINESE if spoken == "zh" else ENGLISH)[task]


def main_language(texts: Iterable[str]) -> str:
    """The language of most of the characters of some texts: "en", "zh", ..."""
    return detect_language("\n".join(list(texts)[:SAMPLE]))


def parse_template(text: str, known: Sequence[str], where: str = "--prompt") -> list[Piece]:
    """The pieces of a template: text, and the fields in braces; `{{` and `}}` are braces.

    `\\n` and `\\t` are a new line and a tab, as a shell does not write them. Raises UserError for
    a field that is not known, a brace that stands alone, or no field at all.
    """
    text = text.replace("\\n", "\n").replace("\\t", "\t")
    pieces: list[Piece] = []
    end = 0
    for match in _FIELD.finditer(text):
        pieces.append(text[end : match.start()])
        end = match.end()
        found, name = match.group(), match.group(1)
        if name is not None:
            if name not in known:
                raise UserError(f"has no column {name!r}", where=where, mend=nearest(name, known))
            pieces.append(Field(name))
        elif len(found) == 2:
            pieces.append(found[0])
        else:
            raise UserError(
                f"{found!r} at character {match.start() + 1} stands alone",
                where=where,
                mend=f"write a column as {{name}}, and a brace itself as {found * 2}",
            )
    pieces.append(text[end:])
    joined = _joined(pieces)
    if not any(isinstance(piece, Field) for piece in joined):
        raise UserError(
            "names no column", where=where, mend=f"name some, such as {{{next(iter(known))}}}"
        )
    return joined


def fields_of(text: str) -> set[str]:
    """Return the names of the fields that a template has, known or not."""
    return {match.group(1) for match in _FIELD.finditer(text) if match.group(1) is not None}


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Neighbouring stretches of text made one; empty ones left out."""
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece != "":
            joined.append(piece)
    return joined
