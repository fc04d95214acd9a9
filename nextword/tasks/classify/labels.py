"""A label as it stands in a cell: the name of a class, several names, or a number.

Several names are a list, or text with marks between them. Numbers are read as people write them:
3,5 and 1.234,5 and 12 %. One cell alone may be read in several ways ("1,234"); which one is meant,
all of a data set tell together.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nextword.errors import UserError
from nextword.hub.heads import OutputKind
from nextword.tasks.dataset import LeftOut
from nextword.text.cells import read_value
from nextword.text.columns import is_empty, printed_as

SEPARATORS = ("|", ";", ",")  # between several labels in one text
_OPENED = re.compile(  # a tuple only if it is empty, or begins with a string
    r"\s*(?:[\[{]|\(\s*['\"]|\(\s*\)\s*\Z|(?:\w+\.)?array\(|(?:frozen)?set\()"
)
_CUT_OFF = re.compile(r"\[\s*(?:['\"]|[^\]]+,)")  # a list without its end
# What programs write where there is no value, and people as the name of a class, in lower case.
NO_LABEL = frozenset(["null", "none", "n/a", "na", "nil", "\\n", "(null)", "<null>", "?"])
BOOLEANS = ("true", "false")
FLAGS = {"0", "1", "true", "false"}  # what says of a label whether it holds
Placed = tuple[Any, str]  # a value and its place
Label = str | list[str] | float  # one class, several, an amount
_SPACES = re.compile("[ \u00a0\u2009\u202f]+")  # no-break and thin ones too
_SIGNS = str.maketrans("\u2212\u2019", "-'")
_NUMBER = re.compile(r"[+-]?\d(?:[\d.,' ]*\d)?(?:[eE][+-]?\d+)?")


def name_of(value: Any) -> str:
    """Return a class's name: 1, 1.0 and "1" are the same one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    whole = text.removesuffix(".0")
    return whole if whole != text and whole.lstrip("-").isdigit() else text


def without_spelling(name: str) -> str:
    """Return what spellings of a name have in common that people mean as one."""
    name = unicodedata.normalize("NFKC", name).casefold()
    return str(int(name)) if name.isdecimal() else name


def split_names(text: str) -> list[str]:
    """Return the names of labels that stand in one text, with bars, semicolons or commas."""
    mark = next((mark for mark in SEPARATORS if mark in text), "\0")
    return [name for part in text.split(mark) if (name := name_of(part))]


def as_list(value: Any, place: str) -> list[Any] | None:
    """Return the list that a label is, or that a table has as text: `['a', 'b']`; of an object that
    says of each name whether it holds, the names that do; None for another label. Raises UserError
    for what looks like a list and cannot be read."""
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping):
        return _names_that_hold(value, place)
    if isinstance(value, str) and printed_as(value) == "bytes":
        raise UserError(f"label {value[:80]} is bytes as text", where=place, mend="write a name")
    if not isinstance(value, str) or not _OPENED.match(value):
        return None
    read = read_value(value, place, "label ")
    if isinstance(read, list):
        return read
    if isinstance(read, Mapping):
        return _names_that_hold(read, place)
    text = value.strip()
    is_closed = text[-1] == "]"
    if text[0] == "[" and ("," in text if is_closed else _CUT_OFF.match(text)):
        raise UserError(
            f"label {text[:80]!r} looks like a list and cannot be read as one",
            where=place,
            mend='write it as JSON, e.g. ["a", "b"]',
        )
    return None


def _names_that_hold(label: Mapping[str, Any], place: str) -> list[Any]:
    """Return the names of {"joy": 1, "fear": 0}, as of spaCy's cats, that hold; or the choices of
    Label Studio."""
    if list(label) == ["choices"] and isinstance(label["choices"], list):
        return label["choices"]
    if label and all(isinstance(v, int | float) and v in (0, 1) for v in label.values()):
        return [name for name, value in label.items() if value]
    raise UserError(
        "label is an object", where=place, mend='write a name, a list of names, or {"name": 1}'
    )


