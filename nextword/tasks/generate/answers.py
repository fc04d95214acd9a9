"""The answers of a question: in lists and objects, also held as text, and where they stand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nextword.errors import UserError
from nextword.tasks.dataset import emptiness, text_of
from nextword.tasks.generate.columns import ANSWERABLE, IMPOSSIBLE, STARTS
from nextword.tasks.generate.instructions import quoted
from nextword.tasks.generate.messages import parse_text
from nextword.tasks.generate.options import AS_LETTER, Options
from nextword.tasks.records import Columns, Record
from nextword.text.columns import holds

NEAR = 2  # characters by which a place may be wrong: some data sets count a space or quote more
TRUE, FALSE = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")
AS_TEXT = "answers read from a list or an object that was held as text"
BLANK = "empty answers beside others are not read"
MOVED = "answers that do not stand quite where the data says: found in the text"
NOT_IN_TEXT = "answers that the data gives a place for, and that do not stand in the text"
_OPENED = re.compile(r"\[\s*['\"]|\{\s*['\"]")
_OF_ANSWER = ("text", "answer_start")


@dataclass(frozen=True)
class Answer:
    """`start` is the character of the context that the answer begins at, as the data has it."""

    text: str
    start: int | None = None


def read_answers(
    record: Record,
    columns: Columns,
    unused: set[str],
    notes: Counter[str],
    options: Options | None = None,
) -> list[Answer]:
    """Return the answers of a question in order, none where it has no answer. One that is the
    letter of one of its `options` is that option.

    Keys that are not read are put in `unused`. Raises UserError, with the place, for an answer that
    is missing or empty, and for a record that contradicts itself.
    """
    place = record.place
    possible, said = _said_possible(record, columns) or (None, "")
    starts = next((s for n in reversed(STARTS) if holds(s := _extra(record, columns, n))), None)
    given: list[tuple[Any, Any]] = []
    are_listed = False
    for column in columns.targets:
        value = _held_value(record[column], column, place, notes)
        are_listed |= isinstance(value, list | Mapping)
        for one, start in _pairs(value, starts, column, place, unused):
            chosen = None if options is None or not holds(one) else options.text_of(one, record)
            notes.update([AS_LETTER] * (chosen is not None))
            given.append((one if chosen is None else chosen, start))
    names = ", ".join(columns.targets)
    answers = [
        Answer(text, _start(start, place))
        for value, start in given
        if (text := text_of(value, names, place))
    ]
    if answers and possible is False:
        raise UserError(
            f"contradicts itself: {said}, and the answer is {quoted(answers[0].text)}",
            where=place,
            mend="mend one of them",
        )
    if not answers and (possible or (possible is None and not (are_listed and not given))):
        several = len(columns.targets) > 1
        what = f"column {names!r} is {emptiness(record[columns.targets[0]])}"
        what = f"columns {names} are empty" if several else what
        what += f", and {said}" if possible else ""
        mend = "write it, or remove the row; a question that has no answer has the answers []"
        raise UserError(what, where=place, mend=mend)
    if answers and are_listed and len(answers) < len(given):
        notes[BLANK] += len(given) - len(answers)
    return answers


def _extra(record: Record, columns: Columns, name: str) -> Any:
    column = next((extra for extra in columns.extras if extra.strip().lower() == name), None)
    return None if column is None else record[column]


def _said_possible(record: Record, columns: Columns) -> tuple[bool, str] | None:
    """Return whether the record says that there is an answer, and how; None where it does not."""
    for name in (*IMPOSSIBLE, *ANSWERABLE):
        value = _extra(record, columns, name)
        if not holds(value):
            continue
        written = str(value).strip().lower()
        if written not in TRUE + FALSE:
            raise UserError(f"{name} is {value!r}", where=record.place, mend="give true or false")
        said = f"{name} is {str(written in TRUE).lower()}"
        return (written in TRUE) == (name in ANSWERABLE), said
    return None


def _held_value(value: Any, column: str, place: str, notes: Counter[str]) -> Any:
    """Return the list or object of answers that is held as text; any other value as it is."""
    if not isinstance(value, str):
        return value
    held = parse_text(value, place)
    if isinstance(held, Mapping) and "text" in held:
        notes[AS_TEXT] += 1
        return held
    items: tuple[type, ...] = (str, Mapping, type(None))
    if column.lower().endswith("answers"):  # an answer alone may well be "[3]"
        items += (int, float)
    if isinstance(held, list) and all(isinstance(item, items) for item in held):
        notes[AS_TEXT] += 1
        return held
    if held is value and _OPENED.match(value.lstrip()) and not value.rstrip().endswith(("]", "}")):
        raise UserError(
            f"column {column!r} looks like a list that is not closed",
            where=place,
            mend='write it as JSON, e.g. ["a", "b"]',
        )
    return value


def _pairs(
    value: Any, starts: Any, column: str, place: str, unused: set[str]
) -> Iterator[tuple[Any, Any]]:
    """Yield answers, each with where it is said to begin."""
    if isinstance(value, Mapping):  # {"text": [...], "answer_start": [...]}
        unused |= {f"{column}.{k}" for k, v in value.items() if k not in _OF_ANSWER and holds(v)}
        own = value.get("answer_start")
        texts = value.get("text")
        if isinstance(texts, list) and isinstance(own, list) and len(own) > len(texts):
            raise UserError(
                f"column {column!r} has {len(texts)} answers and {len(own)} places",
                where=place,
                mend="give one place for each answer",
            )
        yield from _pairs(texts, starts if own is None else own, column, place, unused)
        return
    if not isinstance(value, list):
        yield value, _at(starts, 0, place)
        return
    for number, item in enumerate(value):
        if isinstance(item, Mapping):
            yield from _pairs(item, _at(starts, number, place), column, place, unused)
        else:
            yield item, _at(starts, number, place)


def _at(starts: Any, number: int, place: str) -> Any:
    """Return the place of an answer by its number; a single one is that of the first answer."""
    starts = parse_text(starts, place)
    starts = starts if isinstance(starts, list) else [starts]
    return starts[number] if number < len(starts) else None


def _start(value: Any, place: str) -> int | None:
    """Return where an answer begins; None where that is not known, which some write as -1."""
    if not holds(value):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.5
    if isinstance(value, bool) or not number.is_integer():
        raise UserError(
            f"answer_start is {value!r}, which is no whole number", where=place, mend="mend it"
        )
    return int(number) if number >= 0 else None


def check_start(answer: Answer, context: str, place: str, notes: Counter[str]) -> int:
    """Return the character of a context that an answer begins at, near the one that is said.

    Some data sets count UTF-16 units or bytes, or not the spaces before the text, or a character
    or two more or less. Raises UserError where the answer stands in several other places.
    """
    text, start = answer.text, answer.start or 0
    if context.startswith(text, start):
        return start
    found = [match.start() for match in re.finditer(re.escape(text), context)]
    if not found:
        notes[NOT_IN_TEXT] += 1
        return start
    units = context.encode("utf-16-le")[: 2 * start].decode("utf-16-le", errors="ignore")
    octets = context.encode()[:start].decode(errors="ignore")
    skipped = len(context) - len(context.lstrip())
    counted = {len(units), len(octets), start + skipped} & set(found)
    near = [other for other in found if abs(other - start) <= NEAR]
    meant = next((some for some in (list(counted), near) if len(some) == 1), found)
    if len(meant) > 1:
        places = ", ".join(map(str, found[:4])) + (", ..." if len(found) > 4 else "")
        raise UserError(
            f"contradicts itself: at answer_start {start} stands "
            f"{quoted(context[start : start + len(text)])}, and the answer {quoted(text)} "
            f"stands at {places}",
            where=place,
            mend="mend answer_start",
        )
    notes[MOVED] += 1
    return meant[0]
