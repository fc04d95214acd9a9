"""The stages of `prepare` around the selection: reading, training the tokenizer, encoding.

Each goes from shards on the disk to shards on the disk. A worker process runs a function named
`*_stage`: one shard in, one shard out. The functions that give out the tasks leave out shards that
a killed run has made already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.files import read_json, write_json
from nextword.settings import PrepareSettings
from nextword.terminal import Progress
from nextword.text.cleaning import ProcessedDocument, process_document
from nextword.text.document import Document, ReadStats, Source
from nextword.text.sources import read_documents
from nextword.text.split import Overlap, overlap_windows
from nextword.text.traces import traces
from nextword.tokens.control_tokens import control_tokens_for
from nextword.tokens.losses import Losses
from nextword.tokens.select import SelectedShard, Shard, strings_to_arrays, write_shard
from nextword.tokens.store import SPLITS, SplitWriter, id_dtype
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import choose_vocab_size, common_characters, train_bpe
from nextword.tokens.workers import WorkerPool

SHARD_SIZE = 1_400_000  # bytes of sources, or characters of documents, in a shard
MAX_SHARD_FILES = 5_000
LARGE_FILE = 16_000_000  # bytes; a larger file is read here and its documents shared out
SAMPLED_PASSAGE = 4096  # characters of a passage that the tokenizer is trained on
SAMPLED_SHARDS = 256  # read for the sample at most, evenly spread

_load_tokenizer = lru_cache(maxsize=1)(Tokenizer.load)

# A shard to be: its name, the sources or documents for it, and how many bytes they are.
ShardInput = tuple[str, Sequence[Source | Document], int]
Parts = list[SelectedShard]


def read_shards(
    sources: list[Source], settings: PrepareSettings, work: Path, workers: WorkerPool
) -> list[Path]:
    """Read sources into shards, in order, and return their paths.

    Raises UserError for what cannot be read.
    """
    paths: list[Path] = []
    sizes = [source.size for source in sources]
    with Progress("Reading", sum(sizes) if all(sizes) else None, "B") as progress:

        def tasks() -> Iterator[tuple[Any, ...]]:
            for name, items, size in shard_inputs(sources, settings, work):
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
    sources: list[Source], settings: PrepareSettings, work: Path
) -> Iterator[ShardInput]:
    """Yield several small files at a time, or some of the documents of a large one.

    They are the same ones whenever the same work is done.
    """
    small: list[Source] = []
    size = 0  # bytes of them
    for number, source in enumerate(sources):
        limit = LARGE_FILE // 8 if source.compression else LARGE_FILE
        is_small = source.kind != "hub" and source.size <= limit
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
            yield from _document_batches(number, source, settings, work)


def _document_batches(
    number: int, source: Source, settings: PrepareSettings, work: Path
) -> Iterator[ShardInput]:
    record = work / "text" / f"{number:08d}.json"  # what was found, once all has been read
    if record.is_file():
        names = read_json(record)["names"]
        # The last ones may still have been under way when the run was killed.
        if all(_shard_path(work, name).is_file() for name in names):
            yield from ((name, [], source.size // len(names)) for name in names)
            return
    quarantine = work / "quarantine" / f"{number:08d}.jsonl"
    quarantine.unlink(missing_ok=True)
    stats = ReadStats(quarantine)
    names = []
    batch: list[Document] = []
    held = done = 0  # characters of the batch, bytes reported before
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


def read_stage(
    target: Path, items: Sequence[Source | Document], settings: PrepareSettings, quarantine: Path
) -> None:
    """Read sources, or take documents already read; clean and judge each; write a shard."""
    quarantine.unlink(missing_ok=True)
    stats = ReadStats(quarantine)
    kept = []
    for item in items:
        documents = [item] if isinstance(item, Document) else _read(item, settings, stats)
        for document in documents:
            done = process_document(document, settings, always_sign=settings.deduplicate != "near")
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


def measure_overlap(parts: Parts, workers: WorkerPool) -> dict[str, Any]:
    """Return how much of the held-out text is in the training text."""
    overlap = Overlap()
    with Progress("Comparing held-out with training text", 2 * len(parts), "shards") as progress:
        for of_val, add in ((True, overlap.add_val), (False, overlap.add_train)):
            for pieces in workers.map(windows_stage, ((part, of_val) for part in parts)):
                for windows in pieces:
                    add(windows)
                progress.advance()
    return {"share": float(overlap.share), "documents_seen": int(overlap.documents_seen)}


def windows_stage(part: SelectedShard, of_val: bool) -> list[NDArray[np.uint32]]:
    """Return the windows of each held-out piece, or of all training pieces together."""
    if of_val:
        return [overlap_windows(piece) for _, _, val in part.pieces() for piece in val]
    windows = [overlap_windows(piece) for _, train, _ in part.pieces() for piece in train]
    return [np.concatenate([np.empty(0, np.uint32), *windows])]


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


def encode_shards(parts: Parts, tokenizer: Path, work: Path, workers: WorkerPool) -> list[Path]:
    """Encode shards with the tokenizer in a directory, and return the paths of their ids."""
    targets = [work / "ids" / part.path.name for part in parts]
    with Progress("Encoding", len(parts), "shards") as progress:
        tasks = [
            (target, part, tokenizer)
            for target, part in zip(targets, parts, strict=True)
            if not target.is_file()
        ]
        progress.advance(len(parts) - len(tasks))
        for _ in workers.map(encode_stage, tasks):
            progress.advance()
    return targets


def encode_stage(target: Path, part: SelectedShard, tokenizer: Path) -> None:
    """Encode a shard's pieces, each followed by the end token."""
    encoder = _load_tokenizer(tokenizer)
    encoder.take_losses()  # of a shard that failed
    end = np.array([encoder.end_id], np.uint32)
    arrays: dict[str, NDArray[Any]] = {}
    notes: dict[str, Any] = {}
    pieces = list(part.pieces())
    for number, name in enumerate(SPLITS, start=1):
        ids, lengths, sizes, sources = [np.empty(0, np.uint32)], [], list[int](), []
        for source, texts in ((piece[0], piece[number]) for piece in pieces):
            try:
                flat, counts = encoder.encode_batch(texts)
            except UserError as error:
                raise UserError(error.what, where=error.where or source, mend=error.mend) from None
            for piece_ids in np.split(flat, np.cumsum(counts)[:-1]) if texts else []:
                ids += [piece_ids, end]
                lengths.append(len(piece_ids) + 1)
                sources.append(source)
            sizes += [len(text.encode()) for text in texts]
        flat = np.concatenate(ids)
        arrays[f"{name}.ids"] = flat.astype(id_dtype(encoder.vocab_size))
        arrays[f"{name}.lengths"] = np.array(lengths, np.int32)
        arrays[f"{name}.sizes"] = np.array(sizes, np.int32)
        arrays |= strings_to_arrays(f"{name}.source", sources)
        everything = "".join(text for piece in pieces for text in piece[number])
        notes[name] = {
            "documents": len(lengths),
            "tokens": len(flat),
            "characters": len(everything),
            "bytes": sum(sizes),
        }
    write_shard(target, arrays, notes | {"losses": encoder.take_losses().to_json()})


def lost_in_encoding(encoded: list[Path]) -> Losses:
    """Return what the tokenizer lost of all encoded shards."""
    losses = Losses()
    for path in encoded:
        losses.add(Losses.from_json(Shard(path).notes["losses"]))
    return losses


def write_splits(
    encoded: list[Path], tokenizer: Tokenizer, directory: Path
) -> dict[str, dict[str, int]]:
    """Join the encoded shards into train and val, and return their counts."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in SPLITS}
    for name in SPLITS:
        with SplitWriter(directory, name, tokenizer.vocab_size, tokenizer.end_id) as writer:
            for path in encoded:
                shard = Shard(path)
                ids, lengths = shard[f"{name}.ids"], shard[f"{name}.lengths"]
                sources = shard.strings(f"{name}.source")
                writer.append(ids, lengths, sources, shard[f"{name}.sizes"])
                counts[name].update(shard.notes[name])
    return {name: dict(count) for name, count in counts.items()}
