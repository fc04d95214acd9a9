"""The stages of `prepare` around the selection: reading, overlap, training the tokenizer.

Each goes from shards on the disk to shards on the disk. A worker process runs a function named
`*_stage`: one shard in, one shard out. The functions that give out the tasks leave out shards that
a killed run has made already.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.files import read_json, write_json
from nextword.settings import PrepareSettings
from nextword.terminal import Progress
from nextword.text.cleaning import ProcessedDocument, process_document
from nextword.text.document import Document, ReadStats, Source
from nextword.text.sources import read_documents
from nextword.text.split import Overlap, WindowIndex, overlap_windows
from nextword.text.traces import traces
from nextword.tokens.control_tokens import control_tokens_for
from nextword.tokens.select import SelectedShard, Shard, strings_to_arrays, write_shard
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import choose_vocab_size, common_characters, train_bpe
from nextword.tokens.workers import Workers

SHARD_SIZE = 1_400_000  # bytes of sources, or characters of documents, in a shard
MAX_SHARD_FILES = 5_000
LARGE_FILE = 16_000_000  # bytes; a larger file is read here and its documents shared out
SAMPLED_PASSAGE = 4096  # characters of a passage that the tokenizer is trained on
SAMPLED_SHARDS = 256  # read for the sample at most, evenly spread

# What is read into a shard: sources, documents, or a shard of documents as they were found.
Items = Sequence[Source | Document] | Path
ShardInput = tuple[str, Items, int]  # a shard's name, what is read into it, how many bytes that is
Parts = list[SelectedShard]


def read_shards(
    sources: list[Source], settings: PrepareSettings, work: Path, workers: Workers
) -> list[Path]:
    """Read sources into shards, in order, and return their paths.

    Raises UserError for what cannot be read.
    """
    paths: list[Path] = []
    sizes = [source.size for source in sources]
    with Progress("Reading", sum(sizes) if all(sizes) else None, "B") as progress:

        def tasks() -> Iterator[tuple[Any, ...]]:
            for name, items, size in shard_inputs(sources, settings, work, workers):
                paths.append(_shard_path(work, name))
                if not paths[-1].is_file():
                    yield paths[-1], items, settings, work / "quarantine" / f"{name}.jsonl"
                progress.advance(size)

        for _ in workers.map(read_stage, tasks()):
            pass
    return paths


def _shard_path(work: Path, name: str) -> Path:
    return work / "text" / f"{name}.safetensors"


def shard_inputs(
    sources: list[Source], settings: PrepareSettings, work: Path, workers: Workers
) -> Iterator[ShardInput]:
    """Yield several small files at a time, or some of the documents of a large one.

    They are the same ones whenever the same work is done, and whoever the workers are.
    """
    large = (
        (number, source, settings, work)
        for number, source in enumerate(sources)
        if not _is_small(source)
    )
    carved: Iterator[Iterable[ShardInput]] = itertools.starmap(_document_batches, large)
    if not workers.shares_memory:
        carved = workers.map(carve_stage, large)
    small: list[Source] = []
    size = 0  # bytes of them
    for number, source in enumerate(sources):
        is_small = _is_small(source)
        if is_small:
            small.append(source)
            size += source.size
        is_last = number == len(sources) - 1
        is_full = size >= SHARD_SIZE or len(small) >= MAX_SHARD_FILES
        if small and (is_full or is_last or not is_small):
            last = number if is_small else number - 1
            yield f"{last:08d}-files", tuple(small), size
            small, size = [], 0
        if not is_small:
            yield from next(carved)


def _is_small(source: Source) -> bool:
    limit = LARGE_FILE // 8 if source.compression else LARGE_FILE
    return source.kind != "hub" and source.size <= limit


def _document_batches(
    number: int, source: Source, settings: PrepareSettings, work: Path
) -> Iterator[tuple[str, list[Document], int]]:
    record = work / "text" / f"{number:08d}.json"  # what was found, once all has been read
    if record.is_file():
        names = read_json(record)["names"]
        # The last ones may still have been under way when the run was killed.
        if all(_shard_path(work, name).is_file() for name in names):
            yield from ((name, [], source.size // len(names)) for name in names)
            return
    names = []
    batch: list[Document] = []
    held = done = 0  # characters of the batch, bytes reported before
    with _counting(work / "quarantine" / f"{number:08d}.jsonl") as stats:
        for document in _read(source, settings, stats):
            if held >= SHARD_SIZE:
                size = min(held, max(source.size - done, 0)) if source.size else held
                names.append(f"{number:08d}-{len(names):08d}")
                yield names[-1], batch, size
                batch, held, done = [], 0, done + size
            batch.append(document)
            held += len(document.text)
    if batch:
        names.append(f"{number:08d}-{len(names):08d}")
        yield names[-1], batch, max(source.size - done, 0)
    write_json(record, {"names": names, "tally": stats.to_json()})


def _read(source: Source, settings: PrepareSettings, stats: ReadStats) -> Iterator[Document]:
    return read_documents(
        source, text_column=settings.text_column, skip_bad=settings.skip_bad, stats=stats
    )


@contextlib.contextmanager
def _counting(quarantine: Path) -> Iterator[ReadStats]:
    """Yield the counts of what is read in the block; the file of what is rejected appears under its
    name when the block ends well, whoever else reads the same."""
    aside = quarantine.with_suffix(f".{uuid.uuid4().hex}")
    try:
        yield ReadStats(aside)
        quarantine.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.replace(aside, quarantine)
    finally:
        aside.unlink(missing_ok=True)


def carve_stage(
    number: int, source: Source, settings: PrepareSettings, work: Path
) -> list[ShardInput]:
    """Read a large source into shards of documents as they are found, for others to take from."""
    carved: list[ShardInput] = []
    for name, documents, size in _document_batches(number, source, settings, work):
        path = work / "raw" / f"{name}.safetensors"
        if not _shard_path(work, name).is_file():
            texts = strings_to_arrays("text", (document.text for document in documents))
            places = strings_to_arrays("source", (document.source for document in documents))
            write_shard(path, texts | places, {})
        carved.append((name, path, size))
    return carved


def read_stage(target: Path, items: Items, settings: PrepareSettings, quarantine: Path) -> None:
    """Read sources, or take documents already read; clean and judge each; write a shard."""
    if isinstance(items, Path):
        if not target.is_file():  # else this ran before, and its worker was lost when it was done
            shard = Shard(items)
            pairs = zip(shard.strings("text"), shard.strings("source"), strict=True)
            read_stage(target, list(itertools.starmap(Document, pairs)), settings, quarantine)
        items.unlink(missing_ok=True)
        return
    kept = []
    with _counting(quarantine) as stats:
        for item in items:
            documents = [item] if isinstance(item, Document) else _read(item, settings, stats)
            for document in documents:
                done = process_document(
                    document, settings, always_sign=settings.deduplicate != "near"
                )
                if done.reason is None:
                    kept.append(done)
                    for trace in traces(done.text):
                        stats.note(trace)
                else:
                    stats.drop(done.reason, done.source, done.text[:80])
    _write_documents(target, kept, stats)


def _write_documents(path: Path, documents: list[ProcessedDocument], stats: ReadStats) -> None:
    languages = sorted({document.language for document in documents})
    signatures = [d.signature for d in documents if d.signature is not None]
    arrays = {
        **strings_to_arrays("text", (document.text for document in documents)),
        **strings_to_arrays("source", (document.source for document in documents)),
        "characters": np.array([len(document.text) for document in documents], np.int64),
        "digest": np.frombuffer(b"".join(d.digest for d in documents), np.uint8),
        "language": np.array([languages.index(d.language) for d in documents], np.uint16),
    }
    if signatures and len(signatures) == len(documents):
        arrays["signature"] = np.stack(signatures)
    notes = {"tally": stats.to_json(), "languages": languages, "signed": "signature" in arrays}
    write_shard(path, arrays, notes)


def measure_overlap(parts: Parts, work: Path, workers: Workers) -> dict[str, Any]:
    """Return how much of the held-out text is in the training text."""
    overlap = Overlap()
    with Progress("Comparing held-out with training text", 2 * len(parts), "shards") as progress:
        for pieces in workers.map(windows_stage, ((part,) for part in parts)):
            for windows in pieces:
                overlap.add_val(windows)
            progress.advance()
        file = work / f"windows-{uuid.uuid4().hex}"
        overlap.index().known.tofile(file)
        for places in workers.map(seen_stage, ((part, file) for part in parts)):
            overlap.add_places(places)
            progress.advance()
    return {"share": float(overlap.share), "documents_seen": int(overlap.documents_seen)}


def windows_stage(part: SelectedShard) -> list[NDArray[np.uint32]]:
    """Return the windows of each held-out piece."""
    return [overlap_windows(piece) for _, _, val in part.pieces() for piece in val]


def seen_stage(part: SelectedShard, known: Path) -> NDArray[np.int64]:
    """Return which of the known windows, by their places, all training pieces together have."""
    windows = [overlap_windows(piece) for _, train, _ in part.pieces() for piece in train]
    return _load_index(known).places(np.concatenate([np.empty(0, np.uint32), *windows]))


@lru_cache(maxsize=1)
def _load_index(known: Path) -> WindowIndex:
    return WindowIndex(np.fromfile(known, np.uint32))


def sample_text(parts: Parts, characters: int, most: int) -> Iterator[str]:
    """Yield passages spread evenly over training text of `characters`, `most` of them in all."""
    spacing = max(1, -(-len(parts) // SAMPLED_SHARDS))
    share = min(1.0, most * spacing / max(characters, 1))
    taken = seen = 0
    pieces = (
        piece for part in parts[::spacing] for _, train, _ in part.pieces() for piece in train
    )
    for piece in pieces:
        if share == 1:
            yield piece
            continue
        for start in range(0, len(piece), SAMPLED_PASSAGE):
            passage = piece[start : start + SAMPLED_PASSAGE]
            seen += len(passage)
            if taken < share * seen:
                taken += len(passage)
                yield passage


def tokenizer_stage(
    parts: Parts, characters: int, size: int, settings: PrepareSettings
) -> Tokenizer:
    """Train byte pairs on a sample of training text of `characters`, `size` bytes."""
    vocab_size = settings.vocab_size
    if vocab_size is None:
        beginning = sample_text(parts, characters, 500_000)
        vocab_size = choose_vocab_size(size, common_characters(beginning))
    most = settings.tokenizer_sample
    sample = sample_text(parts, characters, most)
    return train_bpe(sample, vocab_size, most, control_tokens_for(settings))
