"""Questions with options, whose answer is the letter of one: the letter alone says nothing.

RACE keeps its options in a list, ARC in an object of texts and labels, MMLU's tables in columns
A to D.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nextword.errors import UserError
from nextword.tasks.generate.messages import parse_text
from nextword.tasks.records import SAMPLE, Record
from nextword.text.columns import holds

LISTS = ("options", "choices", "answer_choices", "endings")
COLUMNS = (
    ("a", "b", "c", "d", "e"),
    ("option_a", "option_b", "option_c", "option_d", "option_e"),
    ("opa", "opb", "opc", "opd"),
    ("option1", "option2", "option3", "option4"),
)
LETTERS = "ABCDEFGHIJ"
AS_LETTER = "answers that were the letter of an option: its text is read"
_LETTER = re.compile(r"\s*\(?([A-Ja-j])[).:]?\s*|\s*(\d)\s*")


@dataclass(frozen=True)
class Options:
    """The columns that hold the options of a question: one that has them all, or one for each."""

    columns: tuple[str, ...]

    @classmethod
    def find(
        cls, records: Sequence[Record], names: Mapping[str, str], answers: Sequence[str]
    ) -> Options | None:
        """Return the options that answers are letters of; None where they are none. `names` are the
        columns by lower case."""
        columns = _columns(names, answers)
        given = [r[answer] for r in records[:SAMPLE] for answer in answers if holds(r[answer])]
        are_letters = any(_LETTER.fullmatch(str(value)) for value in given)
        return cls(columns) if columns and are_letters else None

    def text_of(self, answer: Any, record: Record) -> str | None:
        """Return the text of the option that an answer stands for; None for any other answer.

        Raises UserError for the number of an option, which some count from 0 and some from 1, and
        for a letter that no option has.
        """
        match = _LETTER.fullmatch(str(answer))
        texts = self.read(record)
        if match is None or isinstance(answer, bool) or not texts:
            return None
        mark = str(answer).strip()
        if mark in texts.values():
            return None
        letter = (match[1] or match[2]).upper()
        if letter in texts:
            return texts[letter]
        shown = ", ".join(f"{letter} {text!r}" for letter, text in texts.items())
        what = f"answer {mark!r} is none of the options {shown}"
        if match[2]:
            what = f"answer {mark!r} may be the number of an option, counted from 0 or from 1"
        raise UserError(what, where=record.place, mend="write the option's text as the answer")

    def read(self, record: Record) -> dict[str, str]:
        """Return the texts of a record's options by their letters."""
        if len(self.columns) > 1:
            texts = [record[column] for column in self.columns]
            labels: Sequence[Any] = LETTERS
        else:
            held = parse_text(record[self.columns[0]], record.place)
            labels = LETTERS
            if isinstance(held, Mapping) and isinstance(held.get("text"), list):
                labels, held = held.get("label") or LETTERS, held["text"]
            elif isinstance(held, Mapping):
                labels, held = list(held), list(held.values())
            elif isinstance(held, list) and held and isinstance(held[0], Mapping):
                keys = ("label", "key", "id"), ("text", "content", "value")
                labels, held = ([_first(item, names) for item in held] for names in keys)
            texts = held if isinstance(held, list) else []
        pairs = zip(map(str, labels), texts, strict=False)
        return {label.strip().upper(): str(text).strip() for label, text in pairs if holds(text)}


def _first(item: Any, names: Sequence[str]) -> Any:
    values = (item.get(name) for name in names) if isinstance(item, Mapping) else ()
    return next((value for value in values if value is not None), "")


def _columns(names: Mapping[str, str], answers: Sequence[str]) -> tuple[str, ...]:
    left = {low: name for low, name in names.items() if name not in answers}
    for name in LISTS:
        if name in left:
            return (left[name],)
    for group in COLUMNS:
        if found := tuple(left[name] for name in group if name in left):
            return found if len(found) > 1 else ()
    return ()
