"""The token store that a run's model learned from, or the model that it was fine-tuned from."""

from __future__ import annotations

import os
from pathlib import Path

from nextword.errors import UserError
from nextword.runs.configuration import FILE, SEARCH, SEEDS
from nextword.runs.record import is_run, read_object
from nextword.tokens.remote_store import local_place
from nextword.tokens.store import MANIFEST, is_store

MEND = "name the store itself: nextword trace STORE TEXT"


def find_store(place: str | Path) -> Path:
    """Return the store of a run, of the model in it, or of what it was fine-tuned from; a store is
    its own.

    Raises UserError where none is known, it is gone, or it is another by now.
    """
    path = local_place(place).expanduser()
    if is_store(path):
        return path
    run = run_of(path)
    if run is None:
        what = "is no run or store" if path.exists() else "no such run or store"
        raise UserError(f"{what}: what it learned from is not known", where=place, mend=MEND)
    decided = read_object(run / FILE)
    named = decided.get("store") or decided.get("pretrained_on")
    if not isinstance(named, str):
        return _unnamed(run, decided.get("model"))
    store = Path(os.path.normpath(_own_folder(run) / named))
    if not is_store(store):
        raise UserError(
            f"the training text of this run is gone: no token store at {store}",
            where=run,
            mend=f"put it back, or {MEND}",
        )
    sums = decided.get("store_sums")
    if sums is not None and sums != read_object(store / MANIFEST).get("files"):
        raise UserError(
            "holds another text than this run learned from", where=store, mend=f"or {MEND}"
        )
    return store


def run_of(path: Path) -> Path | None:
    """Return the run that a path is, or whose model it is; None for others."""
    if path.is_dir() and is_run(path):
        return path
    above = path.resolve().parent
    return above if path.resolve().name == "model" and is_run(above) else None


def path_from(run: Path, model: str) -> str | None:
    """Return the way from a run to the store that the model it begins from learned from; None where
    that is not known."""
    try:
        return os.path.relpath(find_store(model), run)
    except UserError:
        return None


def _unnamed(run: Path, model: object) -> Path:
    """The store of a run that names none: one in the run, or that of the model it began from."""
    if is_store(run / "store"):
        return run / "store"
    if isinstance(model, str) and Path(model).is_dir():
        return find_store(model)
    began = f" (it began from {model})" if model else ""
    raise UserError(
        f"does not say what text its model was pretrained on{began}", where=run, mend=MEND
    )


def _own_folder(run: Path) -> Path:
    """Where a run's file of decisions was written: of several seeds or trials, the best one's."""
    for file in (SEEDS, SEARCH):
        best = read_object(run / file).get("best")
        if isinstance(best, str) and (run / best / FILE).is_file():
            return run / best
    return run
