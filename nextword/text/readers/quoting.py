"""Quotes around the fields of a table: the spaces around them, and what is wrong with them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QuoteDamage:
    """A quote at `opened` that never closes, or that closes at `closed` with text after it."""

    opened: int
    closed: int | None = None


def tidy_quotes(text: str, delimiter: str, *, open_too: bool) -> tuple[str, QuoteDamage | None]:
    """Return a row without the spaces around its quoted fields, and its first damage.

    With `open_too`, spaces before a quote that does not close in `text` go as well.
    """
    quoted = re.compile(rf'( *)("(?:[^"]++|"")*+")( *)(?=[{re.escape(delimiter)}\r\n]|\Z)')
    plain = re.compile(rf"[^{re.escape(delimiter)}\r\n]*")
    tidy: list[str] = []
    at = 0
    while at < len(text):
        if field := quoted.match(text, at):
            tidy.append(field[2])
        elif text[at] == '"':
            closing = re.compile('"(?:[^"]++|"")*+"').match(text, at)
            opened = sum(map(len, tidy))
            tidy.append(text[at:])
            return "".join(tidy), QuoteDamage(opened, closing and opened + len(closing[0]) - 1)
        elif open_too and (spaces := re.compile(r" +(?=\")").match(text, at)):
            at = spaces.end()
            continue
        else:
            field = plain.match(text, at)
            assert field is not None
            tidy.append(field[0])
        at = field.end()
        tidy.append(text[at : at + 1])
        at += 1
    return "".join(tidy), None
