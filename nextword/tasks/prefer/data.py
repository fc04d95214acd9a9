"""Reads preferences: a prompt with an answer that was chosen and one that was rejected.

The columns are those of TRL and of data sets on the Hub: `prompt`, `chosen` and `rejected`, as text
or as messages; without a prompt both answers begin with it. A system message, earlier turns and an
input may stand beside the prompt.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.dataset import Dataset, ExampleReader, input_text
from nextword.tasks.generate.columns import column_names, filled_columns
from nextword.tasks.generate.conversations import MESSAGES
from nextword.tasks.generate.instructions import (
    InstructionColumns,
    quoted,
    system_columns,
    with_system,
)
from nextword.tasks.generate.messages import (
    Message,
    Talk,
    messages_in,
    read_messages,
)
from nextword.tasks.generate.printed import check_printed
from nextword.tasks.prefer.scores import check_scores, score_columns
from nextword.tasks.records import Columns, Record, choose_column
from nextword.text.columns import holds

PROMPTS = ("prompt", "question", "instruction", "input")
WITH_INPUT = ("question", "instruction")  # beside which an input or a context is a part of it
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
    names, filled = column_names(records), filled_columns(records)
    inputs, targets = dict[str, str](), list[str]()
    usual = sorted(PROMPTS, key=lambda name: name not in filled)
    asked = (filled[n] for n in MESSAGES if n in filled and _ends_with_question(records, filled[n]))
    named = settings.text_column
    if named is None and not set(names) & set(PROMPTS):
        named = next(asked, None)
    if named or not labelled or set(names) & set(PROMPTS):
        inputs["prompt"] = choose_column(records, "prompt", named, usual, "text_column")
    if labelled:
        chosen = choose_column(
            records, "chosen answer", settings.target_column, CHOSEN, "target_column"
        )
        targets = [
            chosen,
            choose_column(records, "rejected answer", None, REJECTED, "target_column"),
        ]
    extras = [*system_columns(names), *(score_columns(names) if labelled else ())]
    if "prompt" in inputs:
        found = InstructionColumns.find(names, inputs["prompt"], None)
        extras += [found.history] if found.history else []
        extras += found.beside if inputs["prompt"].lower() in WITH_INPUT else ()
    return Columns(inputs, targets, extras=extras)


def _ends_with_question(records: Sequence[Record], column: str) -> bool:
    """Whether conversations end before an answer."""
    first = next((r for r in records if holds(r[column])), records[0])
    messages = messages_in(first[column], first.place)
    return messages is not None and read_messages(messages, first.place)[-1].role == "user"


class PreferenceReader(ExampleReader[Preference]):
    """Reads a prompt with two answers. Two that are missing or the same raise UserError."""

    def __init__(self, columns: Columns) -> None:
        super().__init__(columns)
        names: Mapping[str, str] = {name.strip().lower(): name for name in columns.extras}
        self._systems = system_columns(names)
        self._asked: InstructionColumns | None = None
        if "prompt" in columns.inputs:
            found = InstructionColumns.find(names, columns.inputs["prompt"], None)
            self._asked = replace(found, systems=())
        self._scores = score_columns(names)

    def read_all(
        self, records: Sequence[Record], *, keep_going: bool = False
    ) -> Dataset[Preference]:
        read = [*self.columns.inputs.values(), *self.columns.targets]
        check_printed(records, read, self.report.notes)
        return super().read_all(records, keep_going=keep_going)

    def read(self, record: Record) -> Preference:
        unused = set[str]()
        check_scores(record, self._scores, self.report.notes)
        preference = self._read(record, unused)
        self.report.unused.update(unused)
        return preference

    def input_of(self, example: Preference, record: Record) -> str:
        if isinstance(example.prompt, str):
            return example.prompt
        return "\n".join(message.content for message in example.prompt)

    def _read(self, record: Record, unused: set[str]) -> Preference:
        prompt = self._read_prompt(record, unused)
        if not self.columns.targets:
            assert prompt is not None
            return Preference(self._with_system(record, prompt), "", "")
        one, other = (self._read_messages(record, c, unused) for c in self.columns.targets)
        if one is not None and other is not None:
            before = _before_answers(record, prompt, one, other)
            before = with_system(record, self._systems, before)
            return _checked(record, Preference(before, one[-1].content, other[-1].content))
        if one is not None or other is not None:
            raise UserError(
                "holds one answer as messages and the other as text",
                where=record.place,
                mend="write both in one way",
            )
        texts = [input_text(record, column) for column in self.columns.targets]
        if prompt is None:
            if with_system(record, self._systems, []):
                raise UserError(
                    "has a system message beside answers that begin with their prompt",
                    where=record.place,
                    mend="give a column named prompt, and the answers alone",
                )
            common = _common_prompt(record, *texts)
            begin = len(common)
            return _checked(record, Preference(common, texts[0][begin:], texts[1][begin:]))
        return _checked(record, Preference(self._with_system(record, prompt), *texts))

    def _read_prompt(self, record: Record, unused: set[str]) -> str | Talk | None:
        if self._asked is None:
            return None
        talk = self._asked.read(record, unused)
        is_text = messages_in(record[self._asked.instruction], record.place) is None
        return talk[0].content if is_text and len(talk) == 1 else _all_alike(talk)

    def _with_system(self, record: Record, prompt: str | Talk) -> str | Talk:
        talk = [Message("user", prompt)] if isinstance(prompt, str) else prompt
        whole = with_system(record, self._systems, talk)
        return prompt if whole is talk else whole

    def _read_messages(self, record: Record, column: str, unused: set[str]) -> Talk | None:
        """Return an answer's messages; None for an answer as text."""
        messages = messages_in(record[column], record.place)
        if messages is None:
            return None
        talk = read_messages(messages, record.place, column, unused)
        if not all(message.learned for message in talk):
            unused.add(f"{column}.weight")
        return _all_alike(talk)


def _all_alike(talk: Talk) -> Talk:
    """Return messages without what says which are learned: the last answers alone are."""
    return [replace(message, learned=True) for message in talk]


def _common_prompt(record: Record, one: str, other: str) -> str:
    """Return what two answers both begin with, up to a whole word."""
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    common = "".join(character for character, _ in pairs)
    common = re.sub(r"\S*\Z", "", common)  # the answers begin with a whole word
    if not common.strip():
        raise UserError(
            "has no prompt, and its answers do not begin alike",
            where=record.place,
            mend="give a column named prompt",
        )
    return common


def _before_answers(record: Record, prompt: str | Talk | None, one: Talk, other: Talk) -> Talk:
    """Return the messages before two answers, which are the last messages: the prompt, or what both
    conversations begin with."""
    before = one[:-1]
    if before != other[:-1]:
        raise UserError(
            "the chosen and the rejected conversation differ before their last message",
            where=record.place,
            mend="let both be answers to the same prompt",
        )
    if prompt is not None:
        asked = [Message("user", prompt)] if isinstance(prompt, str) else prompt
        before = before or asked
        if before[-len(asked) :] != asked:
            raise UserError(
                f"the prompt is not what the conversations begin with: it ends with "
                f"{quoted(asked[-1].content)}, they with {quoted(before[-1].content)}",
                where=record.place,
                mend="let them hold the answers alone, or the prompt too",
            )
    if not before or {one[-1].role, other[-1].role} != {"assistant"}:
        raise UserError(
            "the conversations do not end in an answer of the assistant to a prompt",
            where=record.place,
            mend='give messages of which the last has "role": "assistant"',
        )
    return before


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
