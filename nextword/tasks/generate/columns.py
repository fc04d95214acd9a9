"""Which columns hold questions, documents and sources, and what is to be written for each.

A column is chosen by its usual name, those that hold something first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nextword.settings import TaskSettings
from nextword.tasks.generate.prompts import fields_of
from nextword.tasks.generate.translation import columns_of_translation
from nextword.tasks.records import Columns, Record, choose_column, has_any, numbered_columns
from nextword.text.columns import holds

CONTEXTS = ("context", "passage", "paragraph", "text", "document", "article", "story")
QUESTIONS = ("question", "query", "q")
ANSWERS = ("answers", "answer", "a", "target", "output", "answer_text", "answer_texts")
DOCUMENTS = (
    *("document", "dialogue", "dialog", "article", "text", "content", "story"),
    *("source", "input", "body"),
)
SUMMARIES = ("summary", "highlights", "abstract", "target", "output", "title")
IMPOSSIBLE = ("is_impossible", "impossible", "unanswerable", "is_unanswerable")
ANSWERABLE = ("answerable", "is_answerable", "has_answer", "hasanswer")
STARTS = ("answer_start", "starts")


def filled_columns(records: Sequence[Record]) -> dict[str, str]:
    """Return the columns in which any record holds something, by lower case."""
    filled: dict[str, str] = {}
    for record in records:
        for name, value in record.values.items():
            low = str(name).strip().lower()
            if low not in filled and holds(value):
                filled[low] = str(name)
    return filled


def column_names(records: Sequence[Record]) -> dict[str, str]:
    """Return all columns by lower case, those that hold something first."""
    names = filled_columns(records)
    for record in records:
        for name in record.values:
            names.setdefault(str(name).strip().lower(), str(name))
    return names


def find_columns(records: Sequence[Record], settings: TaskSettings, *, labelled: bool) -> Columns:
    """Return columns as they are named, or by their usual names; those that a person's own prompt
    names are read besides. Raises UserError that lists the columns there are."""
    if settings.task == "translate":
        columns = columns_of_translation(records, settings, labelled)
    else:
        columns = _columns_of_task(records, settings, labelled)
    asked = fields_of(settings.prompt or "") - set(columns.inputs)
    return replace(columns, extras=[*columns.extras, *sorted(asked)])


def _columns_of_task(records: Sequence[Record], settings: TaskSettings, labelled: bool) -> Columns:
    filled = filled_columns(records)
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
            known = filled_first(filled, usual)
            inputs[role] = choose_column(records, role, named, known, setting)
    if not labelled:
        return Columns(inputs)
    usual = ANSWERS if settings.task == "qa" else SUMMARIES
    left = [name for name in filled_first(filled, usual) if name not in inputs.values()]
    targets = _target_columns(records, settings, left)
    names = column_names(records) if settings.task == "qa" else {}
    extras = [names[name] for name in (*IMPOSSIBLE, *ANSWERABLE, *STARTS) if name in names]
    return Columns(inputs, targets, extras=extras)


def filled_first(filled: Mapping[str, str], usual: Sequence[str]) -> list[str]:
    """Return usual names, those of the columns that hold something first."""
    return sorted(usual, key=lambda name: name not in filled)


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
