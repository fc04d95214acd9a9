"""What a run writes down: one JSON object a line in metrics.jsonl, and experiment trackers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nextword.errors import UserError

Sink = Callable[[dict[str, Any]], None]


class Metrics:
    """Appends records; after a resume, what was written past the checkpoint is cut off first."""

    def __init__(self, path: Path, keep_bytes: int | None, sinks: Iterable[Sink] = ()) -> None:
        """Keep the first `keep_bytes` of an existing file; all of it for None."""
        self._file = open(path, "ab")  # noqa: SIM115
        if keep_bytes is not None:
            self._file.truncate(min(keep_bytes, path.stat().st_size))
            self._file.seek(0, os.SEEK_END)
        self._sinks = list(sinks)

    def write(self, kind: str, step: int, **values: Any) -> None:
        record = {"kind": kind, "step": step, **values}
        self._file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        for sink in self._sinks:
            sink(record)

    def event(self, step: int, event: str, message: str) -> None:
        self.write("event", step, event=event, message=message)

    def position(self) -> int:
        """Bytes written so far, safely on the disk."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


def trackers(names: Iterable[str], run: Path, settings: dict[str, Any]) -> list[Sink]:
    """A sink for each experiment tracker asked for; UserError where one is not installed."""
    makers = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
    sinks = []
    for name in names:
        try:
            sinks.append(makers[name](run, settings))
        except ImportError:
            raise UserError(f"{name} is not installed", mend=f"pip install {name}") from None
    return sinks


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    return {
        f"{record['kind']}/{name}": value
        for name, value in record.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "step"
    }


def _tensorboard(run: Path, settings: dict[str, Any]) -> Sink:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(run / "tensorboard"))
    writer.add_text("settings", json.dumps(settings, indent=2, ensure_ascii=False))

    def sink(record: dict[str, Any]) -> None:
        for name, value in _numbers(record).items():
            writer.add_scalar(name, value, record["step"])
        if record["kind"] == "sample":
            writer.add_text("sample", record["text"], record["step"])
        writer.flush()

    return sink


def _wandb(run: Path, settings: dict[str, Any]) -> Sink:
    import wandb

    wandb.init(project="nextword", name=run.name, dir=str(run), config=settings, resume="allow")
    return lambda record: wandb.log(_numbers(record), step=record["step"])


def _mlflow(run: Path, settings: dict[str, Any]) -> Sink:
    import mlflow

    mlflow.set_experiment("nextword")
    mlflow.start_run(run_name=run.name)
    mlflow.log_params({name: str(value)[:500] for name, value in settings.items()})
    return lambda record: mlflow.log_metrics(_numbers(record), step=record["step"])
