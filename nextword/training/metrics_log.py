"""What a run writes down: one JSON object a line in metrics.jsonl, and the trackers asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nextword.terminal import warn
from nextword.training.trackers import Tracker


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
        """Bytes written so far, safely on the disk."""
        assert self._file is not None
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
