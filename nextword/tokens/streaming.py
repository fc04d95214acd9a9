"""Files of a store at an address, brought to its place in the cache as they are needed.

Ids are read in pages, kept in memory; what is asked for soon is fetched ahead. Meanwhile a thread
fetches whole shards into the cache, as many as fit, and checks their SHA-256: from then on they are
mapped from there. Processes of one machine share the cache.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.addresses import RemoteFile, Unreachable, download, read_range
from nextword.errors import UserError
from nextword.files import put_file, sha256
from nextword.terminal import warn
from nextword.tokens.joined_ids import Ids, PartedIds, Places
from nextword.tokens.workers import POLL_SECONDS, lock_directory

PAGE = 2**15  # bytes: rows of a shuffled text lie far apart, so that more of one would be wasted
KEPT = 2**13  # pages in memory
AT_ONCE = 32  # pages that are fetched together
ROOM = 0.5  # of what is free on the disk of the cache, for whole shards


@dataclass(frozen=True)
class Named:
    """A file as the manifest names it."""

    size: int  # bytes
    sha256: str


class RemoteFiles:
    """The files of a store at an address, `named` by its manifest, with their `place` here."""

    def __init__(self, place: Path, address: str, named: dict[str, Named]) -> None:
        self.place, self.address, self.named = place, address, named
        self._pool = ThreadPoolExecutor(AT_ONCE, "pages")
        self.pages: OrderedDict[tuple[str, int], Future[bytes]] = OrderedDict()  # oldest first
        self._lock = threading.Lock()
        self.filler: threading.Thread | None = None  # runs `fill`, from the first page on
        self._failure: UserError | None = None  # of what is fetched aside

    def fetch(self, name: str) -> Path:
        """Return a file that is here whole, fetched where it was not. Raises UserError where it
        cannot be reached, or is damaged."""
        target, file = self.place / name, self.named[name]
        work = self.place / f".{name}.work"
        while not target.is_file():
            if (lock := lock_directory(work)) is None:  # another process fetches it
                time.sleep(POLL_SECONDS)
                continue
            with lock:
                if not target.is_file():
                    download([(self._remote(name), work / name)])
                    if sha256(work / name) != file.sha256:
                        shutil.rmtree(work, ignore_errors=True)
                        raise damaged_at(f"{self.address}/{name}")
                    put_file(work / name, target)
                shutil.rmtree(work, ignore_errors=True)
        return target

    def page(self, name: str, number: int) -> bytes:
        """Return a page of a file. Raises UserError where it cannot be reached, or a file fetched
        meanwhile is damaged."""
        if self.filler is None:
            self.filler = threading.Thread(target=self.fill, name="shards", daemon=True)
            self.filler.start()
        if self._failure is not None:
            raise self._failure
        page = self._ask(name, number)
        try:
            return page.result()
        except UserError:
            with self._lock:
                self.pages.pop((name, number), None)  # whoever asks next asks anew
            raise

    def expect(self, name: str, numbers: Iterable[int]) -> None:
        """Have pages fetched, in this order."""
        for number in numbers:
            self._ask(name, number)

    def _ask(self, name: str, number: int) -> Future[bytes]:
        key = name, number
        with self._lock:
            if key in self.pages:
                self.pages.move_to_end(key)
            else:
                self.pages[key] = self._pool.submit(self._fetch_page, name, number)
                while len(self.pages) > KEPT:
                    self.pages.popitem(last=False)
            return self.pages[key]

    def _fetch_page(self, name: str, number: int) -> bytes:
        start = number * PAGE
        return read_range(self._remote(name), start, min(start + PAGE, self.named[name].size))

    def _remote(self, name: str) -> RemoteFile:
        return RemoteFile(f"{self.address}/{name}", self.named[name].size, "")

    def fill(self) -> None:
        """Fetch shards that fit, one after another."""
        try:
            for name in self._fitting():
                self.fetch(name)
        except Unreachable:
            pass  # pages that are needed say so themselves
        except UserError as error:
            self._failure = error
        except OSError as error:
            warn(f"the cache takes no more ({error.strerror}): text is read from {self.address}")
        except RuntimeError:
            pass  # the process ends: nothing more is begun

    def _fitting(self) -> Iterator[str]:
        """Yield the shards of ids that there is room for: first those that are read again and
        again to validate."""
        room = ROOM * shutil.disk_usage(self.place).free
        shards = [name for name in self.named if name.endswith(".bin")]
        for name in sorted(shards, key=lambda name: (name.startswith("train"), name)):
            if not (self.place / name).is_file() and (room := room - self.named[name].size) >= 0:
                yield name


class StreamedIds(PartedIds):
    """The ids of a shard at an address: pages of them until the whole shard is here."""

    def __init__(self, files: RemoteFiles, name: str, dtype: np.dtype[Any]) -> None:
        self._files, self._name, self._width = files, name, PAGE // dtype.itemsize
        self._mapped: NDArray[Any] | None = None
        count = files.named[name].size // dtype.itemsize
        super().__init__(np.append(np.arange(0, count, self._width), count), dtype)

    def part(self, number: int) -> Ids:
        return np.frombuffer(self._files.page(self._name, number), self.dtype)

    def expect(self, starts: Places, stops: Places) -> None:
        if self._whole() is None:
            first, last = starts // self._width, (stops - 1) // self._width
            numbers = [n for a, b in zip(first, last, strict=True) for n in range(a, b + 1)]
            self._files.expect(self._name, list(dict.fromkeys(numbers))[: KEPT // 2])

    def __getitem__(self, places: slice | Places) -> NDArray[Any]:
        whole = self._whole()
        return super().__getitem__(places) if whole is None else whole[places]

    def _whole(self) -> NDArray[Any] | None:
        """The ids, mapped from the shard, once that is here."""
        file = self._files.place / self._name
        if self._mapped is None and file.is_file():
            self._mapped = np.memmap(file, self.dtype, "r")
        return self._mapped


def damaged_at(address: str) -> UserError:
    mend = "fetch it again; if it recurs, prepare the store again"
    return UserError("is damaged: not what the manifest says was written", where=address, mend=mend)
