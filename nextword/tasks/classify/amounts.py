"""Whether the labels of a data set are amounts, and in which notation their numbers are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from nextword.errors import UserError
from nextword.tasks.classify.names import Placed, are_joined
from nextword.tasks.classify.numbers import (
    Notation,
    find_notations,
    has_decimal_comma_only,
    is_percentage,
    is_written_number,
    read_plain,
)

FEWEST_AMOUNTS = 3  # different fractional numbers, from which on a column is of amounts


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
        fractions = [_fractions(n, fitting, typed) >= FEWEST_AMOUNTS for n in notations]
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
    return _choose(notations, written, separator)


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


def _fractions(notation: Notation, texts: Iterable[str], numbers: Iterable[float]) -> int:
    """Count the different numbers that have a fraction."""
    values = {*map(notation.read, texts), *numbers}
    return len({value for value in values if math.isfinite(value) and value % 1})


def _may_be_several(written: Sequence[Placed]) -> bool:
    texts = [text for text, _ in written if "," in text]
    return are_joined([t for t, _ in written]) and not any(map(has_decimal_comma_only, texts))


def _readings(notations: Sequence[Notation], text: str) -> str:
    return " or ".join(f"{notation.read(text):.15g}" for notation in notations)


def _choose(
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
