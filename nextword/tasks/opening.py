"""Finds the class of a task, and opens a model that has learned one: a run of `finetune`, whose
task.json says how data is read for it, or a model from anywhere."""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from nextword.errors import UserError
from nextword.files import read_json, write_json
from nextword.hub.config import head_of
from nextword.hub.heads import HEADS, SPANS, Head
from nextword.hub.model_files import find_directory
from nextword.inference.loading import choose_dtype
from nextword.registry import EXTRACTIVE, TASK_FILE, TASKS
from nextword.settings import ColumnSettings, PredictSettings, TaskSettings, resolve
from nextword.tasks.base import Opening, Task, TaskFile

DOES_NOT = {"classify": "is no classifier", "tag": "tags no words"}

AnyTask = Task[Any, Any, Any]


def write_task_file(run: Path, task_file: TaskFile) -> None:
    """Write RUN/task.json."""
    write_json(run / TASK_FILE, asdict(task_file))


def read_task_file(place: Path) -> TaskFile | None:
    """Read the file of a run, or of the model in one; None where there is none. Raises UserError
    for a damaged one."""
    folders = [place, place.resolve().parent] if place.resolve().name == "model" else [place]
    where = next((folder / TASK_FILE for folder in folders if (folder / TASK_FILE).is_file()), None)
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
        raise _damaged(Path(place) / TASK_FILE, f"format.{name}") from None


def _damaged(where: Path, name: str) -> UserError:
    return UserError(
        f"does not say how data is read for this model ({name})",
        where=where,
        mend="put the file back as it was, or fine-tune again",
    )


def task_class(name: str, *, extract: bool = False) -> type[AnyTask]:
    """Return the class of a task; with `extract` the one that points at answers in a text."""
    module, _, class_name = (EXTRACTIVE if extract else TASKS)[name].partition(":")
    found: type[AnyTask] = getattr(importlib.import_module(f"nextword.tasks.{module}"), class_name)
    return found


def open_task(name: str | Path, settings: PredictSettings) -> AnyTask:
    """Open a run of `finetune`, or any model with the task that `settings` name.

    Raises UserError where the task is not known, or the model is not one for it.
    """
    saved = read_task_file(Path(name))
    directory = find_directory(name)
    head = _head(directory)
    task = settings.task or (saved.task if saved else head.task if head else None)
    if task is None:
        raise UserError(
            "does not say what task it was trained for",
            where=name,
            mend=f"name it: --task {', '.join(TASKS)}",
        )
    if (head and task != head.task) or (not head and task in DOES_NOT):
        raise UserError(
            f"{head.does if head else DOES_NOT[task]}: it cannot be used with --task {task}",
            where=name,
            mend="leave --task out, or fine-tune a model for that task",
        )
    asked = settings.model_dump(include=set(ColumnSettings.model_fields), exclude_unset=True)
    own = saved.settings if saved is not None and saved.task == task else {}
    base = Opening(
        str(name),
        resolve(TaskSettings, own | asked | {"task": task}),
        frozenset(asked),
        settings.batch_size,
    )
    opened = task_class(task, extract=head is SPANS).open(directory, saved, base)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    body = opened.body
    body.activation_dtype = choose_dtype(settings.precision, body, device)
    opened.model.to(device).eval()
    return opened


def task_of(name: str | Path) -> str | None:
    """Return the task of a run of `finetune`, or of a model with a head; None for others."""
    if saved := read_task_file(Path(name)):
        return saved.task
    head = _head(find_directory(name))
    return head.task if head else None


def _head(directory: Path) -> Head[Any] | None:
    name = head_of(read_json(directory / "config.json").get("architectures"))
    return HEADS[name] if name else None
