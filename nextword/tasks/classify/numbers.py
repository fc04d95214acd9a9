"""Numbers as people write them: 3,5 and 1.234,5 and 12 %, told by all numbers of a column together.

One cell alone may be read in two ways ("1,234"); most columns can be read in one way only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_SPACES = re.compile("[ \u00a0\u2009\u202f]+")  # no-break and thin ones too
_SIGNS = str.maketrans("\u2212\u2019", "-'")
_NUMBER = re.compile(r"[+-]?\d(?:[\d.,' ]*\d)?(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Notation:
    """How numbers are written: the mark before decimals, and the one between thousands, if any."""

    decimal: str
    thousands: str = ""

    def fits(self, text: str) -> bool:
        """Return whether a number is written like this."""
        digits = r"\d+"
        if self.thousands:
            digits = rf"(?:[1-9]\d{{0,2}}(?:{re.escape(self.thousands)}\d{{3}})+|\d+)"
        pattern = rf"[+-]?{digits}(?:{re.escape(self.decimal)}\d+)?(?:[eE][+-]?\d+)?"
        return re.fullmatch(pattern, bare(text)) is not None

    def read(self, text: str) -> float:
        """Return the number that is written. Raises ValueError for another notation."""
        if not self.fits(text):
            raise ValueError(text)
        digits = bare(text).replace(self.thousands, "") if self.thousands else bare(text)
        return float(digits.replace(self.decimal, "."))


NOTATIONS = [
    Notation("."),
    Notation(","),
    *(Notation(".", mark) for mark in ", '"),
    *(Notation(",", mark) for mark in ". '"),
]


def bare(text: str) -> str:
    """Return a number without the spaces around it and a percent sign after it."""
    text = _SPACES.sub(" ", text.translate(_SIGNS)).strip()
    return text[:-1].rstrip() if text[-1:] in ("%", "\uff05") else text


def is_percentage(text: str) -> bool:
    """Return whether a percent sign stands after a number."""
    return text.rstrip()[-1:] in ("%", "\uff05")


def read_plain(value: Any) -> float | None:
    """Return a number, or text that Python reads as one, as a float; None for anything else."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def is_written_number(text: str) -> bool:
    """Return whether text is a number in some notation."""
    return _NUMBER.fullmatch(bare(text)) is not None and any(n.fits(text) for n in NOTATIONS)


def find_notations(texts: Sequence[str]) -> list[Notation]:
    """Return the notations that fit all of these numbers, or else as many as any does; of those
    that give the same values only the first."""
    counts = {notation: sum(map(notation.fits, texts)) for notation in NOTATIONS}
    found: dict[tuple[float, ...], Notation] = {}
    for notation, count in counts.items():
        if count == max(counts.values()):
            fitting = filter(notation.fits, texts)
            found.setdefault(tuple(map(notation.read, fitting)), notation)
    return list(found.values())


def has_decimal_comma_only(text: str) -> bool:
    """Return whether a number with a comma cannot be two labels that a comma separates: a part
    comes twice ("5,5"), begins with a zero ("3,05"), has a sign, a percent sign or an exponent."""
    parts = bare(text).split(",")
    if len(parts) != 2:
        return False
    written_as_number = is_percentage(text) or not all(part.isdigit() for part in parts)
    return written_as_number or parts[0] == parts[1] or bool(re.match(r"0\d", parts[1]))
