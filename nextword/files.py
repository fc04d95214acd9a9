"""Files that are either whole or absent: written aside, synced, then renamed into place."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nextword.errors import UserError

PARTIAL = ".partial"


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace `path` by `content` in one step; a crash leaves the old file or the new one."""
    aside = path.with_name(f".{path.name}{PARTIAL}")
    with open(aside, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    sync_directory(path.parent)


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


@contextlib.contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Fill a directory aside and rename it into place once all of it is on the disk.

    An existing `path` is replaced. When the block raises, nothing is left behind.
    """
    aside = path.with_name(f".{path.name}{PARTIAL}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        for file in sorted(aside.rglob("*")):
            sync_directory(file) if file.is_dir() else sync_file(file)
        sync_directory(aside)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    if path.exists():
        displaced = path.with_name(f".{path.name}.displaced")
        shutil.rmtree(displaced, ignore_errors=True)
        path.rename(displaced)
        aside.rename(path)
        shutil.rmtree(displaced)
    else:
        aside.rename(path)
    sync_directory(path.parent)
