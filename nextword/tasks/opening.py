"""Finds the class of a task, and opens a model that has learned one: a run of `finetune`, or a
model from anywhere."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub.config import head_of
from nextword.hub.heads import HEADS, SPANS, Head
from nextword.hub.model_files import find_directory
from nextword.inference.loading import choose_dtype
from nextword.registry import EXTRACTIVE, TASKS
from nextword.settings import ColumnSettings, PredictSettings, TaskSettings, resolve
from nextword.tasks import task_file
from nextword.tasks.base import Opening, Task

DOES_NOT = {"classify": "is no classifier", "tag": "tags no words"}

AnyTask = Task[Any, Any, Any]


def task_class(name: str, *, extract: bool = False) -> type[AnyTask]:
    """Return the class of a task; with `extract` the one that points at answers in a text."""
    module, _, class_name = (EXTRACTIVE if extract else TASKS)[name].partition(":")
    found: type[AnyTask] = getattr(importlib.import_module(f"nextword.tasks.{module}"), class_name)
    return found


def open_task(name: str | Path, settings: PredictSettings) -> AnyTask:
    """Open a run of `finetune`, or any model with the task that `settings` name.

    Raises UserError where the task is not known, or the model is not one for it.
    """
    saved = task_file.read(Path(name))
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
    if saved := task_file.read(Path(name)):
        return saved.task
    head = _head(find_directory(name))
    return head.task if head else None


def _head(directory: Path) -> Head[Any] | None:
    name = head_of(read_json(directory / "config.json").get("architectures"))
    return HEADS[name] if name else None
