"""Sources to shards of documents, cleaned and signed, in the order of the sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nextword.files import read_json, write_json
from nextword.settings import PrepareSettings
from nextword.terminal import Progress
from nextword.text.document import Document, Source, Tally
from nextword.text.sources import read
from nextword.tokens import stages
from nextword.tokens.pool import Workers
from nextword.tokens.shards import SUFFIX, tally_to_json

UNIT = 2_000_000  # bytes of sources, or characters of documents, in a shard
MOST_FILES = 5_000  # in a shard
LARGE = 16_000_000  # bytes; a larger file is read here and its documents shared out


def read_all(
    sources: list[Source], settings: PrepareSettings, work: Path, workers: Workers
) -> list[Path]:
    """The shards, in the order of the sources; those that are there already are not made again."""
    names: list[str] = []
    sizes = [source.size for source in sources]
    with Progress("Reading", sum(sizes) if all(sizes) else None, "B") as progress:

        def tasks() -> Iterator[tuple[Any, ...]]:
            for name, found, size in _units(sources, settings, work):
                names.append(name)
                target = _shard(work, name)
                if not target.is_file():
                    yield target, found, settings, work / "quarantine" / f"{name}.jsonl"
                progress.advance(size)

        for _ in workers.map(stages.read_stage, tasks()):
            pass
    return [_shard(work, name) for name in names]


def _shard(work: Path, name: str) -> Path:
    return work / "text" / (name + SUFFIX)


def _units(
    sources: list[Source], settings: PrepareSettings, work: Path
) -> Iterator[tuple[str, tuple[Source, ...] | list[Document], int]]:
    """Several small files, or some of the documents of a large one, each with a name and its
    bytes; the same ones whenever the same work is done."""
    small: list[Source] = []
    held = 0  # bytes of them
    for number, source in enumerate(sources):
        limit = LARGE // 8 if source.compression else LARGE
        is_small = source.kind != "hub" and source.size <= limit
        if is_small:
            small.append(source)
            held += source.size
        is_last = number == len(sources) - 1
        if small and (held >= UNIT or len(small) >= MOST_FILES or is_last or not is_small):
            last = number if is_small else number - 1
            yield f"{last:08d}-files", tuple(small), held
            small, held = [], 0
        if not is_small:
            yield from _batches(number, source, settings, work)


def _batches(
    number: int, source: Source, settings: PrepareSettings, work: Path
) -> Iterator[tuple[str, list[Document], int]]:
    counted = work / "text" / f"{number:08d}.json"  # what was found, once all has been read
    if counted.is_file():
        names = read_json(counted)["names"]
        # The last ones may still have been under way when the run was killed.
        if all(_shard(work, name).is_file() for name in names):
            yield from ((name, [], source.size // len(names)) for name in names)
            return
    quarantine = work / "quarantine" / f"{number:08d}.jsonl"
    quarantine.unlink(missing_ok=True)
    tally = Tally(quarantine)
    documents = read(
        source, text_column=settings.text_column, skip_bad=settings.skip_bad, tally=tally
    )
    names = []
    batch: list[Document] = []
    held = done = 0  # characters of the batch, bytes told of before
    for document in documents:
        if held >= UNIT:
            size = min(held, max(source.size - done, 0)) if source.size else held
            names.append(f"{number:08d}-{len(names):08d}")
            yield names[-1], batch, size
            batch, held, done = [], 0, done + size
        batch.append(document)
        held += len(document.text)
    if batch:
        names.append(f"{number:08d}-{len(names):08d}")
        yield names[-1], batch, max(source.size - done, 0)
    write_json(counted, {"names": names, "tally": tally_to_json(tally)})
