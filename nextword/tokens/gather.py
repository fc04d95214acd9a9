"""Documents, read and cleaned by worker processes, set aside on the disk in order.

    WORK/texts.bin      cleaned text of every document kept so far, one after the other
    WORK/records.bin    a RECORD each
    WORK/names.jsonl    where each came from
    WORK/gathered.json  how much of the three counts; what a killed run wrote beyond is cut off

Memory does not grow with the text: only records (about 300 bytes a document) are read back whole.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nextword.files import read_json, write_json
from nextword.settings import PrepareSettings
from nextword.terminal import Progress
from nextword.text.document import Document, Reason, Tally
from nextword.text.paragraphs import Paragraphs, hashes, without
from nextword.text.process import Processed, process
from nextword.text.sources import Source, read

RECORD = np.dtype(
    [
        ("bytes", "<i8"),
        ("characters", "<i8"),
        ("language", "S8"),
        ("digest", "V16"),
        ("signature", "<u2", 128),
    ]
)
FILES = ("texts.bin", "records.bin", "names.jsonl")
TASK_BYTES = 1 << 20  # of small files given to a worker at once
LARGE_BYTES = 16 << 20  # a file this large is read here and its documents are given out
TASK_CHARACTERS = 1 << 20
COMMIT_BYTES = 64 << 20  # of text between two commits
ALONE_BYTES = 1 << 20  # less text than this is not worth other processes

Done = tuple[list[Processed], Tally]


@dataclass
class Gathered:
    """What was set aside; `records` is a RECORD array, documents are read one at a time."""

    folder: Path
    records: NDArray[Any]
    tally: Tally

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each text begins in texts.bin, and where the last one ends."""
        return np.concatenate([[0], np.cumsum(self.records["bytes"])])

    def documents(self, numbers: NDArray[np.int64]) -> Iterator[Document]:
        """Documents by their numbers, which ascend."""
        offsets = self.offsets
        with (
            open(self.folder / "texts.bin", "rb") as texts,
            open(self.folder / "names.jsonl", encoding="utf-8") as names,
        ):
            lines = enumerate(names)
            for number in numbers.tolist():
                texts.seek(offsets[number])
                raw = texts.read(int(self.records["bytes"][number]))
                line = next(line for place, line in lines if place == number)
                yield Document(raw.decode("utf-8", "surrogatepass"), json.loads(line))

    def name(self, wanted: set[int]) -> dict[int, str]:
        """Where documents came from."""
        with open(self.folder / "names.jsonl", encoding="utf-8") as lines:
            return {n: json.loads(line) for n, line in enumerate(lines) if n in wanted}


def gather(
    sources: list[Source], settings: PrepareSettings, folder: Path, quarantine: Path | None
) -> Gathered:
    """Read, clean and sign every document of the sources; goes on after the last commit."""
    spill = _Spill(folder, quarantine)
    left = sources[spill.sources_done :]
    seen = Paragraphs() if settings.deduplicate_paragraphs else None
    if seen is not None and spill.sources_done:  # what it has seen is not on the disk
        spill.restart()
        left = sources
    sign = settings.split == "document" and settings.val_fraction > 0
    work = partial(_process_all, settings=settings, always_sign=sign)
    read_some = partial(_read_all, settings=settings, always_sign=sign, quarantine=quarantine)
    total = sum(source.size for source in sources)
    with (
        _pool(sum(source.size for source in left), settings.workers) as submit,
        Progress("Reading", total or None, "B") as progress,
    ):
        progress.advance(sum(source.size for source in sources[: spill.sources_done]))
        waiting: deque[tuple[Callable[[], Done], int, int]] = deque()

        def take() -> None:
            result, finished, size = waiting.popleft()
            documents, tally = result()
            spill.add(documents, tally, seen)
            spill.sources_done += finished
            progress.advance(size, note=f"{spill.documents:,} documents")
            if finished and spill.uncommitted > COMMIT_BYTES:
                spill.commit()

        for task, finished, size in _tasks(left, settings, quarantine, work, read_some):
            waiting.append((submit(task), finished, size))
            if len(waiting) > 4 * (settings.workers or os.cpu_count() or 1):
                take()
        while waiting:
            take()
    spill.commit()
    return spill.gathered()


Task = tuple[Callable[[Any], Done], Any]


def _tasks(
    sources: list[Source],
    settings: PrepareSettings,
    quarantine: Path | None,
    work: Callable[[list[Document]], Done],
    read_some: Callable[[list[Source]], Done],
) -> Iterator[tuple[Task, int, int]]:
    """(task, sources finished with it, bytes read for it), in the sources' order."""
    few: list[Source] = []
    for source in sources:
        large = source.size > LARGE_BYTES or source.kind == "hub" or source.compression
        if few and (large or sum(s.size for s in few) + source.size > TASK_BYTES):
            yield (read_some, few), len(few), sum(s.size for s in few)
            few = []
        if not large:
            few.append(source)
            continue
        tally = Tally(quarantine)
        documents: list[Document] = []
        characters = 0
        for document in read(
            source, text_column=settings.text_column, skip_bad=settings.skip_bad, tally=tally
        ):
            documents.append(document)
            characters += len(document.text)
            if characters > TASK_CHARACTERS:
                yield (work, documents), 0, 0
                documents, characters = [], 0
        yield (work, documents), 0, 0
        yield (_counted, tally), 1, source.size
    if few:
        yield (read_some, few), len(few), sum(s.size for s in few)


