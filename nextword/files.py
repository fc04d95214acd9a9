"""Files that are either whole or absent: written aside, synced, then renamed into place."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import functools
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nextword.errors import UserError

PARTIAL = ".partial"
DISPLACED = ".displaced"
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}  # by a file system, or an old kernel


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sync(path: Path) -> None:
    """Wait until a file, or a directory's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes | str, writer: str = "") -> None:
    """Replace `path` by `content` in one step; a crash leaves the old file or the new one.

    `writer` tells those apart that may write the same file at once.
    """
    aside = path.with_name(f".{path.name}{writer}{PARTIAL}")
    try:
        with open(aside, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def put_file(aside: Path, path: Path) -> None:
    """Give a file its name, once what it holds is on the disk."""
    sync(aside)
    os.replace(aside, path)


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Parse a JSON file; a damaged one is a UserError that names the line."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("no such file", where=path) from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"is not valid JSON ({error.msg})", where=f"{path}:{error.lineno}"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8 at byte {error.start}", where=path) from None
    except (ValueError, RecursionError, OSError) as error:  # a number of 5,000 digits, a folder
        raise UserError(f"cannot be read as JSON ({error})", where=path) from None


@contextlib.contextmanager
def yaml_errors(path: Path) -> Iterator[None]:
    """Raise what goes wrong while a YAML file is read as UserErrors, which name the line."""
    import yaml

    try:
        yield
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=path) from None
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8 at byte {error.start}", where=path) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"is not valid YAML ({error.problem})", where=f"{path}:{line}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise UserError(f"is not valid YAML ({reason})", where=path) from None


@contextlib.contextmanager
def write_errors(path: Path, mend: str = "choose another --out") -> Iterator[None]:
    """Raise what goes wrong while a file is written as UserErrors that name it."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            again = "free some space and run the same command again"
            raise UserError("the disk is full", where=path, mend=again) from None
        what = f"cannot be written ({error.strerror or error})"
        raise UserError(what, where=path, mend=mend) from None


def is_replaced(path: Path, kind: str, is_of_kind: Callable[[bytes], bool]) -> bool:
    """Return whether a file will be replaced, one of the `kind` that `is_of_kind` knows by how it
    begins. Raises UserError where what stands there is something else."""
    with write_errors(path):  # a name that is too long
        if not path.exists():
            return False
    if path.is_dir():
        raise UserError("is a folder", where=path, mend=f"name a {kind} in it")
    try:
        with open(path, "rb") as file:
            start = file.read(65536) if path.is_file() else b""
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=path) from None
    if start and not is_of_kind(start):
        raise UserError(
            f"exists and is no {kind}", where=path, mend="move it away, or choose another --out"
        )
    return bool(start)


@contextlib.contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Fill a directory aside and rename it into place once all of it is on the disk.

    An existing `path` is replaced. When the block raises, nothing is left behind. A process killed
    at any instant leaves the old directory or the new one, on Linux under its own name; elsewhere
    `recover` may have to put the old one back.
    """
    recover(path)
    aside = path.with_name(f".{path.name}{PARTIAL}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        for file in sorted(aside.rglob("*")):
            sync(file)
        put_in_place(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(aside, ignore_errors=True)  # now the old one


def put_in_place(aside: Path, path: Path) -> None:
    """Give a directory whose files are on the disk another name, in the place of what has it; that
    lies where the new one was, or is gone."""
    sync(aside)
    if path.exists():
        _replace_directory(aside, path)
    else:
        aside.rename(path)
    sync(path.parent)


def recover(path: Path) -> None:
    """Put a directory back that was being replaced when its process was killed, and remove what
    was only half written."""
    displaced = path.with_name(f".{path.name}{DISPLACED}")
    if displaced.is_dir() and not path.exists():
        displaced.rename(path)
    shutil.rmtree(displaced, ignore_errors=True)
    shutil.rmtree(path.with_name(f".{path.name}{PARTIAL}"), ignore_errors=True)


def _replace_directory(new: Path, old: Path) -> None:
    """The new one under the old one's name; the old one lies where the new one was, or is gone."""
    if exchange(new, old):
        return
    displaced = old.with_name(f".{old.name}{DISPLACED}")
    old.rename(displaced)
    try:
        new.rename(old)
    except BaseException:
        displaced.rename(old)
        raise
    shutil.rmtree(displaced, ignore_errors=True)


def exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the system has no such step."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    names = os.fsencode(first), os.fsencode(second)
    if renameat2(here, names[0], here, names[1], ctypes.c_uint(swap)) == 0:
        return True
    number = ctypes.get_errno()
    if number in UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(second))


@functools.cache
def cache_folder() -> Path:
    """Return the folder for what can be made or fetched again: $XDG_CACHE_HOME/nextword, or the
    user's own."""
    root = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(root) if root else Path("~/.cache").expanduser()) / "nextword"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    return folder if writable else _temporary()


def _temporary() -> Path:
    """A folder for this process alone, where the home is read-only or missing."""
    folder = Path(tempfile.mkdtemp(prefix="nextword-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
