"""Where a store is made: beside its place, so that a killed run goes on and no two meet."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from nextword.errors import UserError
from nextword.files import DISK_FULL, read_json, write_json
from nextword.terminal import quantity
from nextword.tokens.pool import POLL
from nextword.tokens.store import MANIFEST, Store


def finished(out: Path, identity: dict[str, Any]) -> Store | None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if out.is_dir() and (out / MANIFEST).is_file():
        manifest = read_json(out / MANIFEST)
        if isinstance(manifest, dict) and all(manifest.get(k) == v for k, v in identity.items()):
            return Store.open(out)
        what = "holds a store made from other data, or with other settings"
    else:
        what = "exists and is not a token store"
    raise UserError(what, where=out, mend="remove it, or name another place with --out")


def beside(out: Path) -> Path:
    """Where shards are kept until the store is whole."""
    return out.with_name(f".{out.name}.work")


@contextlib.contextmanager
def work_directory(out: Path, identity: dict[str, Any]) -> Iterator[Path]:
    """`.NAME.work` beside the store, with what a killed run of the same work left in it.

    It is removed when the block ends well. A lock keeps a second run out. Worker processes hold
    it too, so that those of a killed run, which end soon after it, never write where the next one
    does.
    """
    work = beside(out)
    with _locked(work, out):
        identity_file = work / "identity.json"
        if not identity_file.is_file() or read_json(identity_file) != identity:
            for item in work.iterdir():
                if item.is_dir():
                    shutil.rmtree(item)
                elif item.name != "lock":
                    item.unlink()
            write_json(identity_file, identity)
        for stage in ("text", "distinct", "ids", "quarantine"):
            (work / stage).mkdir(exist_ok=True)
        yield work
        # Under another name first: whoever waits for the lock makes a new directory at once.
        gone = work.with_name(f"{work.name}.{os.getpid()}.{threading.get_ident()}")
        work.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def clear(out: Path, identity: dict[str, Any]) -> None:
    """Remove what a run left that was killed when its store was just whole."""
    for gone in out.parent.glob(f"{glob.escape(beside(out).name)}.*"):
        shutil.rmtree(gone, ignore_errors=True)
    if beside(out).exists():
        with contextlib.suppress(UserError, OSError), work_directory(out, identity):
            pass


@contextlib.contextmanager
def _locked(work: Path, out: Path) -> Iterator[None]:
    for _ in range(20):
        lock = _lock(work)
        if lock is not None:
            with lock:
                yield
            return
        time.sleep(POLL / 4)
    raise UserError("is being prepared by another process", where=out)


def _lock(work: Path) -> IO[str] | None:
    """The lock file held, or None while another process holds it."""
    work.mkdir(parents=True, exist_ok=True)
    file = work / "lock"
    with contextlib.ExitStack() as opened, contextlib.suppress(BlockingIOError, FileNotFoundError):
        lock = opened.enter_context(open(file, "w"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The run that held it may have ended, and removed the directory, in the meantime.
        if os.fstat(lock.fileno()).st_ino == file.stat().st_ino:
            opened.pop_all()
            return lock
    return None


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    """A full disk, or a place that cannot be written to, as a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            what = f"cannot be written ({error.strerror or error})"
            mend = "name another place with --out"
            raise UserError(what, where=error.filename or out, mend=mend) from None
        left = shutil.disk_usage(beside(out) if beside(out).exists() else Path.cwd()).free
        raise UserError(
            f"the disk is full ({quantity(left, 'B')} left)",
            where=out,
            mend="free some space and give the same command again: it goes on from here",
        ) from None