def _read_all(
    sources: list[Source], settings: PrepareSettings, always_sign: bool, quarantine: Path | None
) -> Done:
    tally = Tally(quarantine)
    documents = []
    for source in sources:
        found = read(
            source, text_column=settings.text_column, skip_bad=settings.skip_bad, tally=tally
        )
        documents += [process(document, settings, always_sign=always_sign) for document in found]
    return documents, tally


def _process_all(documents: list[Document], settings: PrepareSettings, always_sign: bool) -> Done:
    return [process(document, settings, always_sign=always_sign) for document in documents], Tally()


def _counted(tally: Tally) -> Done:
    return [], tally


class _pool:
    """Submits tasks to worker processes, or runs them here where there is little to do."""

    def __init__(self, size: int, workers: int | None) -> None:
        self._workers = workers or len(os.sched_getaffinity(0))
        self._executor: ProcessPoolExecutor | None = None
        if self._workers > 1 and size > ALONE_BYTES:
            import nextword.text.shingles  # noqa: F401  workers inherit what is loaded

            kind = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
            context = multiprocessing.get_context(kind)
            self._executor = ProcessPoolExecutor(self._workers, mp_context=context)

    def __enter__(self) -> Callable[[Task], Callable[[], Done]]:
        return self._submit

    def __exit__(self, *exception: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def _submit(self, task: Task) -> Callable[[], Done]:
        function, argument = task
        if self._executor is None or function is _counted:
            done = function(argument)
            return lambda: done
        future: Future[Done] = self._executor.submit(function, argument)
        return future.result


class _Spill:
    """The three files, and how much of them is committed."""

    def __init__(self, folder: Path, quarantine: Path | None) -> None:
        self.folder = folder
        state = read_json(folder / "gathered.json") if (folder / "gathered.json").is_file() else {}
        self.sources_done = int(state.get("sources_done", 0))
        self.tally = tally_from_json(state.get("tally", {}))
        self.tally.quarantine = quarantine
        sizes = state.get("sizes", [0, 0, 0])
        self._files: list[BinaryIO] = [open(folder / name, "ab") for name in FILES]  # noqa: SIM115
        for file, size in zip(self._files, sizes, strict=True):
            file.truncate(size)
        self.documents = sizes[1] // RECORD.itemsize
        self.uncommitted = 0
        kept = int(state.get("quarantine_bytes", 0))
        if quarantine is not None and quarantine.exists():
            os.truncate(quarantine, kept)

    def restart(self) -> None:
        for file in self._files:
            file.truncate(0)
        self.sources_done, self.documents = 0, 0
        self.tally = Tally(self.tally.quarantine)

    def add(self, documents: list[Processed], tally: Tally, seen: Paragraphs | None) -> None:
        self.tally.merge(tally)
        texts, records, names = self._files
        for document in documents:
            text = document.text
            if document.reason is None and seen is not None:
                text = without(text, seen.unseen(hashes(text)))
                if not text.strip():
                    document.reason = "all paragraphs seen before"
            if document.reason is not None:
                self.tally.drop(document.reason, document.source, document.text[:400])
                continue
            raw = text.encode("utf-8", "surrogatepass")
            record = np.zeros(1, RECORD)
            record["bytes"], record["characters"] = len(raw), len(text)
            record["language"] = document.language.encode()
            record["digest"] = np.frombuffer(document.digest, "V16")
            if document.signature is not None:
                record["signature"] = document.signature
            texts.write(raw)
            records.write(record.tobytes())
            names.write(json.dumps(document.source).encode() + b"\n")
            self.documents += 1
            self.uncommitted += len(raw)

    def commit(self) -> None:
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        quarantine = self.tally.quarantine
        write_json(
            self.folder / "gathered.json",
            {
                "sources_done": self.sources_done,
                "sizes": [file.tell() for file in self._files],
                "tally": tally_to_json(self.tally),
                "quarantine_bytes": quarantine.stat().st_size
                if quarantine is not None and quarantine.exists()
                else 0,
            },
        )
        self.uncommitted = 0

    def gathered(self) -> Gathered:
        for file in self._files:
            file.close()
        records = np.fromfile(self.folder / "records.bin", RECORD)
        return Gathered(self.folder, records, self.tally)


def tally_to_json(tally: Tally) -> dict[str, Any]:
    return {
        "accepted": tally.accepted,
        "skipped": tally.skipped,
        "rejected": tally.rejected,
        "reasons": {reason: asdict(entry) for reason, entry in tally.reasons.items()},
        "notes": dict(tally.notes),
    }


def tally_from_json(saved: dict[str, Any]) -> Tally:
    reasons = {
        name: Reason(entry["count"], [(source, text) for source, text in entry["examples"]])
        for name, entry in saved.get("reasons", {}).items()
    }
    return Tally(
        None,
        saved.get("accepted", 0),
        saved.get("skipped", 0),
        saved.get("rejected", 0),
        reasons,
        Counter(saved.get("notes", {})),
    )
