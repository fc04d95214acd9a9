"""Questions, documents and sources with what is to be written for each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nextword.errors import UserError
from nextword.tasks.dataset import Dataset, ExampleReader, emptiness, input_text, text_of
from nextword.tasks.generate.answers import Answer, check_start, read_answers
from nextword.tasks.generate.columns import column_names
from nextword.tasks.generate.messages import parse_text
from nextword.tasks.generate.options import Options
from nextword.tasks.generate.prompts import fields_of
from nextword.tasks.generate.translation import parse_translation
from nextword.tasks.records import Columns, Record
from nextword.text.columns import holds

_UNSPACED = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]")  # no space follows
JOINED = "lists of sentences that were held as text are joined"
SEVERAL = "records with several texts to write: the first is learned, all are references"


@dataclass(frozen=True)
class PromptedExample:
    """`references` are the answers that would be right: none where they are unknown, or for a
    question that has no answer. `answer_start` is the character of the context that the first
    answer begins at, where that is known."""

    record: Record
    references: tuple[str, ...]
    answer_start: int | None


class PromptedReader(ExampleReader[PromptedExample]):
    """Reads records for the tasks qa, summarize and translate, perhaps for a `prompt` of a person's
    own, which need not name every input."""

    def __init__(self, columns: Columns, task: str, prompt: str | None = None) -> None:
        super().__init__(columns)
        self._task = task
        self._options: Options | None = None
        fields = None if prompt is None else fields_of(prompt)
        self._left_out = [
            column
            for role, column in columns.inputs.items()
            if fields is not None and not fields & {role, column}
        ]

    def read_all(
        self, records: Sequence[Record], *, keep_going: bool = False
    ) -> Dataset[PromptedExample]:
        if self._task == "qa" and self.columns.targets:
            self._find_options(records)
        parsed = [self._parsed(record) for record in records]
        return super().read_all(parsed, keep_going=keep_going)

    def _find_options(self, records: Sequence[Record]) -> None:
        targets = self.columns.targets
        self._options = Options.find(records, column_names(records), targets)
        if self._options is not None:
            extras = [*self.columns.extras, *self._options.columns]
            self.columns = replace(self.columns, extras=extras)

    def read(self, record: Record) -> PromptedExample:
        for role, column in self.columns.inputs.items():
            input_text(record, column, may_be_empty=role == "question")
        self.report.unused.update(self._left_out)
        if not self.columns.targets:
            return PromptedExample(record, (), None)
        if self._task != "qa":
            return PromptedExample(record, self._texts_to_write(record), None)
        answers = self._answers(record)
        references = tuple(dict.fromkeys(answer.text for answer in answers))
        return PromptedExample(record, references, self._start(record, answers))

    def input_of(self, example: PromptedExample, record: Record) -> str:
        if not self.columns.inputs:
            return str(dict(record.values))
        return "\n".join(str(record[name]) for name in self.columns.inputs.values())

    def shared_input_of(self, example: PromptedExample, record: Record) -> str:
        if "context" in self.columns.inputs:
            return str(record[self.columns.inputs["context"]])
        return self.input_of(example, record)

    def _parsed(self, record: Record) -> Record:
        """Return a record whose inputs are texts, and not lists of sentences."""
        if record.error is not None:
            return record
        try:
            if self._task == "translate":
                record = parse_translation(record)
            inputs = {
                column: self._joined(record[column], column, record.place, role == "document")
                for role, column in self.columns.inputs.items()
                if column in record.values
            }
        except UserError as error:
            return replace(record, error=error)
        changed = {name: text for name, text in inputs.items() if text is not record[name]}
        return replace(record, values={**record.values, **changed}) if changed else record

    def _joined(self, value: Any, column: str, place: str, may_be_list: bool) -> Any:
        """Return sentences as one text, where they are a list or were held as the text of one; any
        other value as it is."""
        sentences = sentences_of(value, place)
        if sentences is None or (isinstance(value, list) and not may_be_list):
            if _is_printed_object(value, place):
                what = f"column {column!r} holds an object as text"
                raise UserError(what, where=place, mend="write what is to be read as text")
            return value
        if not may_be_list:
            what = f"column {column!r} holds a list as text"
            raise UserError(what, where=place, mend="write it as one text")
        if isinstance(value, str):
            self.report.notes[JOINED] += 1
        return join_sentences(sentences)

    def _texts_to_write(self, record: Record) -> tuple[str, ...]:
        """Return the summaries or translations of a record, in order."""
        columns, place = self.columns.targets, record.place
        texts: list[str] = []
        for column in columns:
            value = self._text_in(record[column], column, place)
            if isinstance(value, str):
                value = self._joined(value, column, place, self._task == "summarize")
            several = value if isinstance(value, list) else [value]
            found = [text for item in several if (text := text_of(item, column, place))]
            if not found and len(columns) == 1:
                raise _empty(
                    f"column {column!r} is {emptiness(value)}", place, "write it, or remove the row"
                )
            if len(set(found)) > 1:
                self.report.notes[SEVERAL] += 1
            texts += found
        if not texts:
            what = f"columns {', '.join(columns)} are empty"
            raise _empty(what, place, "write one, or remove the row")
        return tuple(dict.fromkeys(texts))

    def _text_in(self, value: Any, column: str, place: str) -> Any:
        """Return what an object, perhaps held as text, has under "text"; any other value as it
        is."""
        held = parse_text(value, place)
        if not isinstance(held, Mapping) or (held is not value and "text" not in held):
            return value
        unused = (key for key, other in held.items() if key != "text" and holds(other))
        self.report.unused.update(f"{column}.{key}" for key in unused)
        return held.get("text")

    def _answers(self, record: Record) -> list[Answer]:
        unused = set[str]()
        notes, options = self.report.notes, self._options
        answers = read_answers(record, self.columns, unused, notes, options)
        self.report.unused.update(unused)
        return answers

    def _start(self, record: Record, answers: Sequence[Answer]) -> int | None:
        """Return the character of the context that the first answer begins at, where it is
        known."""
        context = record[self.columns.inputs.get("context", "")]
        if not answers or answers[0].start is None or not isinstance(context, str):
            return None
        return check_start(answers[0], context, record.place, self.report.notes)


def present_prompted(dataset: Dataset[PromptedExample], index: int) -> str:
    """Return an example for people: its input, and its answers in ⟦ ⟧."""
    answers = dataset.examples[index].references or ("(no answer)",)
    return f"{dataset.inputs[index]}  " + " ".join(f"⟦{answer}⟧" for answer in answers)


def _empty(what: str, place: str, mend: str) -> UserError:
    return UserError(what, where=place, mend=mend)


def sentences_of(value: Any, place: str) -> list[str] | None:
    """Return the texts of a list, which may be held as text; None for anything else.

    Raises UserError for a list, held as text, of which only a part is text.
    """
    items = parse_text(value, place)
    if not isinstance(items, list):
        return None
    are_texts = [isinstance(item, str) for item in items]
    if all(are_texts):
        return items
    if any(are_texts) and isinstance(value, str):
        raise UserError(
            "holds a list as text of which only a part is text",
            where=place,
            mend="write it as one text",
        )
    return None


def _is_printed_object(value: Any, place: str) -> bool:
    """Whether a text is what Python prints of an object; JSON may be what is to be read."""
    if not isinstance(value, str) or not isinstance(parse_text(value, place), Mapping):
        return False
    try:
        json.loads(value)
    except ValueError:
        return True
    return False


def join_sentences(sentences: Sequence[str]) -> str:
    """Return sentences as one text, with spaces between them where their script has such."""
    text = ""
    for sentence in map(str.strip, sentences):
        text += " " if text and sentence and not _UNSPACED.match(text[-1]) else ""
        text += sentence
    return text
