"""Opening a model that has learnt a task: a run of `finetune`, or one from anywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub.config import Head, head_of
from nextword.hub.directory import load, load_classifier, load_span_finder, load_tagger
from nextword.hub.resolve import resolve as find_directory
from nextword.inference.language_model import boundaries, check_writes
from nextword.inference.precision import choose_dtype
from nextword.models.heads import SpanFinder, Tagger
from nextword.settings import ColumnSettings, PredictSettings, Task, TaskSettings, resolve
from nextword.tasks import task_file
from nextword.tasks.classify.data import Labels
from nextword.tasks.trained import TrainedModel

TASKS = {"classifier": "classify", "tags": "tag", "spans": "qa"}  # of models from anywhere
DOES = {"classify": "classifies texts", "tag": "tags words", "qa": "finds answers in texts"}
DOES_NOT = {"classify": "is no classifier", "tag": "tags no words"}


def open_trained(name: str | Path, settings: PredictSettings) -> TrainedModel:
    """A run of `finetune`, or any model with the task that `settings` name.

    Raises UserError where the task is not known, or the model is not one for it.
    """
    kept = task_file.read(Path(name))
    directory = find_directory(name)
    head = _head(directory)
    own_task = kept.task if kept else TASKS.get(head or "language")
    task = settings.task or own_task
    if task is None:
        raise UserError(
            "does not say what task it was trained for",
            where=name,
            mend="name it: --task classify, tag, qa, summarize, translate or chat",
        )
    headed = TASKS.get(head or "language")
    if task != headed and (headed is not None or task in ("classify", "tag")):
        what = DOES[headed] if headed else DOES_NOT[task]
        raise UserError(
            f"{what}: it cannot be used with --task {task}",
            where=name,
            mend="leave --task out, or fine-tune a model for that task",
        )
    known = settings.model_dump(include=set(ColumnSettings.model_fields), exclude_unset=True)
    same = kept is not None and kept.task == task
    own = resolve(TaskSettings, (kept.settings if kept and same else {}) | known | {"task": task})
    asked, at_once = frozenset(known), settings.batch_size
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if task == "classify":
        classifier, tokenizer, outputs = load_classifier(directory)
        body = classifier.transformer
        body.activation_dtype = choose_dtype(settings.precision, body, device)
        labels = Labels(outputs.kind, outputs.names)
        classifier.to(device)
        return TrainedModel(
            str(name), "classify", classifier, tokenizer, own, asked, None, at_once, labels
        )
    if head in ("tags", "spans"):
        return _open_headed(str(name), directory, own, asked, kept, settings, device)
    model, tokenizer = load(directory)
    check_writes(model, name)
    model.activation_dtype = choose_dtype(settings.precision, model, device)
    format = kept.format if kept and same else None
    if format is not None and "prompt" in asked and own.prompt is not None:
        format = replace(format, template=own.prompt)
    begin, _ = boundaries(directory, tokenizer)
    start = begin if model.config.start_id is None else None
    model.to(device).eval()
    return TrainedModel(
        str(name), cast(Task, task), model, tokenizer, own, asked, start, at_once, format=format
    )


def _open_headed(
    name: str,
    directory: Path,
    own: TaskSettings,
    asked: frozenset[str],
    kept: task_file.TaskFile | None,
    settings: PredictSettings,
    device: torch.device,
) -> TrainedModel:
    """A model that tags words, or finds answers in a text."""
    model: Tagger | SpanFinder
    tags: tuple[str, ...] = ()
    if own.task == "tag":
        model, tokenizer, tags = load_tagger(directory)
    else:
        model, tokenizer = load_span_finder(directory)
    body = model.transformer
    body.activation_dtype = choose_dtype(settings.precision, body, device)
    start, _ = boundaries(directory, tokenizer)
    model.to(device)
    spans = kept.spans if kept else None
    at_once, task = settings.batch_size, own.task
    return TrainedModel(
        name, task, model, tokenizer, own, asked, start, at_once, spans=spans, tags=tags
    )


def trained_for(name: str | Path) -> str | None:
    """The task of a run of `finetune`, or of a classifier from anywhere; None for other models."""
    if kept := task_file.read(Path(name)):
        return kept.task
    return TASKS.get(_head(find_directory(name)) or "language")


def _head(directory: Path) -> Head | None:
    return head_of(read_json(directory / "config.json").get("architectures"))
