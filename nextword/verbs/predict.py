"""`predict`: what a fine-tuned model predicts for new data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.files import write_atomically
from nextword.settings import PredictSettings, resolve
from nextword.tasks.base import Prediction
from nextword.tasks.opening import AnyTask, open_task
from nextword.tasks.records import Record, read_records

TABLES = {".csv", ".tsv", ".parquet"}


def predict(
    model: str | Path | AnyTask,
    data: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    settings: PredictSettings | None = None,
    **overrides: Any,
) -> list[Prediction]:
    """Return a prediction for each record of the data, in order; with `out` also write them as JSON
    lines, beside the records' own fields. Raises UserError where model and data do not fit."""
    given = settings.model_dump(exclude_unset=True) if settings else {}
    settings = resolve(PredictSettings, given | overrides)
    task = open_task(model, settings) if isinstance(model, str | Path) else model
    items = [str(item) for item in ([data] if isinstance(data, str | Path) else data)]
    if out is not None:
        _check_out(Path(out), items)
    records = read_records(items, task.text_files)
    predictions = predict_records(task, records)
    if out is not None:
        _write(Path(out), records, predictions)
    return predictions


def predict_records(task: AnyTask, records: Sequence[Record]) -> list[Prediction]:
    """Return a prediction for each record: label and probabilities, an amount, entities, or the
    answer."""
    dataset = task.read_more(records, labelled=False)
    encoded = task.encode(dataset)
    task.warn_of(encoded)
    return task.predict(encoded, dataset).predictions


def _check_out(out: Path, items: Sequence[str]) -> None:
    """Raise UserError for a file that predictions cannot go to, before any of them is made."""
    if out.is_dir():
        raise UserError("is a folder", where=out, mend="name a file for the predictions")
    if out.exists() and any(Path(item).exists() and out.samefile(item) for item in items):
        raise UserError("is the data itself", where=out, mend="choose another --out")
    if out.suffix.lower() in TABLES:
        raise UserError(
            f"predictions are JSON lines, not {out.suffix}",
            where=out,
            mend=f"name the file {out.with_suffix('.jsonl').name}",
        )


def _write(path: Path, records: Sequence[Record], predictions: Sequence[Prediction]) -> None:
    """Write JSON lines: each record's own fields, and what is predicted under "prediction". Raises
    UserError where the file cannot be written."""
    lines = [
        json.dumps(
            dict(record.values) | {"prediction": prediction}, ensure_ascii=False, default=str
        )
        for record, prediction in zip(records, predictions, strict=True)
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "\n".join(lines) + "\n")
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", where=path, mend="choose another --out"
        ) from None
