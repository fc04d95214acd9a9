"""How the labels of a data set are read: as one of several classes, several at once, or an amount.

All of them together tell: "3,5" is a number among numbers with a decimal comma, and two labels
where 3 and 5 come alone too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nextword.errors import UserError
from nextword.hub.heads import OutputKind
from nextword.tasks.classify.amounts import (
    Notation,
    find_amounts,
    notes_of_amounts,
    read_amount,
    read_plain,
)
from nextword.tasks.classify.labels import (
    FLAGS,
    NO_LABEL,
    Label,
    Placed,
    apart,
    are_joined,
    as_list,
    is_sound,
    list_or_none,
    name_of,
    names_in,
    split_names,
    without_spelling,
)
from nextword.tasks.dataset import LeftOut

BOOLEANS = ("true", "false")
AS_CLASS = "none"  # in lower case people write it, and programs do not
UNKNOWN_CLASS, DISAGREED = "-1", "-"  # the number of no class; SNLI's mark of no majority
FEW_ALONE = 1  # names that no other record has, where all others are common
ODD = 0.2  # of the labels with marks: so few may be mistakes
RARE = 0.05  # of all labels: a class number -1 so rare, among classes from 0 on, is no class


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
            return read_amount(value, self.notation, place)
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
    if kind == "amount" or (kind is None and any(_has_digit(value) for value, _ in scalars)):
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


def _has_digit(value: Any) -> bool:
    return any(map(str.isdigit, str(value)))


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
    if format_.kind == "amount":
        return notes_of_amounts(format_.notation, values)
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
