"""`/runs`: a run, or every run of a folder, as the page shows them: figures, settings, curves.

What a run has written down is read as it grows: `?after=N` gives what came after byte N of its
metrics.jsonl, so that the page follows a run that is under way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from nextword.runs.record import Record, mapping
from nextword.serving.app_state import REFUSALS, serving
from nextword.serving.errors import ApiError
from nextword.serving.shelf import Shelf, find_runs

MOST_POINTS = 1500  # of the training curve at once
KINDS = ("train", "validation", "sample", "event")
NO_RUNS: Record = {"root": None, "single": False, "runs": [], "differing": []}


router = APIRouter()
REFUSED: dict[int | str, Any] = {status: REFUSALS[status] for status in (400, 401, 403, 404)}


@router.get("/runs", responses=REFUSED)
def table(request: Request) -> JSONResponse:
    """Describe every run that is served: none, without a `root`, where a model alone is."""
    shelf = serving(request).shelf
    return JSONResponse(NO_RUNS if shelf is None else shelf.table())


@router.get("/runs/{name:path}", responses=REFUSED)
def follow(
    name: str, request: Request, after: Annotated[int, Query(ge=0, le=2**53)] = 0
) -> JSONResponse:
    """Describe a run, with what it has written down from byte `after` of metrics.jsonl on."""
    shelf = shelf_of(request)
    path = find_runs(shelf.root).get(name)
    if path is None:
        raise ApiError(404, f"no run is called {name[:100]!r}")
    return JSONResponse(shelf.summary(path) | new_records(path / "metrics.jsonl", after))


def shelf_of(request: Request) -> Shelf:
    """Return the runs that an application serves. Raises ApiError where there are none."""
    shelf = serving(request).shelf
    if shelf is None:
        raise ApiError(404, "no runs are served, only a model")
    return shelf


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
