"""Questions, documents and sources with what is to be written for each, and their prompts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nextword.errors import UserError, nearest
from nextword.settings import TaskSettings
from nextword.tasks.dataset import Dataset, ExampleReader
from nextword.tasks.records import (
    Columns,
    Record,
    choose_column,
    columns_of,
    has_any,
    input_text,
    numbered_columns,
    text_of,
)
from nextword.text.cleaning import detect_language

CONTEXTS = ("context", "passage", "paragraph", "text", "document", "article", "story")
QUESTIONS = ("question", "query", "q")
ANSWERS = ("answers", "answer", "a", "target", "output")
DOCUMENTS = (
    *("document", "dialogue", "dialog", "article", "text", "content", "story"),
    *("source", "input", "body"),
)
SUMMARIES = ("summary", "highlights", "abstract", "target", "output", "title")
SOURCES = ("source", "src")
TARGETS = ("target", "tgt")
_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][a-z]{2,4})?", re.I)
SAMPLE = 200  # texts whose language decides on that of a template
_FIELD = re.compile(r"\{\{|\}\}|\{([^{}\n]*)\}|[{}]")

# Fields stand on lines of their own, so that their text is cut into the same tokens as if it had
# been read together with what is around it.
ENGLISH = {
    "qa": "{context}\n\nQuestion:\n{question}\n\nAnswer:\n",
    "summarize": "{document}\n\nSummary:\n",
    "translate": "{source}\n\nTranslation:\n",
}
CHINESE = {
    "qa": "{context}\n\n问题：\n{question}\n\n答案：\n",
    "summarize": "{document}\n\n摘要：\n",
    "translate": "{source}\n\n译文：\n",
}


@dataclass(frozen=True)
class PromptedExample:
    """`references` are the answers that would be right: none where they are unknown, or for a
    question that has no answer. `answer_start` is the character of the context that the first
    answer begins at, where that is known."""

    record: Record
    references: tuple[str, ...]
    answer_start: int | None


class PromptedReader(ExampleReader[PromptedExample]):
    """Reads records for the tasks qa, summarize and translate."""

    def __init__(self, columns: Columns, task: str) -> None:
        super().__init__(columns)
        self._task = task

    def read(self, record: Record) -> PromptedExample:
        for role, column in self.columns.inputs.items():
            input_text(record, column, may_be_empty=role == "question")
        targets = self.columns.targets
        references = references_of(record, targets, self._task)
        return PromptedExample(record, references, answer_start(record, targets))

    def input_of(self, example: PromptedExample, record: Record) -> str:
        if not self.columns.inputs:
            return str(dict(record.values))
        return "\n".join(str(record[name]) for name in self.columns.inputs.values())

    def shared_input_of(self, example: PromptedExample, record: Record) -> str:
        if "context" in self.columns.inputs:
            return str(record[self.columns.inputs["context"]])
        return self.input_of(example, record)


def present_prompted(dataset: Dataset[PromptedExample], index: int) -> str:
    """Return an example for people: its input, and its answers in ⟦ ⟧."""
    answers = dataset.examples[index].references or ("(no answer)",)
    return f"{dataset.inputs[index]}  " + " ".join(f"⟦{answer}⟧" for answer in answers)


def find_columns(records: Sequence[Record], settings: TaskSettings, *, labelled: bool) -> Columns:
    """Return columns as they are named, or by their usual names. Raises UserError that lists the
    columns there are."""
    if settings.task == "translate":
        return _columns_of_translation(records, settings, labelled)
    if settings.task == "summarize":
        roles: list[tuple[str, Sequence[str], str]] = [("document", DOCUMENTS, "text_column")]
    else:
        roles = [
            ("context", CONTEXTS, "text_column"),
            ("question", QUESTIONS, "question_column"),
        ]
    inputs: dict[str, str] = {}
    for role, usual, setting in roles:
        named = getattr(settings, setting)
        if settings.prompt is None or named is not None or has_any(records, usual):
            inputs[role] = choose_column(records, role, named, usual, setting)
    if not labelled:
        return Columns(inputs)
    targets = ANSWERS if settings.task == "qa" else SUMMARIES
    left = [name for name in targets if name not in inputs.values()]
    return Columns(inputs, _target_columns(records, settings, left))


def _target_columns(
    records: Sequence[Record], settings: TaskSettings, usual: Sequence[str]
) -> list[str]:
    """The column of answers, or columns such as summary1, summary2 that hold several of them."""
    named = settings.target_column
    for name in [named] if named else usual:
        if numbered := numbered_columns(records, name):
            return numbered
    role = "answer" if settings.task == "qa" else "text to write"
    return [choose_column(records, role, named, usual, "target_column")]


def _columns_of_translation(
    records: Sequence[Record], settings: TaskSettings, labelled: bool
) -> Columns:
    """Columns named source and target, or of two languages: from the first to the second."""
    source, target = settings.text_column, settings.target_column
    names = columns_of(records)
    nested = records[0].values.get("translation")
    if isinstance(nested, Mapping):
        names = [f"translation.{name}" for name in nested]
    languages = [name for name in names if _LANGUAGE.fullmatch(name.removeprefix("translation."))]
    pair = next((pair for pair in (languages, names) if len(pair) == 2), [])
    if pair and not has_any(records, SOURCES):
        if source is None:
            source = next(name for name in pair if name != target)
        if target is None and labelled:
            target = next((name for name in pair if name != source), None)
    source = choose_column(records, "source", source, SOURCES, "text_column")
    if not labelled:
        return Columns({"source": source})
    target = choose_column(records, "translation", target, TARGETS, "target_column")
    if source == target:
        raise UserError(
            f"column {source!r} cannot be both source and translation",
            where=records[0].place,
            mend="name another --target-column",
        )
    return Columns({"source": source}, [target])


def references_of(record: Record, columns: Sequence[str], task: str) -> tuple[str, ...]:
    """Return what may be written for a record, in order; nothing for a question without an answer.

    Raises UserError for an answer that is missing, empty or not text.
    """
    if not columns:
        return ()
    references: list[str] = []
    for column in columns:
        value = record[column]
        if isinstance(value, Mapping):  # {"text": [...], "answer_start": [...]}
            value = value.get("text")
        is_list = isinstance(value, list)
        texts = [text_of(item, column, record.place) for item in (value if is_list else [value])]
        texts = [text for text in texts if text]
        if texts or (task == "qa" and (is_list or record["is_impossible"] in (True, "true"))):
            references += texts
        elif len(columns) == 1:
            mend = "write it, or remove the row"
            if task == "qa":
                mend += "; a question that has no answer has the answers []"
            raise UserError(f"column {column!r} is empty", where=record.place, mend=mend)
    if not references and task != "qa":
        raise UserError(
            f"columns {', '.join(columns)} are empty",
            where=record.place,
            mend="write one, or remove the row",
        )
    return tuple(dict.fromkeys(references))


def answer_start(record: Record, columns: Sequence[str]) -> int | None:
    """Return the character of the context that the first answer begins at, where it is known."""
    starts: Any = record["answer_start"] if record["starts"] is None else record["starts"]
    value = record[columns[0]] if columns else None
    if isinstance(value, Mapping):
        starts = value.get("answer_start")
    first = starts[0] if isinstance(starts, list) and starts else starts
    if isinstance(first, str) and first.strip().isdecimal():  # as a table has it
        first = int(first)
    return first if isinstance(first, int) and first >= 0 else None


@dataclass(frozen=True)
class Field:
    name: str


Piece = str | Field


PAIRED = {"qa": "{question}\n\n{context}", "summarize": "{document}", "translate": "{source}"}


def default_template(task: str, spoken: str, apart: bool = False) -> str:
    """The usual one, where texts of the language `spoken` are followed by their answer, or stand
    `apart` from it in an encoder."""
    if apart:
        return PAIRED[task]
    return (CHINESE if spoken == "zh" else ENGLISH)[task]


def main_language(texts: Iterable[str]) -> str:
    """The language of most of the characters of some texts: "en", "zh", ..."""
    return detect_language("\n".join(list(texts)[:SAMPLE]))


def parse_template(text: str, known: Sequence[str], where: str = "--prompt") -> list[Piece]:
    """The pieces of a template: text, and the fields in braces; `{{` and `}}` are braces.

    `\\n` and `\\t` are a new line and a tab, as a shell does not write them. Raises UserError for
    a field that is not known, a brace that stands alone, or no field at all.
    """
    text = text.replace("\\n", "\n").replace("\\t", "\t")
    pieces: list[Piece] = []
    end = 0
    for match in _FIELD.finditer(text):
        pieces.append(text[end : match.start()])
        end = match.end()
        found, name = match.group(), match.group(1)
        if name is not None:
            if name not in known:
                raise UserError(f"has no column {name!r}", where=where, mend=nearest(name, known))
            pieces.append(Field(name))
        elif len(found) == 2:
            pieces.append(found[0])
        else:
            raise UserError(
                f"{found!r} at character {match.start() + 1} stands alone",
                where=where,
                mend=f"write a column as {{name}}, and a brace itself as {found * 2}",
            )
    pieces.append(text[end:])
    joined = _joined(pieces)
    if not any(isinstance(piece, Field) for piece in joined):
        raise UserError(
            "names no column", where=where, mend=f"name some, such as {{{next(iter(known))}}}"
        )
    return joined


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Neighbouring stretches of text made one; empty ones left out."""
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece != "":
            joined.append(piece)
    return joined
