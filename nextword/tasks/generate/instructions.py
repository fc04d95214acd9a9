"""Instructions with all that stands beside them: a system message, earlier turns, an input."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nextword.errors import UserError
from nextword.tasks.dataset import input_text, text_of
from nextword.tasks.generate.messages import (
    Message,
    Talk,
    are_messages,
    messages_in,
    parse_text,
    read_messages,
)
from nextword.tasks.records import Record
from nextword.text.columns import holds

SYSTEMS = ("system", "system_prompt", "system_message", "systemprompt")
# What an instruction is about: in Alpaca's and in Dolly's format, then as others call it.
BESIDE = ("input", "context", "passage", "paragraph", "document", "article")
HISTORY = "history"
QUOTED = 60  # characters of a text in a message


@dataclass(frozen=True)
class InstructionColumns:
    """The column of an instruction, and those that belong to it where there are such."""

    instruction: str
    beside: tuple[str, ...]
    systems: tuple[str, ...]
    history: str | None

    @classmethod
    def find(
        cls, names: Mapping[str, str], instruction: str, answer: str | None
    ) -> InstructionColumns:
        """Find the columns by their usual names; `names` are those there are, by lower case."""
        left = {low: name for low, name in names.items() if name not in (instruction, answer)}
        return cls(
            instruction,
            tuple(left[name] for name in BESIDE if name in left),
            system_columns(left),
            left.get(HISTORY),
        )

    @property
    def extras(self) -> list[str]:
        """The columns that are read beside the instruction."""
        return [*self.beside, *self.systems, *([self.history] if self.history else [])]

    def read(self, record: Record, unused: set[str]) -> Talk:
        """Return a system message and earlier turns, where there are such, and the instruction with
        what it is about. Raises UserError, with the place, for what cannot be read."""
        beside = [(column, as_text(record[column])) for column in self.beside]
        messages = messages_in(record[self.instruction], record.place)
        if messages is not None:
            talk = read_messages(messages, record.place, self.instruction, unused)
            talk = [replace(message, learned=False) for message in talk]
            unused |= {column for column, text in beside if text}
        else:
            parts = [input_text(record, self.instruction), *(text for _, text in beside if text)]
            talk = [Message("user", "\n\n".join(parts))]
        if self.history is not None:
            history = record[self.history]
            talk = read_history(history, self.history, record.place, unused) + talk
        return with_system(record, self.systems, talk)


def system_columns(names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns of system messages among those there are, by lower case."""
    return tuple(names[name] for name in SYSTEMS if name in names)


def as_text(value: Any) -> str:
    """Return a value as text, numbers and lists as JSON writes them; "" where it holds nothing."""
    if not holds(value):
        return ""
    return (
        value.strip()
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, default=str)
    )


def with_system(record: Record, columns: tuple[str, ...], talk: Talk) -> Talk:
    """Return a conversation that begins with the system message of a record's columns.

    Raises UserError where these, or the conversation itself, have another one.
    """
    texts = [(column, text_of(record[column], column, record.place)) for column in columns]
    texts = [(f"column {column!r}", text) for column, text in texts if text]
    if not texts:
        return talk
    said = list(texts)
    if talk and talk[0].role == "system":
        said.append(("its messages", talk[0].content.strip()))
    if len({text for _, text in said}) > 1:
        both = " and ".join(f"{quoted(text)} in {place}" for place, text in said)
        raise UserError(
            f"has two system messages: {both}", where=record.place, mend="leave the right one"
        )
    return talk if len(said) > len(texts) else [Message("system", texts[0][1]), *talk]


def read_history(value: Any, column: str, place: str, unused: set[str]) -> Talk:
    """Return earlier turns: pairs of a question and its answer, or messages."""
    pairs = parse_text(value.strip() if isinstance(value, str) else value, place)
    if not holds(pairs):
        return []
    if are_messages(pairs):
        return read_messages(pairs, place, column, unused)
    turns = list[Message]()
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        texts = [as_text(text) for text in pair] if isinstance(pair, list | tuple) else []
        if len(texts) != 2 or not all(texts):
            raise UserError(
                f"column {column!r} holds {quoted(as_text(pair))}, which is no pair of a question "
                "and its answer",
                where=place,
                mend="give [[question, answer], ...], or rename the column",
            )
        turns += [Message("user", texts[0]), Message("assistant", texts[1])]
    return turns


def quoted(text: str) -> str:
    """Return the beginning of a text, in quotes."""
    return repr(textwrap.shorten(text, QUOTED, placeholder=" ..."))
