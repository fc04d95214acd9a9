"""Labels that are amounts: whether those of a data set are, and how their numbers are written.

Numbers are read as people write them: 3,5 and 1.234,5 and 12 %. One cell alone may be read in
several ways ("1,234"); which one is meant, all of a data set tell together.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nextword.errors import UserError
from nextword.tasks.classify.labels import Placed, are_joined

FEWEST_AMOUNTS = 3  # different fractional numbers, from which on a column is of amounts
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


def read_amount(value: Any, notation: Notation, place: str) -> float:
    """Return the number that a label is. Raises UserError, with the place, for none."""
    number = read_plain(value)
    if isinstance(value, str) and (number is None or notation.thousands):
        try:
            number = notation.read(value)
        except ValueError:
            number = None
    if number is None:
        raise UserError(f"label {value!r} is not a number", where=place)
    if not math.isfinite(number):
        raise UserError(f"label {value!r} is not a finite number", where=place)
    return number


def find_amounts(
    labels: Sequence[Placed], separator: Callable[[], str], *, sure: bool
) -> Notation | None:
    """Return how numbers are written where labels are amounts, None where they are not: fewer than
    three of them differ and have a fraction. Where that is `sure` they are amounts in any case.

    Raises UserError where most are fractional numbers, and some are none; and where it is not clear
    which number is meant.
    """
    values = [value for value, _ in labels]
    written = [(v, p) for v, p in labels if isinstance(v, str) and is_written_number(v)]
    texts = [text for text, _ in written]
    first, *more = find_notations(texts)
    fitting = set(filter(first.fits, texts))
    notations = [first, *(notation for notation in more if all(map(notation.fits, fitting)))]
    rest = [(v, p) for v, p in labels if not isinstance(v, str) or v not in fitting]
    typed = [number for value, _ in rest if (number := read_plain(value)) is not None]
    others = [(value, place) for value, place in rest if read_plain(value) is None]
    if not sure:
        fractions = [_count_fractions(n, fitting, typed) >= FEWEST_AMOUNTS for n in notations]
        if not any(fractions) or len(others) > len(labels) / 2:
            return None
        if others and are_joined(values):
            return None
        if others:
            raise UserError(
                f"label {others[0][0]!r} is not a number, as most of the others are",
                where=others[0][1],
                mend="mend or remove the row, or say --labels single or several if they are names",
            )
        _check_percentages(labels)
        if _may_be_several(written) and separator() != ";":
            text, place = next((t, p) for t, p in written if "," in t)
            one, _, other = text.partition(",")
            raise UserError(
                f"label {text!r} may be several labels ({one.strip()} and {other.strip()}) or the "
                f"number {_readings(notations, text)}",
                where=place,
                mend="say --labels several or --labels amount",
            )
    return _choose_notation(notations, written, separator)


def _check_percentages(labels: Sequence[Placed]) -> None:
    """Raise UserError where some amounts are in percent, and others are not."""
    others = [(value, place) for value, place in labels if not is_percentage(str(value))]
    if 0 < len(others) < len(labels):
        value, place = others[0]
        raise UserError(
            f"label {value!r} is not in percent, as others are",
            where=place,
            mend="write all of them alike",
        )


def _count_fractions(notation: Notation, texts: Iterable[str], numbers: Iterable[float]) -> int:
    """Count the different numbers that have a fraction."""
    values = {*map(notation.read, texts), *numbers}
    return len({value for value in values if math.isfinite(value) and value % 1})


def _may_be_several(written: Sequence[Placed]) -> bool:
    texts = [text for text, _ in written if "," in text]
    return are_joined([t for t, _ in written]) and not any(map(has_decimal_comma_only, texts))


def _readings(notations: Sequence[Notation], text: str) -> str:
    return " or ".join(f"{notation.read(text):.15g}" for notation in notations)


def _choose_notation(
    notations: Sequence[Notation], written: Sequence[Placed], separator: Callable[[], str]
) -> Notation:
    """Return the notation that is meant; where two fit, the separator of the columns tells."""
    plain = Notation(".")
    if len(notations) == 1 or (plain in notations and separator() != ";"):
        return plain if plain in notations else notations[0]
    decimal = {";": ",", ",": "."}.get(separator())
    fitting = [n for n in notations if n.decimal == decimal and plain not in notations]
    if len(fitting) == 1:
        return fitting[0]
    text, place = next((text, place) for text, place in written if notations[0].fits(text))
    raise UserError(
        f"label {text!r} may be the number {_readings(notations, text)}",
        where=place,
        mend="write numbers with a point before decimals and nothing between thousands",
    )


def notes_of_amounts(notation: Notation, values: Iterable[Any]) -> Counter[str]:
    """Count what people should know of how amounts are read."""
    notes: Counter[str] = Counter()
    texts = [value for value in values if isinstance(value, str)]
    if percentages := sum(map(is_percentage, texts)):
        notes["amounts in percent, read as they stand (12% is 12)"] = percentages
    marked = [text for text in filter(notation.fits, texts) if read_plain(bare(text)) is None]
    if marked:
        number = f"{notation.read(marked[0]):.15g}"
        notes[f"amounts with marks, as {marked[0]!r} is {number}"] = len(marked)
    return notes
