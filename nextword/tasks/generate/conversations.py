"""Conversations in records: messages, an instruction with its answer, or a tree of replies."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.dataset import ExampleReader, LeftOut, input_text
from nextword.tasks.generate.columns import column_names, filled_columns
from nextword.tasks.generate.instructions import (
    InstructionColumns,
    quoted,
    system_columns,
    with_system,
)
from nextword.tasks.generate.messages import (
    Message,
    Talk,
    are_messages,
    messages_in,
    parse_text,
    read_messages,
)
from nextword.tasks.generate.options import Options
from nextword.tasks.generate.printed import check_printed
from nextword.tasks.generate.trees import REPLIES, best_path, is_tree
from nextword.tasks.records import Columns, Record
from nextword.text.columns import holds

MESSAGES = ("messages", "conversation", "conversations")
MORE_MESSAGES = ("dialogue", "dialog", "turns", "chat", "items", "data")
ROOT = ("role", "text")  # of a record that is the first message of a tree itself
TREES = ("prompt", "tree", "root")
PAIRS = [("instruction", "output"), ("instruction", "response"), ("prompt", "response")]
PAIRS += [("prompt", "completion"), ("question", "answer"), ("input", "output")]
QUESTIONS = ("instruction", "prompt", "question", "query", "user", "human", "input")
ANSWERS = ("output", "response", "completion", "answer", "assistant", "reply")
UNANSWERED = "messages after the last answer that is learned, not read"
BESIDE_PATH = "messages beside the best-ranked path of their tree, not read"
ALL_WEIGHTS_ZERO = "all that the assistant says in them is not to be learned (weight 0)"


class ConversationReader(ExampleReader[Talk]):
    """Reads `messages`, an instruction with its output, or a tree of replies."""

    def __init__(
        self, records: Sequence[Record], settings: TaskSettings, *, labelled: bool
    ) -> None:
        self._labelled = labelled
        self._instruction: InstructionColumns | None = None
        self._names = column_names(records)
        super().__init__(self._find_columns(records, settings))
        self._systems = system_columns({name.strip().lower(): name for name in self.columns.extras})
        self._options: Options | None = None
        if self._instruction is not None:
            targets = self.columns.targets
            self._options = Options.find(records, self._names, targets)
            read = [*self.columns.inputs.values(), *targets]
            check_printed(records, read, self.report.notes)

    def _find_columns(self, records: Sequence[Record], settings: TaskSettings) -> Columns:
        names = self._names
        filled = filled_columns(records)
        if settings.target_column is None:
            column = settings.text_column or _usual_messages(records, filled)
            if column is not None and _holds_messages(records, column):
                return self._columns_of_messages(column)
        pair = _pair(filled, settings, self._labelled) or _pair(names, settings, self._labelled)
        if pair is None and (column := next((names[n] for n in MESSAGES if n in names), None)):
            return self._columns_of_messages(column)
        if pair is None:
            raise _no_conversations(names, records[0].place)
        prompt, answer = pair
        self._instruction = InstructionColumns.find(names, prompt, answer)
        targets = [answer] if answer else []
        return Columns({"prompt": prompt}, targets, extras=self._instruction.extras)

    def _columns_of_messages(self, column: str) -> Columns:
        extras = list(system_columns(self._names))
        if column == REPLIES:  # each record is the first message of a tree
            extras += ROOT
        return Columns({"messages": column}, extras=extras)

    def read(self, record: Record) -> Talk:
        """Return a conversation. Raises UserError for one in which the assistant says nothing, and
        LeftOut where nothing of that is to be learned."""
        unused = set[str]()
        if self._instruction is None:
            talk = self._read_messages(record, unused)
        else:
            talk = self._instruction.read(record, unused)
            for answer in self.columns.targets:
                if self._options is not None:
                    _refuse_letter(self._options, record, answer, talk)
                talk += self._read_answer(record, answer, unused)
        self.report.unused.update(unused)
        return self._learned_part(talk, record.place) if self._labelled else talk

    def _read_messages(self, record: Record, unused: set[str]) -> Talk:
        column = self.columns.inputs["messages"]
        value = parse_text(record[column], record.place)
        if column == REPLIES:
            value = {name: record[name] for name in (*ROOT, REPLIES)}
        if is_tree(value):
            value, beside = best_path(value, record.place)
            if beside:
                self.report.notes[BESIDE_PATH] += beside
        talk = read_messages(value, record.place, column, unused)
        return with_system(record, self._systems, talk)

    def _read_answer(self, record: Record, column: str, unused: set[str]) -> Talk:
        messages = messages_in(record[column], record.place)
        if messages is None:
            return [Message("assistant", input_text(record, column))]
        return read_messages(messages, record.place, column, unused)

    def _learned_part(self, talk: Talk, place: str) -> Talk:
        """Return a conversation as far as there is something to learn."""
        answers = [n for n, message in enumerate(talk) if message.role == "assistant"]
        if not answers:
            raise UserError(
                "holds nothing that the assistant says",
                where=place,
                mend='give a message with "role": "assistant", or remove the row',
            )
        learned = [number for number in answers if talk[number].learned]
        if not learned:
            raise LeftOut(ALL_WEIGHTS_ZERO)
        end = learned[-1] + 1
        if end < len(talk):  # a question without an answer teaches nothing
            self.report.notes[UNANSWERED] += len(talk) - end
        return talk[:end]

    def input_of(self, example: Talk, record: Record) -> str:
        return str(dict(record.values))


def _refuse_letter(options: Options, record: Record, answer: str, talk: Talk) -> None:
    """Raise UserError for an answer that is the letter of an option the prompt does not hold."""
    text = options.text_of(record[answer], record)
    asked = "\n".join(message.content for message in talk)
    if text is not None and not all(option in asked for option in options.read(record).values()):
        raise UserError(
            f"answer {record[answer]!r} is the letter of an option, {quoted(text)}, and the prompt "
            "does not hold the options",
            where=record.place,
            mend="write the options into the question, or the option's text as the answer",
        )


def _usual_messages(records: Sequence[Record], filled: Mapping[str, str]) -> str | None:
    """Return the column that holds messages, or trees of them, by its usual name."""
    for name in (*MESSAGES, *MORE_MESSAGES, *TREES):
        if name not in filled:
            continue
        values = [value for record in records if holds(value := record[filled[name]])][:50]
        parsed = [_parsed(value) for value in values]
        if name in MESSAGES and any(not isinstance(value, str) for value in parsed):
            return filled[name]
        if name in TREES and any(map(is_tree, parsed)):
            return filled[name]
        if name in MORE_MESSAGES and any(map(are_messages, parsed)):
            return filled[name]
    return REPLIES if {*ROOT, REPLIES} <= set(filled.values()) else None


def _parsed(value: Any) -> Any:
    try:
        return parse_text(value, "")
    except UserError:  # it is built like a list, and named when it is read
        return []


def _holds_messages(records: Sequence[Record], column: str) -> bool:
    """Not where instructions stand there, whose answers are another column, or not known."""
    values = [value for record in records[:50] if holds(value := record[column])]
    return not values or any(
        not isinstance(value, str) or value.lstrip().startswith("[") for value in values
    )


def _pair(
    names: Mapping[str, str], settings: TaskSettings, labelled: bool
) -> tuple[str, str | None] | None:
    """Return the columns of an instruction and its answer, None where there are none such."""
    for prompt, answer in (*PAIRS, *itertools.product(QUESTIONS, ANSWERS)):
        question = settings.text_column or names.get(prompt)
        reply = settings.target_column or names.get(answer)
        if question and question != reply and (reply or not labelled):
            return question, reply if labelled else None
    return None


def _no_conversations(names: Mapping[str, str], place: str) -> UserError:
    if {"parent_id", "role"} <= set(names):
        return UserError(
            "holds one message of a tree in each record (parent_id), and no conversations",
            where=place,
            mend="write each path from a first message to an answer as one record: "
            '{"messages": [{"role": "user", "content": ...}, ...]}',
        )
    return UserError(
        f"holds no conversations (columns: {', '.join(names.values())})",
        where=place,
        mend="give messages, or instruction and output; or name --text-column, --target-column",
    )
