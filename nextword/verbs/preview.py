"""What people see of labelled data before anything is learned: what is read of it, what is not.
`info DATA --task T` shows it without training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.settings import FinetuneSettings, InfoSettings, TaskSettings, resolve
from nextword.tasks.dataset import Dataset, Encoded
from nextword.tasks.opening import AnyTask, task_class
from nextword.tasks.records import read_records
from nextword.terminal import count_of, say
from nextword.text.sources import list_items

SHOWN = 3  # examples
SHOWN_CHARACTERS = 400  # of one
SHOWN_LABELS = 12
Preview = dict[str, Any]


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


def preview(kind: type[AnyTask], dataset: Dataset[Any], settings: TaskSettings) -> Preview:
    """Return what was read: examples, columns used and not used, labels, what was left out."""
    report = dataset.report
    labels: Counter[str] = Counter()
    for names in _label_names(kind, dataset, settings):
        labels.update(names)
    return {
        "records": report.records,
        "examples": len(dataset),
        "columns": dataset.columns.settings,
        "also_read": list(dataset.columns.extras),
        "unused": dict(report.unused),
        "labels": dict(labels.most_common()),
        "left_out": report.left_out_lines(),
        "unreadable": [str(error) for error in report.unreadable.values()],
        "notes": [f"{what}: {count:,}" for what, count in report.notes.items()],
        "shown": [shorten(kind.present(dataset, index)) for index in spread(len(dataset))],
    }


def _label_names(
    kind: type[AnyTask], dataset: Dataset[Any], settings: TaskSettings
) -> list[list[str]]:
    """Return each example's labels. Raises UserError where they cannot be learned, and says so
    where other records cannot be read."""
    if not dataset.columns.targets:
        return []
    try:
        return kind.label_names(dataset, settings)
    except UserError as error:
        unreadable = list(dataset.report.unreadable.values())
        if not unreadable:
            raise
        records = count_of(len(unreadable), "record")
        raise UserError(
            f"{error.what}; {records} besides cannot be read: {unreadable[0]}", where=error.where
        ) from None


def preview_encoded(task: AnyTask, encoded: Encoded[Any], dataset: Dataset[Any]) -> Preview:
    """Return what is known once examples are in tokens: exactly what the model will see."""
    shown = [task.shown(encoded, dataset, number) for number in spread(len(encoded.items))]
    return {
        "tokens": sum(encoded.lengths),
        "longest": max(encoded.lengths, default=0),
        "cut": encoded.notes,
        "shown": [shorten(text) for text in shown],
    }


def show(found: Preview, indent: str = "  ") -> None:
    """Say it in a few lines."""
    roles = {name.removesuffix("_column"): column for name, column in found["columns"].items()}
    if roles:
        columns = ", ".join(f"{role} {column!r}" for role, column in roles.items())
        say(f"{indent}columns: {columns}")
    if found["also_read"]:
        say(f"{indent}also read: {', '.join(found['also_read'])}")
    if found["unused"]:
        names = (f"{name} ({count:,})" for name, count in found["unused"].items())
        say(f"{indent}not used, with the number of records that have it: {', '.join(names)}")
    for line in found["left_out"]:
        say(f"{indent}{line}")
    if errors := found["unreadable"]:
        say(f"{indent}cannot be read: {len(errors):,} of {found['records']:,} records:")
        for error in errors[:SHOWN]:
            say(f"{indent}  {error}")
    if labels := found["labels"]:
        named = [f"{name} {count:,}" for name, count in labels.items()]
        more = [f"and {len(named) - SHOWN_LABELS:,} more"] if len(named) > SHOWN_LABELS else []
        say(f"{indent}labels: {', '.join(named[:SHOWN_LABELS] + more)}")
    for note in [*found["notes"], *found.get("cut", [])]:
        say(f"{indent}{note}")
    examples = found["shown"]
    count = f"{len(examples)} examples" if len(examples) > 1 else "an example"
    seen = "as the model sees them" if "tokens" in found else "as read"
    say(f"{indent}{count} {seen}, what is learned in ⟦ ⟧:")
    for number, example in enumerate(examples, start=1):
        say(f"{indent}  {number}  {example}")


def spread(count: int) -> list[int]:
    """Return a few of so many indices, from the first to the last."""
    if count <= SHOWN:
        return list(range(count))
    return [number * (count - 1) // (SHOWN - 1) for number in range(SHOWN)]


def shorten(example: str, most: int = SHOWN_CHARACTERS) -> str:
    """Return an example in one line: its beginning, and where it is cut the place at which what is
    learned begins."""
    text = " ".join(example.split())
    begin = text.find("⟦")
    if len(text) <= most:
        return text
    if begin < most // 2:
        return f"{text[:most]} …"
    before = most // 4
    end = begin + most // 2
    return f"{text[:before]} … {text[begin - before : end]}{' …' if end < len(text) else ''}"
