"""RUN/task.json: the task that a model has learned and how data is read for it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nextword.errors import UserError
from nextword.files import read_json, write_json

NAME = "task.json"


@dataclass(frozen=True)
class TaskFile:
    """`columns` are those of the training data under the settings' names; `format` is what the task
    has found out about its data and its model has learned, such as the prompt."""

    task: str
    columns: dict[str, str] = field(default_factory=dict)
    prompt: str | None = None
    max_length: int | None = None
    num_beams: int = 1
    format: dict[str, Any] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What `evaluate` and `predict` take over, unless they are told otherwise."""
        kept = {"prompt": self.prompt, "max_length": self.max_length, "num_beams": self.num_beams}
        return self.columns | {name: value for name, value in kept.items() if value is not None}


def write(run: Path, task_file: TaskFile) -> None:
    """Write RUN/task.json."""
    write_json(run / NAME, asdict(task_file))


def read(place: Path) -> TaskFile | None:
    """Read the file of a run, or of the model in one; None where there is none. Raises UserError
    for a damaged one."""
    folders = [place, place.resolve().parent] if place.resolve().name == "model" else [place]
    where = next((folder / NAME for folder in folders if (folder / NAME).is_file()), None)
    if where is None:
        return None
    try:
        return TypeAdapter(TaskFile).validate_json(json.dumps(read_json(where)), strict=True)
    except ValidationError as error:
        name = ".".join(str(part) for part in error.errors()[0]["loc"]) or "all of it"
        raise _damaged(where, name) from None


def read_format(kind: type[Any], task_file: TaskFile, place: str) -> Any:
    """Return a task file's format as a dataclass, None for none. Raises UserError for another."""
    if task_file.format is None:
        return None
    try:
        return TypeAdapter(kind).validate_json(json.dumps(task_file.format), strict=True)
    except ValidationError as error:
        name = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise _damaged(Path(place) / NAME, f"format.{name}") from None


def _damaged(where: Path, name: str) -> UserError:
    return UserError(
        f"does not say how data is read for this model ({name})",
        where=where,
        mend="put the file back as it was, or fine-tune again",
    )
