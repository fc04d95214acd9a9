"""RUN/task.json: the task that a model has learnt and how data is read for it, kept for `evaluate`
and `predict`."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nextword.errors import UserError
from nextword.files import read_json, write_json
from nextword.settings import TaskSettings
from nextword.tasks.classify.data import Columns
from nextword.tasks.columns import TaskColumns
from nextword.tasks.extractive_qa.data import SpanFormat
from nextword.tasks.generate.examples import Format
from nextword.tasks.records import Record, columns_of
from nextword.tasks.tag import data

NAME = "task.json"
AnyColumns = Columns | data.Columns | TaskColumns
COLUMNS = ("text_column", "pair_column", "label_column", "target_column", "question_column")


@dataclass(frozen=True)
class TaskFile:
    """`columns` are those of the training data under the settings' names; `format` is how prompts
    are made, None where nothing is written; `spans` how answers are pointed at."""

    task: str
    columns: dict[str, str] = field(default_factory=dict)
    prompt: str | None = None
    max_length: int | None = None
    beams: int = 1
    format: Format | None = None
    spans: SpanFormat | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What `evaluate` and `predict` take over, unless they are told otherwise."""
        kept = {"prompt": self.prompt, "max_length": self.max_length, "beams": self.beams}
        return self.columns | {name: value for name, value in kept.items() if value is not None}


def write(run: Path, kept: TaskFile) -> None:
    write_json(run / NAME, asdict(kept))


def read(place: Path) -> TaskFile | None:
    """Of a run, or of the model in one; None where there is none. Raises UserError for a damaged
    one."""
    folders = [place, place.resolve().parent] if place.resolve().name == "model" else [place]
    where = next((folder / NAME for folder in folders if (folder / NAME).is_file()), None)
    if where is None:
        return None
    try:
        return TypeAdapter(TaskFile).validate_json(json.dumps(read_json(where)), strict=True)
    except ValidationError as error:
        name = ".".join(str(part) for part in error.errors()[0]["loc"]) or "all of it"
        raise UserError(
            f"does not say how data is read for this model ({name})",
            where=where,
            mend="put the file back as it was, or fine-tune again",
        ) from None


def names_of(columns: AnyColumns) -> dict[str, str]:
    """Columns under the names of the settings that choose them."""
    if isinstance(columns, data.Columns):
        columns = Columns(columns.text, columns.label)
    if isinstance(columns, Columns):
        found = {
            "text_column": columns.text,
            "pair_column": columns.pair,
            "label_column": columns.label,
        }
        return {name: column for name, column in found.items() if column is not None}
    named = {
        "question_column" if role == "question" else "text_column": column
        for role, column in columns.inputs.items()
    }
    return named | ({"target_column": columns.targets[0]} if len(columns.targets) == 1 else {})


def fitting(
    settings: TaskSettings, found: Sequence[Record], asked: Collection[str]
) -> TaskSettings:
    """The settings without columns of the training data that this data does not have, so that its
    own are looked for; those that were `asked` for stay."""
    known = columns_of(found)

    def is_there(column: str) -> bool:
        return column in known or any(record[column] is not None for record in found[:50])

    gone = [
        name
        for name in COLUMNS
        if name not in asked and (column := getattr(settings, name)) and not is_there(column)
    ]
    return settings.model_copy(update=dict.fromkeys(gone))
