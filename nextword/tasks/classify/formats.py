"""How the labels of a data set are read: as one of several classes, several at once, or an amount.

All of them together tell: "3,5" is a number among numbers with a decimal comma, and two labels
where 3 and 5 come alone too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from nextword.errors import UserError
from nextword.hub.heads import OutputKind
from nextword.tasks.classify.labels import (
    FLAGS,
    NO_LABEL,
    LabelFormat,
    Notation,
    Placed,
    apart,
    are_joined,
    as_list,
    bare,
    find_notations,
    has_decimal_comma_only,
    is_percentage,
    is_sound,
    is_written_number,
    list_or_none,
    name_of,
    read_plain,
    spellings_of,
    split_names,
    without_spelling,
)

AS_CLASS = "none"  # in lower case people write it, and programs do not
UNKNOWN_CLASS, DISAGREED = "-1", "-"  # the number of no class; SNLI's mark of no majority
FEW_ALONE = 1  # names that no other record has, where all others are common
ODD = 0.2  # of the labels with marks: so few may be mistakes
RARE = 0.05  # of all labels: a class number -1 so rare, among classes from 0 on, is no class
FEWEST_AMOUNTS = 3  # different fractional numbers, from which on a column is of amounts


def find_format(
    labels: Sequence[Placed],
    kind: OutputKind | None,
    separator: Callable[[], str] = str,
    classes: Collection[str] = (),
    *,
    marks_unknown: bool = False,
) -> LabelFormat:
    """Return how labels are read, told by all of them; missing ones do not count.

    `kind` is given or found out; `separator()` is what separates the columns of the file, "" if
    that is not known; `classes` are those that a model knows already. With `marks_unknown` a class
    number -1 is none. Raises UserError where labels can be read in two ways, and says how to
    choose; and where none is known.
    """
    asked = kind
    given = [(value, place) for value, place in labels if is_sound(value)]
    lists = [as_list(value, place) for value, place in given]
    _refuse_flags([items for items in lists if items is not None], given)
    scalars = [pair for pair, items in zip(given, lists, strict=True) if items is None]
    if kind in (None, "amount"):
        notation = find_amounts(scalars, separator, sure=kind == "amount")
        if notation is not None and kind is None and len(scalars) < len(given):
            value, place = next(pair for pair in given if pair not in scalars)
            raise UserError(
                f"label {value!r} is a list, and others are numbers",
                where=place,
                mend="mend or remove the row, or say --labels several or --labels amount",
            )
        if notation is not None or kind == "amount":
            return LabelFormat("amount", notation or Notation("."))
    if kind is None:
        kind = "several" if len(scalars) < len(given) or _are_several(scalars) else "single"
    names = Counter(name_of(value) for value, _ in scalars)
    names.update(name_of(item) for items in lists if items for item in items)
    unknown = _unknown(names + Counter(classes), marks_unknown or bool(classes)) - set(classes)
    if doubtful := {n for n in names if n.lower() in NO_LABEL} - set(classes) - {AS_CLASS}:
        if asked is None:
            raise _may_be_no_label(doubtful, given, kind)
        unknown |= doubtful if classes else set()
    if names and set(names) <= unknown | ({UNKNOWN_CLASS} - set(classes)):
        raise UserError(
            f"has no label that is known: all are {next(iter(names))}",
            where=given[0][1],
            mend="give labelled examples, or name another --label-column",
        )
    return LabelFormat(kind, unknown=unknown, spellings=spellings_of(names, classes))


def _refuse_flags(lists: Sequence[list[Any]], given: Sequence[Placed]) -> None:
    """Raise UserError for lists that say 0 or 1, or a share, of each label, whose names they do not
    tell."""
    items = [item for items in lists for item in items]
    are_shares = all(isinstance(item, float) and 0 <= item <= 1 for item in items)
    if are_shares and any(item % 1 for item in items):
        raise UserError(
            f"labels are lists of {len(lists[0])} shares, which do not say what they stand for",
            where=given[0][1],
            mend="write the name of the class that has the largest one",
        )
    length = len(lists[0]) if len(lists) > 1 else 0
    if length > 1 and all(
        len(items) == length and {name_of(item) for item in items} <= FLAGS for items in lists
    ):
        raise UserError(
            f"labels are lists of {length} flags, 0 or 1, which do not say what they stand for",
            where=given[0][1],
            mend='write the names of those that are 1, e.g. ["joy", "fear"]',
        )


def _may_be_no_label(names: set[str], given: Sequence[Placed], kind: OutputKind) -> UserError:
    """An error that asks whether a name is that of a class."""
    having = [
        (name, place)
        for value, place in given
        for name in map(name_of, list_or_none(value) or [value])
        if name in names
    ]
    return UserError(
        f"label {having[0][0]!r} may be a class, or say that there is no label "
        f"({len(having):,} of {len(given):,})",
        where=having[0][1],
        mend=f"remove these rows, or say --labels {kind} if it is a class",
    )


def notes_of(format_: LabelFormat, labels: Iterable[Placed]) -> Counter[str]:
    """Count what people should know of how labels are read."""
    notes: Counter[str] = Counter()
    values = [value for value, _ in labels if is_sound(value)]
    texts = [value for value in values if isinstance(value, str)]
    if format_.kind == "amount":
        if percentages := sum(map(is_percentage, texts)):
            notes["amounts in percent, read as they stand (12% is 12)"] = percentages
        fitting = filter(format_.notation.fits, texts)
        marked = [text for text in fitting if read_plain(bare(text)) is None]
        if marked:
            number = f"{format_.notation.read(marked[0]):.15g}"
            notes[f"amounts with marks, as {marked[0]!r} is {number}"] = len(marked)
        return notes
    names = Counter(
        format_.spellings.get(name, name)
        for value in values
        for name in map(name_of, list_or_none(value) or [value])
    )
    spelled = Counter(map(without_spelling, names))
    alike = sorted(name for name in names if spelled[without_spelling(name)] > 1)
    if alike:
        shown = ", ".join(map(repr, alike[:4]))
        what = "labels that differ only in upper and lower case, width or zeros before a number"
        what += f", kept apart ({shown})"
        notes[what] = sum(names[name] for name in alike)
    alone = [name for name, count in names.items() if count == 1]
    if 0 < len(alone) <= FEW_ALONE and names.total() > FEW_ALONE * 10 * len(names):
        notes[f"labels that stand in one record only ({', '.join(alone)})"] = len(alone)
    if AS_CLASS in names:
        notes[f"labels {AS_CLASS!r}, read as a class like the others"] = names[AS_CLASS]
    if UNKNOWN_CLASS in names and UNKNOWN_CLASS not in format_.unknown:
        numbers = [int(name) for name in names if name.lstrip("-").isdigit()]
        if len(numbers) == len(names) and max(numbers) > 1 and min(numbers) == -1:
            notes["labels -1, read as a class like the others"] = names[UNKNOWN_CLASS]
    return notes


def _are_several(labels: Sequence[Placed]) -> bool:
    """Return whether labels are names joined by marks. Raises UserError where most are, and some
    are not."""
    values = [value for value, _ in labels]
    if are_joined(values):
        return True
    odd = apart(values)
    joined = {value for value in values if isinstance(value, str) and len(split_names(value)) > 1}
    if 0 < len(odd) <= ODD * len(joined) and are_joined([v for v in values if v not in odd]):
        value, place = next(pair for pair in labels if pair[0] in odd)
        raise UserError(
            f"label {value!r} has marks as the labels with several names have, but its names are "
            "not among theirs",
            where=place,
            mend="mend or remove the row, or say --labels several or --labels single",
        )
    return False


def _unknown(names: Counter[str], marks_unknown: bool) -> frozenset[str]:
    """Return the names that stand for an unknown label, where there are others beside them."""
    unknown = set()
    others = [name for name in names if name not in (DISAGREED, UNKNOWN_CLASS)]
    if len(others) >= 2 and all(any(map(str.isalnum, name)) for name in others):
        unknown |= {DISAGREED} & set(names)
    if UNKNOWN_CLASS in names and len(others) >= 2:
        if not any(read_plain(name) is not None for name in others):
            unknown.add(UNKNOWN_CLASS)
        elif sorted(others, key=lambda n: (len(n), n)) == [str(n) for n in range(len(others))]:
            count = names[UNKNOWN_CLASS]
            is_rare = count < RARE * names.total() and count < min(names[n] for n in others)
            if marks_unknown or (len(others) > 2 and is_rare):
                unknown.add(UNKNOWN_CLASS)
    return frozenset(unknown)


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
