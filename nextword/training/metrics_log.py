"""What a run writes down: one JSON object a line in metrics.jsonl, and the trackers asked for."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.files import read_json, write_json
from nextword.terminal import warn

IDS = "trackers.json"
PROJECT = "nextword"


class MetricsLog:
    """Appends records; after a resume, what was written past the checkpoint is cut off first."""

    def __init__(
        self, path: Path | None, keep_bytes: int | None, trackers: Iterable[Tracker] = ()
    ) -> None:
        """Keep the first `keep_bytes` of an existing file; all of it for None. Without a path
        nothing is written: one process of several keeps the record."""
        self._file = None if path is None else open(path, "ab")  # noqa: SIM115
        if self._file is not None and keep_bytes is not None:
            self._file.truncate(min(keep_bytes, os.fstat(self._file.fileno()).st_size))
            self._file.seek(0, os.SEEK_END)
        self._trackers = list(trackers)

    def write(self, kind: str, step: int, **values: Any) -> None:
        if self._file is None:
            return
        record = {"kind": kind, "step": step, **values}
        self._file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        for tracker in list(self._trackers):
            try:
                tracker.write(record)
            except Exception as error:  # a run does not end because a tracker cannot be reached
                warn(f"{tracker.name} failed at step {step} and gets no more of it: {error}")
                self._trackers.remove(tracker)

    def event(self, step: int, event: str, message: str, **values: Any) -> None:
        self.write("event", step, event=event, message=message, **values)

    def position(self) -> int:
        """Bytes written so far, safely on the disk; 0 where nothing is written."""
        if self._file is None:
            return 0
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        for tracker in self._trackers:
            try:
                tracker.close()
            except Exception as error:
                warn(f"{tracker.name} could not be closed: {error}")


@dataclass(frozen=True)
class Tracker:
    name: str
    write: Callable[[dict[str, Any]], None]  # takes a record of metrics.jsonl
    close: Callable[[], None]


def check_trackers(names: Iterable[str]) -> None:
    """Raise UserError where a tracker's package is not installed: before any work is done."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"{name} is not installed", where="--log-to", mend=f"pip install {name}"
            )


def start_trackers(
    names: Iterable[str], run: Path, settings: dict[str, Any], step: int
) -> list[Tracker]:
    """Open the trackers asked for; `step` is the one that the run goes on from."""
    makers = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
    file = run / IDS
    ids = read_json(file) if file.is_file() else {}
    if not isinstance(ids, dict):
        raise UserError("does not name the trackers' runs", where=file, mend="delete it")
    trackers = []
    for name in dict.fromkeys(names):
        tracker, id = makers[name](run, settings, step, ids.get(name))
        trackers.append(tracker)
        if id and ids.get(name) != id:
            ids[name] = id
            write_json(file, ids)
    return trackers


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    return {
        f"{record['kind']}/{name}": value
        for name, value in record.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "step"
    }


def _tensorboard(
    run: Path, settings: dict[str, Any], step: int, known: str | None
) -> tuple[Tracker, str]:
    from torch.utils.tensorboard import SummaryWriter

    # what was written after this step is replaced: it is taken again
    writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1 if step else None)
    writer.add_text("settings", json.dumps(settings, indent=2, ensure_ascii=False))

    def write(record: dict[str, Any]) -> None:
        for name, value in _numbers(record).items():
            writer.add_scalar(name, value, record["step"])
        if record["kind"] == "sample":
            writer.add_text("sample", record["text"], record["step"])
        writer.flush()

    return Tracker("tensorboard", write, writer.close), ""


def _wandb(
    run: Path, settings: dict[str, Any], step: int, known: str | None
) -> tuple[Tracker, str]:
    import wandb

    active = wandb.init(
        project=PROJECT, name=run.name, dir=str(run), config=settings, id=known, resume="allow"
    )

    def write(record: dict[str, Any]) -> None:
        values: dict[str, Any] = dict(_numbers(record))
        if record["kind"] == "sample":
            values["sample"] = record["text"]
        if values:
            active.log(values, step=record["step"])

    return Tracker("wandb", write, active.finish), str(active.id)


def _mlflow(
    run: Path, settings: dict[str, Any], step: int, known: str | None
) -> tuple[Tracker, str]:
    import mlflow

    mlflow.set_experiment(PROJECT)
    active = mlflow.start_run(run_id=known, run_name=run.name)
    if known is None:
        mlflow.log_params({name: str(value)[:500] for name, value in settings.items()})

    def write(record: dict[str, Any]) -> None:
        values = _numbers(record)
        if values:
            mlflow.log_metrics(values, step=record["step"])

    return Tracker("mlflow", write, mlflow.end_run), str(active.info.run_id)
