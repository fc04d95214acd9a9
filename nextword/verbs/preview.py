"""`info DATA --task T`: what fine-tuning would read of labelled data. Trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nextword.settings import FinetuneSettings, InfoSettings, TaskSettings, resolve
from nextword.tasks.opening import task_class
from nextword.tasks.preview import preview, preview_encoded
from nextword.tasks.records import read_records
from nextword.text.sources import list_items


def preview_data(data: str | Path | Sequence[str | Path], settings: InfoSettings) -> dict[str, Any]:
    """Return what would be read of labelled data for a task: columns used and not used, labels,
    what is left out or cannot be read, a few examples; with a model, in its tokens.

    Raises UserError where the columns are not clear, or no record can be read.
    """
    assert settings.task is not None
    items = list_items(data)
    own = settings.model_dump(exclude_unset=True, exclude={"model", "extract"})
    kind = task_class(settings.task, extract=settings.extract)
    reading = resolve(TaskSettings, own)
    records = read_records(items, kind.text_files)
    dataset = kind.read(records, reading, keep_going=True)
    if not len(dataset):
        raise next(iter((dataset.report.unreadable | dataset.report.left_out).values()))
    found = preview(kind, dataset, reading)
    if settings.model is not None:
        training = resolve(FinetuneSettings, own | {"extract": settings.extract})
        task = kind.start(settings.model, dataset, training)
        found |= preview_encoded(task, task.encode(dataset, training=True), dataset)
    return {"kind": "examples", "path": " ".join(items), "task": settings.task, **found}
