"""`/runs`: a run, or every run of a folder, as the page shows them: figures, settings, curves.

What a run has written down is read as it grows: `?after=N` gives what came after byte N of its
metrics.jsonl, so that the page follows a run that is under way.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from nextword.errors import UserError
from nextword.runs.record import Record, Run, is_run, mapping, read_run

DEEPEST = 3  # folders below the one that is served
SKIPPED = ("store", "model", "checkpoints")  # folders of a run that hold no runs
MOST_POINTS = 1500  # of the training curve at once
STILL_RUNNING = 120.0  # seconds since the last record, or three times what lay between records
FIGURES = ("loss", "perplexity", "bits_per_byte")
KINDS = ("train", "validation", "sample", "event")


def run_routes(root: Path) -> list[Route]:
    """Return the routes that show a run, or the runs of a folder."""
    shelf = Shelf(root)

    def table(request: Request) -> JSONResponse:
        return JSONResponse(shelf.table())

    def follow(request: Request) -> JSONResponse:
        path = find_runs(root).get(request.path_params["name"])
        after = request.query_params.get("after", "0")
        if path is None or not after.isdecimal():
            said = "no such run" if path is None else "after: expected a number of bytes"
            status = 404 if path is None else 400
            error = {"message": said, "type": "invalid_request_error", "param": None, "code": None}
            return JSONResponse({"error": error}, status_code=status)
        return JSONResponse(shelf.summary(path) | new_records(path / "metrics.jsonl", int(after)))

    return [Route("/runs", table), Route("/runs/{name:path}", follow)]


class Shelf:
    """The runs of a folder; one that has not changed since is not read again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[Path, tuple[tuple[float, ...], Record]] = {}

    def table(self) -> Record:
        """Return a summary of every run, newest first, and the names of the settings in which they
        differ."""
        runs = [self.summary(path) for path in find_runs(self.root).values()]
        runs.sort(key=lambda run: -run["updated"])
        return {"root": str(self.root), "single": is_run(self.root), "runs": runs} | {
            "differing": differing([run["settings"] for run in runs])
        }

    def summary(self, path: Path) -> Record:
        """Return what a run is and how good, or the error that keeps it from being read."""
        files = [path / name for name in ("metrics.jsonl", "evaluation.json", "run.json")]
        stamp = tuple(file.stat().st_mtime for file in files if file.is_file())
        known = self._read.get(path)
        if known is None or known[0] != stamp:
            name = path.name if path == self.root else path.relative_to(self.root).as_posix()
            try:
                facts = summarize(read_run(path))
            except (UserError, OSError) as error:
                facts = {"error": str(error), "settings": {}, "figures": {}, "status": "damaged"}
            updated = max(stamp, default=0.0)
            known = stamp, {"name": name, "updated": updated} | facts
            self._read[path] = known
        facts = dict(known[1])
        if facts["status"] == "unfinished":
            is_live = time.time() - facts["updated"] < facts["patience"]
            facts["status"] = "running" if is_live else "stopped"
        return facts


def find_runs(root: Path) -> dict[str, Path]:
    """Return the runs at and below a folder by their names: paths relative to it, and for the
    folder itself its own name."""

    def walk(folder: Path, depth: int) -> Iterator[Path]:
        if is_run(folder):
            yield folder
        if depth == DEEPEST:
            return
        for inside in sorted(folder.iterdir()):
            hidden = inside.name.startswith(".") or inside.name in SKIPPED
            if inside.is_dir() and not inside.is_symlink() and not hidden:
                yield from walk(inside, depth + 1)

    return {
        root.name if path == root else path.relative_to(root).as_posix(): path
        for path in walk(root, 0)
    }


def summarize(run: Run) -> Record:
    """Return a run in JSON; `figures` are those of its best model, with their intervals once they
    have been measured."""
    return {
        "status": f"finished: {run.finished}" if run.finished else "unfinished",
        "patience": max(STILL_RUNNING, 3 * _between(run.train)),
        "task": run.task,
        "objective": run.objective,
        "step": run.step,
        "planned_steps": run.planned_steps,
        "seconds": run.seconds,
        "parameters": run.weights.parameters if run.weights else None,
        "tokens_per_second": run.tokens_per_second,
        "data": run.data,
        "has_model": run.has_model,
        "best_step": run.best["step"] if run.best else None,
        "figures": figures(run),
        "settings": run.settings,
        "asked": sorted(run.asked),
    }


def figures(run: Run) -> dict[str, dict[str, Any]]:
    """Return the figures of a run's best model by name: {"value", "interval"}, the interval null
    while only validations during training are known."""
    if measured := mapping(run.evaluation.get("metrics")):
        return {
            name: {"value": entry["value"], "interval": entry.get("interval")}
            for name, entry in measured.items()
            if isinstance(entry, dict) and "value" in entry
        }
    source = run.evaluation or run.best or {}
    return {
        name: {"value": source[name], "interval": source.get(f"{name}_interval")}
        for name in FIGURES
        if isinstance(source.get(name), int | float)
    }


def differing(settings: Sequence[Record]) -> list[str]:
    """Return the names of the settings that are not the same in all runs."""
    names = dict.fromkeys(name for values in settings for name in values)
    texts = {name: {json.dumps(values.get(name)) for values in settings} for name in names}
    return [name for name in names if len(texts[name]) > 1]


def new_records(path: Path, after: int) -> Record:
    """Return the whole records of metrics.jsonl from byte `after` on, and where the next ones will
    begin. Where the file is shorter than that, a resumed run has taken records back, and all of
    them are given, `restarted`."""
    size = path.stat().st_size if path.is_file() else 0
    restarted = after > size
    after = 0 if restarted else after
    records: list[Record] = []
    position = after
    if size:
        with open(path, "rb") as file:
            file.seek(after)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                position += len(line)
                record = _record(line)
                if record.get("kind") in KINDS:
                    records.append(record)
    return {"position": position, "restarted": restarted, "records": thin(records)}


def thin(records: Sequence[Record]) -> list[Record]:
    """Return records with at most MOST_POINTS of training, evenly spread; the others all stay."""
    train = sum(record["kind"] == "train" for record in records)
    stride = max(1, -(-train // MOST_POINTS))
    kept, number = [], 0
    for record in records:
        if record["kind"] == "train":
            number += 1
            if number % stride:
                continue
        kept.append(record)
    return kept


def _record(line: bytes) -> Record:
    try:
        return mapping(json.loads(line, parse_constant=lambda name: None))  # JSON knows no NaN
    except (ValueError, RecursionError):
        return {}


def _between(train: Sequence[Record]) -> float:
    """The seconds between the last records of training."""
    seconds = [record["seconds"] for record in train[-8:] if "seconds" in record]
    return (seconds[-1] - seconds[0]) / (len(seconds) - 1) if len(seconds) > 1 else 0.0
