"""Where runs are written: whether a new one may begin in a directory, and files of several runs."""

from __future__ import annotations

from pathlib import Path

from nextword.errors import UserError
from nextword.files import PARTIAL
from nextword.settings import FinetuneSettings
from nextword.tasks import task_file

SEEDS = "seeds.json"  # in a run directory of several seeds
SEARCH = "search.json"  # in one of several trials


def check_new(run: Path, settings: FinetuneSettings) -> None:
    """Raise UserError unless a new run can be written there, before anything costs time."""
    if run.exists() and not run.is_dir():
        raise UserError("is a file; a run needs a folder", where=run, mend="choose another --out")
    begun = {
        *("config.yaml", task_file.NAME),
        *(f".{name}{PARTIAL}" for name in ("run.json", "config.yaml", SEEDS, SEARCH)),
    }
    if (run / SEARCH).is_file():  # its best trial's files, before the runs of several seeds
        begun |= {path.name for path in run.iterdir()}
    present = {path.name for path in run.iterdir()} if run.is_dir() else set()
    if present and has_begun(run) and not (settings.resume and present <= begun):
        raise UserError(
            "exists already", where=run, mend="--resume goes on with it; or choose another --out"
        )
    run.mkdir(parents=True, exist_ok=True)


def has_begun(run: Path) -> bool:
    """Whether there is more than what was asked for: nothing is where the data was at fault."""
    asked_for = {"config.yaml", SEEDS, SEARCH}
    return any(path.is_file() and path.name not in asked_for for path in run.rglob("*"))
