"""`predict`: what a fine-tuned model predicts for new data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.files import is_replaced, write_atomically, write_errors
from nextword.settings import PredictSettings, with_overrides
from nextword.tasks.base import Prediction
from nextword.tasks.opening import AnyTask, open_task
from nextword.tasks.records import Record, read_records
from nextword.terminal import say, warn
from nextword.text.sources import list_items

TABLES = {".csv", ".tsv", ".parquet"}


def predict(
    model: str | Path | AnyTask,
    data: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    settings: PredictSettings | None = None,
    **overrides: Any,
) -> list[Prediction]:
    """Return a prediction for each record of the data, in order; with `out` also write them as JSON
    lines, beside the records' own fields.

    A record that cannot be read has {"error": why} in place of a prediction. Raises UserError where
    model and data do not fit, or no record can be read.
    """
    settings = with_overrides(PredictSettings, settings, overrides)
    task = open_task(model, settings) if isinstance(model, str | Path) else model
    items = list_items(data)
    if out is not None:
        replaced = _check_out(Path(out), items)
    records = read_records(items, task.text_files)
    predictions = predict_records(task, records, keep_going=True)
    if out is not None:
        _write(Path(out), records, predictions)
        if replaced:
            say(f"{out}: the predictions that were there are replaced")
    return predictions


def predict_records(
    task: AnyTask, records: Sequence[Record], *, keep_going: bool = False
) -> list[Prediction]:
    """Return a prediction for each record: label and probabilities, an amount, entities, or the
    answer.

    With `keep_going` a record that cannot be read has {"error": why}; without it, or where no
    record can be read, the first one raises its UserError.
    """
    dataset = task.read_more(records, labelled=False, keep_going=keep_going)
    errors = dataset.report.unreadable | dataset.report.left_out
    first = errors[min(errors)] if errors else None
    if first is not None and not (keep_going and len(dataset)):
        raise first
    encoded = task.encode(dataset)
    task.warn_of(encoded)
    predictions = iter(task.predict(encoded, dataset).predictions)
    if first is not None:
        warn(
            f"{len(errors):,} of {len(records):,} records cannot be read and have no prediction; "
            f"the first: {first}"
        )
    return [
        {"error": str(errors[index])} if index in errors else next(predictions)
        for index in range(len(records))
    ]


def _check_out(out: Path, items: Sequence[str]) -> bool:
    """Return whether predictions will be replaced. Raises UserError for a file that they cannot go
    to, before any of them is made."""
    with write_errors(out):  # a name that is too long
        is_data = out.exists() and any(Path(i).exists() and out.samefile(i) for i in items)
    if is_data:
        raise UserError("is the data itself", where=out, mend="choose another --out")
    if out.suffix.lower() in TABLES:
        raise UserError(
            f"predictions are JSON lines, not {out.suffix}",
            where=out,
            mend=f"name the file {out.with_suffix('.jsonl').name}",
        )
    return is_replaced(out, "file of predictions", _are_predictions)


def _are_predictions(start: bytes) -> bool:
    """Return whether a file begins as `_write` has it; its first line may be a long one."""
    line, _, more = start.partition(b"\n")
    return line.startswith(b"{") and (b'"prediction": ' in line or b'"error": ' in line or not more)


def _write(path: Path, records: Sequence[Record], predictions: Sequence[Prediction]) -> None:
    """Write JSON lines: each record's own fields, and what is predicted under "prediction", or
    under "error" why nothing is. Raises UserError where the file cannot be written."""
    lines = []
    for record, prediction in zip(records, predictions, strict=True):
        said = prediction if "error" in prediction else {"prediction": prediction}
        lines.append(json.dumps(dict(record.values) | said, ensure_ascii=False, default=str))
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "\n".join(lines) + "\n")
