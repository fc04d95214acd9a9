"""Files at addresses (s3://, gs://, http://, memory://, ...): what fsspec opens, by its names.

S3 and Google Cloud Storage are opened by pyarrow's clients, which find credentials where the
providers' own tools do: no further package is needed for them.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from nextword.errors import UserError

_S3, _GOOGLE = ("s3", "s3a"), ("gs", "gcs")
_AT_ONCE = 8  # ranges of files that are fetched together
RANGE = 2**23  # bytes of each
PAUSES = (0.5, 1, 2, 4, 8, 16, 32)  # seconds between tries to read
_BUFFER = 2**20  # bytes asked for at once, where the client itself asks for what is read
_CONNECT_SECONDS, _REQUEST_SECONDS = 10, 60
_MEND = "check the address, the connection and the credentials"


class Unreachable(UserError):
    """An address did not answer, or not as it should: perhaps it does so later."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address; `version` changes when its content does."""

    address: str
    size: int
    version: str


def is_address(name: str | os.PathLike[str]) -> bool:
    """Return whether a name is an address; hf:// names data sets, which are read otherwise."""
    scheme, separator, _ = str(name).partition("://")
    return bool(separator) and scheme.isalnum() and scheme != "hf"


def open_address(address: str) -> BinaryIO:
    """Open a file to read. Raises UserError where it is not there or cannot be reached."""
    with explaining_address(address):
        system, path = _file_system(address)
        file = system.open(path, "rb")
        return io.BufferedReader(file, _BUFFER) if _is_by_pyarrow(address) else cast(BinaryIO, file)


def list_files(address: str) -> list[RemoteFile]:
    """Return the files that an address stands for, sorted: itself, those under it where it is a
    folder, or those that match it as a pattern; none where nothing is there.

    Raises UserError where it cannot be reached.
    """
    with explaining_address(address):
        system, path = _file_system(address)
        search = system.glob if any(sign in path for sign in "*?[") else system.find
        try:
            found = search(path, detail=True, on_error="raise")  # else what fails is left out
        except FileNotFoundError:
            return []
        scheme = address.partition("://")[0]
        return [
            _remote_file(f"{scheme}://{name.removeprefix(f'{scheme}://')}", info)
            for name, info in sorted(found.items())
            if info["type"] == "file"
        ]


def download(files: list[tuple[RemoteFile, Path]]) -> None:
    """Fetch files, several ranges of them at once. Raises UserError as `read_range` does."""

    def fetch(file: RemoteFile, target: Path, start: int) -> None:
        content = read_range(file, start, min(start + RANGE, file.size))
        with open(target, "r+b") as whole:
            whole.seek(start)
            whole.write(content)

    for file, target in files:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
        os.truncate(target, file.size)
    ranges = (
        (file, target, start) for file, target in files for start in range(0, file.size, RANGE)
    )
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        # No more of them wait than are fetched: a process that ends waits for those.
        waiting = [threads.submit(fetch, *one) for one in itertools.islice(ranges, _AT_ONCE)]
        while waiting:
            waiting.pop(0).result()
            waiting += [threads.submit(fetch, *one) for one in itertools.islice(ranges, 1)]


def read_range(file: RemoteFile, start: int, stop: int) -> bytes:
    """Return bytes of a file. Tries again where the connection fails, after longer and longer
    pauses; raises UserError, of kind Unreachable where it does not come back, and at once where the
    file is gone or has another size."""
    for pause in (*PAUSES, None):
        try:
            with explaining_address(file.address):
                system, path = _file_system(file.address)
                seekable = {"seekable": True} if _is_by_pyarrow(file.address) else {}
                content = bytes(system.cat_file(path, start=start, end=stop, **seekable))
            break
        except Unreachable:
            if pause is None:
                raise
            time.sleep(pause)
    if len(content) != stop - start:
        raise UserError("changed while it was fetched", where=file.address)
    return content


def upload(source: Path, address: str) -> None:
    """Write a file at an address: in an object store it appears when all of it is there. Raises
    UserError where it cannot be written."""
    with explaining_address(address):
        system, path = _file_system(address)
        if not _is_by_pyarrow(address):  # where there are no folders
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
        system.put_file(str(source), path)


@contextlib.contextmanager
def explaining_address(address: str) -> Iterator[None]:
    """Turn what a client raises in the block into a UserError."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError("no such file or folder", where=address) from None
    except ImportError as error:
        what = f"needs a package that is not installed ({error})"
        raise UserError(what, where=address) from None
    except Exception as error:  # of many kinds, one a client
        reason = " ".join(str(error).split())[:160].strip(" .:;") or type(error).__name__
        raise Unreachable(f"cannot be reached ({reason})", where=address, mend=_MEND) from None


def _file_system(address: str) -> tuple[Any, str]:
    """Return fsspec's file system for an address, and the path in it."""
    import fsspec

    scheme, _, path = address.partition("://")
    if _is_by_pyarrow(address):
        system = pyarrow_system(scheme, path.partition("/")[0], os.getpid())
        return system, path.rstrip("/")
    if scheme not in fsspec.available_protocols():
        raise UserError(f"no way to open {scheme}:// is known", where=address)
    system, path = fsspec.core.url_to_fs(address)
    return system, path


def _is_by_pyarrow(address: str) -> bool:
    return address.partition("://")[0] in (*_S3, *_GOOGLE)


@lru_cache(maxsize=8)
def pyarrow_system(scheme: str, bucket: str, process: int) -> Any:
    """Return S3's or Google's file system; a `process` makes its own, for connections are not
    shared by one that is forked."""
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import fs

    if scheme in _GOOGLE:
        return ArrowFSWrapper(fs.GcsFileSystem(), skip_instance_cache=True)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint is None and region is None:
        region = fs.resolve_s3_region(bucket)
    system = fs.S3FileSystem(
        endpoint_override=endpoint,
        region=region,
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_REQUEST_SECONDS,
    )
    return ArrowFSWrapper(system, skip_instance_cache=True)


def _remote_file(address: str, info: dict[str, Any]) -> RemoteFile:
    known = (info.get(name) for name in ("ETag", "etag", "mtime", "LastModified", "created"))
    version = next((str(value) for value in known if value is not None), "")
    return RemoteFile(address, int(info.get("size") or 0), version)
