"""Which columns of a table hold the question, the document, the source, and what to write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.records import Record, choose_column, columns_of

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
MESSAGES = ("messages", "conversation", "conversations")
LONG = {"qa": "context", "summarize": "document"}  # the field that may be cut
_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][a-z]{2,4})?", re.I)


@dataclass(frozen=True)
class TaskColumns:
    """`inputs` says which column plays which role ("context", "question", "source", ...);
    `targets` are the columns of what is to be written, several where there are several
    references, none where answers are not asked for."""

    inputs: Mapping[str, str] = field(default_factory=dict)
    targets: Sequence[str] = ()


def find_task_columns(
    found: Sequence[Record], settings: TaskSettings, *, answered: bool
) -> TaskColumns:
    """Columns as they are named, or by their usual names. Raises UserError listing the columns."""
    if settings.task == "translate":
        return _of_translation(found, settings, answered)
    inputs: dict[str, str] = {}
    for role, usual, named, flag in _roles(settings):
        if settings.prompt is None or named is not None or _holds(found, usual):
            inputs[role] = choose_column(found, role, named, usual, flag)
    written = ANSWERS if settings.task == "qa" else SUMMARIES
    left = [name for name in written if name not in inputs.values()]
    return TaskColumns(inputs, _targets(found, settings, left) if answered else ())


def _roles(settings: TaskSettings) -> list[tuple[str, Sequence[str], str | None, str]]:
    """Each input's role, usual names, the name given, and the flag that gives it."""
    text = settings.text_column
    if settings.task == "summarize":
        return [("document", DOCUMENTS, text, "--text-column")]
    return [
        ("context", CONTEXTS, text, "--text-column"),
        ("question", QUESTIONS, settings.question_column, "--question-column"),
    ]


def _holds(found: Sequence[Record], usual: Iterable[str]) -> bool:
    return bool({name.lower() for name in columns_of(found)} & set(usual))


def _targets(found: Sequence[Record], settings: TaskSettings, usual: Sequence[str]) -> list[str]:
    """The column of answers, or columns such as summary1, summary2 that hold several of them."""
    known, named = columns_of(found), settings.target_column
    for name in [named] if named else usual:
        numbered = [k for k in known if re.fullmatch(rf"{re.escape(name)}[ _-]?\d+", k, re.I)]
        if numbered and not any(k.lower() == name.lower() for k in known):
            return numbered
    role = "answer" if settings.task == "qa" else "text to write"
    return [choose_column(found, role, named, usual, "--target-column")]


def _of_translation(found: Sequence[Record], settings: TaskSettings, answered: bool) -> TaskColumns:
    """Columns named source and target, or for two languages: from the first to the second."""
    source, target = settings.text_column, settings.target_column
    known = columns_of(found)
    nested = found[0].values.get("translation")
    if isinstance(nested, Mapping):
        known = [f"translation.{name}" for name in nested]
    spoken = [name for name in known if _LANGUAGE.fullmatch(name.removeprefix("translation."))]
    pair = next((pair for pair in (spoken, known) if len(pair) == 2), [])
    if pair and not _holds(found, SOURCES):
        if source is None:
            source = next(name for name in pair if name != target)
        if target is None and answered:
            target = next((name for name in pair if name != source), None)
    source = choose_column(found, "source", source, SOURCES, "--text-column")
    if not answered:
        return TaskColumns({"source": source})
    target = choose_column(found, "translation", target, TARGETS, "--target-column")
    if source == target:
        raise UserError(
            f"column {source!r} cannot be both source and translation",
            where=found[0].place,
            mend="name another --target-column",
        )
    return TaskColumns({"source": source}, [target])


def references_of(record: Record, columns: Sequence[str], task: str) -> tuple[str, ...]:
    """What may be written for a record, in order; none for a question that has no answer.

    Raises UserError for an answer that is missing, empty or not text.
    """
    if not columns:
        return ()
    found: list[str] = []
    for column in columns:
        value = record[column]
        if isinstance(value, Mapping):  # {"text": [...], "answer_start": [...]}
            value = value.get("text")
        several = isinstance(value, list)
        texts = [_as_text(item, column, record.place) for item in (value if several else [value])]
        texts = [text for text in texts if text]
        if texts or (task == "qa" and (several or record["is_impossible"] in (True, "true"))):
            found += texts
        elif len(columns) == 1:
            mend = "write it, or remove the row"
            if task == "qa":
                mend += "; a question that has no answer has the answers []"
            raise UserError(f"column {column!r} is empty", where=record.place, mend=mend)
    if not found and task != "qa":
        raise UserError(
            f"columns {', '.join(columns)} are empty",
            where=record.place,
            mend="write one, or remove the row",
        )
    return tuple(dict.fromkeys(found))


def answer_start(record: Record, columns: Sequence[str]) -> int | None:
    """The character of the context that the first answer begins at, where that is known."""
    starts = record["answer_start"] if record["starts"] is None else record["starts"]
    value = record[columns[0]] if columns else None
    if isinstance(value, Mapping):
        starts = value.get("answer_start")
    first = starts[0] if isinstance(starts, list) and starts else starts
    if isinstance(first, str) and first.strip().isdecimal():  # as a table has it
        first = int(first)
    return first if isinstance(first, int) and first >= 0 else None


def _as_text(value: Any, column: str, place: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UserError(f"column {column!r} is not text", where=place, mend="mend or remove the row")


def leading(record: Record, column: str) -> int:
    """Characters of space before the text of a column, which is read without them."""
    text = str(record[column])
    return len(text) - len(text.lstrip())


def input_text(record: Record, column: str, *, may_be_empty: bool = False) -> str:
    """The text of a column. Raises UserError where there is none."""
    value = record[column]
    text = _as_text(value, column, record.place)
    if not text and not may_be_empty:
        raise UserError(
            f"column {column!r} is empty", where=record.place, mend="mend or remove the row"
        )
    return text
