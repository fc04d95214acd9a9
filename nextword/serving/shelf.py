"""The runs of a folder: which there are, what each is, and how good."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.reports.summary import is_number
from nextword.runs.record import Record, Run, is_run, mapping, read_run

DEEPEST = 3  # folders below the one that is served
SKIPPED = ("store", "model", "checkpoints")  # folders of a run that hold no runs
STILL_RUNNING = 120.0  # seconds since the last record, or three times what lay between records
FIGURES = ("loss", "perplexity", "bits_per_byte")


class Shelf:
    """The runs of a folder; one that has not changed since is not read again."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._read: dict[Path, tuple[tuple[float, ...], Record]] = {}
        self._models: tuple[float, dict[str, Path]] = -math.inf, {}

    def models(self) -> dict[str, Path]:
        """Return the runs that have a model, by name: as of a second ago at most."""
        looked_at, found = self._models
        if time.monotonic() - looked_at > 1:
            runs = find_runs(self.root)
            found = {name: path for name, path in runs.items() if has_model(path)}
            self._models = time.monotonic(), found
        return found

    def table(self) -> Record:
        """Return a summary of every run, newest first, and the names of the settings in which they
        differ."""
        runs = [self.summary(path) for path in find_runs(self.root).values()]
        runs.sort(key=lambda run: -run["updated"])
        names = differing([run["settings"] for run in runs])
        names.sort(key=lambda name: -sum(name in run.get("asked", ()) for run in runs))
        return {
            "root": str(self.root),
            "single": is_run(self.root),
            "runs": runs,
            "differing": names,  # those that people set first
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

    root = root.resolve()

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


def has_model(run: Path) -> bool:
    return (run / "model" / "config.json").is_file()


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
        "has_model": run.has_model,
        "best_step": run.best["step"] if run.best else None,
        "figures": figures(run),
        "settings": plain(run.settings),
        "asked": sorted(run.asked),
    }


def figures(run: Run) -> dict[str, dict[str, Any]]:
    """Return the figures of a run's best model by name: {"value", "interval"}, the interval null
    while only validations during training are known."""
    if measured := mapping(run.evaluation.get("metrics")):
        pairs = {
            name: (mapping(m).get("value"), mapping(m).get("interval"))
            for name, m in measured.items()
        }
    else:
        source = run.evaluation or run.best or {}
        pairs = {name: (source.get(name), source.get(f"{name}_interval")) for name in FIGURES}
    return {
        name: {"value": value, "interval": _interval(interval)}
        for name, (value, interval) in pairs.items()
        if is_number(value)
    }


def _interval(value: Any) -> list[float] | None:
    ends = value if isinstance(value, list) else []
    return ends if len(ends) == 2 and all(map(is_number, ends)) else None


def differing(settings: Sequence[Record]) -> list[str]:
    """Return the names of the settings that are not the same in all runs."""
    names = dict.fromkeys(name for values in settings for name in values)
    texts = {name: {json.dumps(values.get(name)) for values in settings} for name in names}
    return [name for name in names if len(texts[name]) > 1]


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: what is neither text, number, list nor mapping as text,
    a number that is not finite as its name."""
    if isinstance(value, dict):
        return {str(name): plain(inside) for name, inside in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inside) for inside in value]
    return value if value is None or isinstance(value, bool) or is_number(value) else str(value)


def _between(train: Sequence[Record]) -> float:
    """The seconds between the last records of training."""
    seconds = [record["seconds"] for record in train[-8:] if "seconds" in record]
    return (seconds[-1] - seconds[0]) / (len(seconds) - 1) if len(seconds) > 1 else 0.0