def list_or_none(value: Any) -> list[Any] | None:
    """Return the list that a label is; None for another label, and for a list that is damaged."""
    try:
        return as_list(value, "")
    except UserError:
        return None


def names_in(items: Sequence[Any], place: str) -> list[str]:
    """Return the names in a list. Raises UserError where it holds something else."""
    for item in items:
        if isinstance(item, list | Mapping) or item is None or item != item:
            raise UserError(
                f"a list of labels holds {item!r}", where=place, mend="let it hold names only"
            )
    return [name for item in items if (name := name_of(item))]


def is_sound(value: Any) -> bool:
    """Return whether there is a label, and it can be read."""
    try:
        items = as_list(value, "")
        return not is_empty(value) and (items is None or names_in(items, "") is not None)
    except UserError:
        return False


def are_joined(values: Sequence[Any]) -> bool:
    """Return whether values are names joined by marks: each part of one that has a mark is in
    another value too, and there are fewer different parts than different values."""
    whole = {name_of(value) for value in values if isinstance(value, str)}
    joined = [value for value in whole if len(split_names(value)) > 1]
    parts = {part for value in whole for part in split_names(value)}
    return bool(joined) and not apart(values) and len(parts) < len(whole)


def apart(values: Sequence[Any]) -> set[str]:
    """Return the values with a mark of which some part is in no other value."""
    whole = {name_of(value): value for value in values if isinstance(value, str)}
    occurs = Counter(part for value in whole for part in set(split_names(value)))
    return {
        value
        for name, value in whole.items()
        if len(parts := split_names(name)) > 1 and any(occurs[part] < 2 for part in parts)
    }


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


@dataclass(frozen=True)
class LabelFormat:
    """How the labels of a data set are read: `unknown` are names that stand for none, `spellings`
    say how true and false are spelled."""

    kind: OutputKind
    notation: Notation = field(default_factory=lambda: Notation("."))
    unknown: frozenset[str] = frozenset()
    spellings: Mapping[str, str] = field(default_factory=dict)

    def read(self, value: Any, place: str) -> Label:
        """Return a label. Raises UserError, with the place, for what is none, and LeftOut for what
        stands for none."""
        if self.kind == "amount":
            return self._amount(value, place)
        items = as_list(value, place)
        if items is None and name_of(value) in self.unknown:
            raise LeftOut(f"whose label {name_of(value)} stands for an unknown one")
        names = split_names(name_of(value)) if items is None else names_in(items, place)
        if self.kind == "several":
            return list(dict.fromkeys(map(self._spelled, names)))
        if items is not None and len(names) != 1:
            raise UserError(
                f"holds {len(names)} labels, where each text has one",
                where=place,
                mend="mend or remove the row, or say --labels several",
            )
        return self._spelled(names[0] if items else name_of(value))

    def _spelled(self, name: str) -> str:
        return self.spellings.get(name, name)

    def _amount(self, value: Any, place: str) -> float:
        number = read_plain(value)
        if isinstance(value, str) and (number is None or self.notation.thousands):
            try:
                number = self.notation.read(value)
            except ValueError:
                number = None
        if number is None:
            raise UserError(f"label {value!r} is not a number", where=place)
        if not np.isfinite(number):
            raise UserError(f"label {value!r} is not a finite number", where=place)
        return number


def spellings_of(names: Iterable[str], classes: Collection[str]) -> dict[str, str]:
    """Return for the spellings of true and false the one that is used: the classes', or the only
    one that there is of each, or "true" and "false"."""
    own = {word: [name for name in names if name.casefold() == word] for word in BOOLEANS}
    known = {word: [name for name in classes if name.casefold() == word] for word in BOOLEANS}
    if any(known.values()):
        used = {word: found[0] for word, found in known.items() if len(found) == 1}
    else:
        used = {word: word for word in BOOLEANS if any(len(found) > 1 for found in own.values())}
    return {name: used[word] for word, found in own.items() if word in used for name in found}
