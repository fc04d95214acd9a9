"""Reads preferences: a prompt with an answer that was chosen and one that was rejected.

The columns are those of TRL and of data sets on the Hub: `prompt`, `chosen` and `rejected`, as text
or as messages; without a prompt both answers begin with it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.dataset import ExampleReader
from nextword.tasks.generate.chat_template import Message, read_messages
from nextword.tasks.generate.conversations import Talk
from nextword.tasks.records import Columns, Record, choose_column, columns_of, input_text

PROMPTS = ("prompt", "question", "instruction", "input")
CHOSEN = ("chosen", "preferred")
REJECTED = ("rejected", "dispreferred")


@dataclass(frozen=True)
class Preference:
    """Two answers to a prompt, which is a text, or the messages before the answer; the answers are
    "" where they are not known."""

    prompt: str | Talk
    chosen: str
    rejected: str


def find_columns(records: Sequence[Record], settings: TaskSettings, *, labelled: bool) -> Columns:
    """Return the columns of prompts and of both answers, as named or by their usual names."""
    names = {name.lower() for name in columns_of(records)}
    inputs, targets = {}, []
    if settings.text_column or not labelled or names & set(PROMPTS):
        inputs["prompt"] = choose_column(
            records, "prompt", settings.text_column, PROMPTS, "text_column"
        )
    if labelled:
        chosen = choose_column(
            records, "chosen answer", settings.target_column, CHOSEN, "target_column"
        )
        targets = [
            chosen,
            choose_column(records, "rejected answer", None, REJECTED, "target_column"),
        ]
    return Columns(inputs, targets)


class PreferenceReader(ExampleReader[Preference]):
    """Reads a prompt with two answers. Two that are missing or the same raise UserError."""

    def read(self, record: Record) -> Preference:
        return _read(record, self.columns)

    def input_of(self, example: Preference, record: Record) -> str:
        if isinstance(example.prompt, str):
            return example.prompt
        return "\n".join(message.content for message in example.prompt)


def _read(record: Record, columns: Columns) -> Preference:
    prompt = columns.inputs.get("prompt")
    if not columns.targets:
        assert prompt is not None
        return Preference(_prompt(record, prompt), "", "")
    chosen, rejected = (record[column] for column in columns.targets)
    if _are_messages(chosen) and _are_messages(rejected):
        return _of_messages(record, prompt, chosen, rejected)
    one, other = (input_text(record, column) for column in columns.targets)
    if prompt is None:
        pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
        common = "".join(character for character, _ in pairs)
        common = re.sub(r"\S*\Z", "", common)  # the answers begin with a whole word
        if not common.strip():
            raise UserError(
                "has no prompt, and its answers do not begin alike",
                where=record.place,
                mend="give a column named prompt",
            )
        return _checked(record, Preference(common, one[len(common) :], other[len(common) :]))
    return _checked(record, Preference(_prompt(record, prompt), one, other))


def _of_messages(record: Record, prompt: str | None, chosen: Any, rejected: Any) -> Preference:
    """Answers as messages: the last one of each, after the prompt or what both begin with."""
    one, other = (read_messages(value, record.place) for value in (chosen, rejected))
    before = one[:-1]
    if before != other[:-1]:
        raise UserError(
            "the chosen and the rejected conversation differ before their last message",
            where=record.place,
            mend="let both be answers to the same prompt",
        )
    if prompt is not None:
        asked = _prompt(record, prompt)
        asked = [Message("user", asked)] if isinstance(asked, str) else asked
        before = before or asked
        if before[-len(asked) :] != asked:
            raise UserError(
                "the prompt is not what the conversations begin with",
                where=record.place,
                mend="let them hold the answers alone, or the prompt too",
            )
    if not before or {one[-1].role, other[-1].role} != {"assistant"}:
        raise UserError(
            "the conversations do not end in an answer of the assistant to a prompt",
            where=record.place,
            mend='give messages of which the last has "role": "assistant"',
        )
    return _checked(record, Preference(before, one[-1].content, other[-1].content))


def _prompt(record: Record, column: str) -> str | Talk:
    value = record[column]
    return (
        read_messages(value, record.place) if _are_messages(value) else input_text(record, column)
    )


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _checked(record: Record, preference: Preference) -> Preference:
    if not preference.chosen.strip() or not preference.rejected.strip():
        raise UserError(
            "holds an empty answer",
            where=record.place,
            mend="write both answers, or remove the row",
        )
    if preference.chosen == preference.rejected:
        raise UserError(
            "the chosen and the rejected answer are the same",
            where=record.place,
            mend="remove the row: it says nothing",
        )
    return preference
