"""The last stage of `prepare`: the documents of a shard become ids, and all shards the splits."""

from __future__ import annotations

import json
import os
import uuid
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.files import read_json, sha256, write_atomically
from nextword.terminal import Progress
from nextword.tokens.losses import Losses
from nextword.tokens.select import SelectedShard, Shard, strings_to_arrays, write_shard
from nextword.tokens.shards import PARTS, ShardWriter, id_dtype, shard_name
from nextword.tokens.store import SPLITS
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.workers import Workers

SHARD_BYTES = 2**31  # of ids in a shard of a store, at most

Piece = tuple[Path, int, int]  # a shard that is encoded, and documents of it: from, to

_load_tokenizer = lru_cache(maxsize=1)(Tokenizer.load)


def encode_shards(
    parts: list[SelectedShard], tokenizer: Path, work: Path, workers: Workers
) -> list[Path]:
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
    encoded: list[Path], tokenizer: Tokenizer, directory: Path, work: Path, workers: Workers
) -> tuple[dict[str, Any], dict[str, str]]:
    """Join what is encoded into the shards of train and val, in order; return their counts and
    shards for the manifest, and the SHA-256 of each file written.

    A shard has whole documents, of at most SHARD_BYTES in all. Those that a run has written that
    was killed are taken as they are.
    """
    vocabulary = tokenizer.vocab_size, tokenizer.end_id
    most = SHARD_BYTES // id_dtype(tokenizer.vocab_size).itemsize
    tasks = [
        (work / "shards" / shard_name(name, number), name, pieces, vocabulary)
        for name in SPLITS
        for number, pieces in enumerate(_share_out(encoded, name, most))
    ]
    splits: dict[str, Any] = {name: Counter() for name in SPLITS}
    for path in encoded:
        for name in SPLITS:
            splits[name].update(Shard(path).notes[name])
    splits = {name: dict(counts) | {"shards": []} for name, counts in splits.items()}
    sums: dict[str, str] = {}
    done = list(workers.map(join_stage, tasks))  # all of them, before any leaves its place
    for (path, name, *_), (counts, hashed) in zip(tasks, done, strict=True):
        splits[name]["shards"].append({"name": path.name} | counts)
        sums |= hashed
        for file in hashed:
            os.replace(path.with_name(file), directory / file)
    return splits, sums


def _share_out(encoded: list[Path], name: str, most: int) -> Iterator[list[Piece]]:
    """Yield the documents of each shard of a split; only one longer than `most` tokens makes a
    shard longer. There is always a shard, if an empty one."""
    pieces: list[Piece] = []
    held = made = 0  # tokens of the pieces, shards
    for path in encoded:
        ends = np.append(0, np.cumsum(Shard(path)[f"{name}.lengths"], dtype=np.int64))
        first, documents = 0, len(ends) - 1
        while first < documents:
            last = int(np.searchsorted(ends, ends[first] + most - held, side="right")) - 1
            last = max(last, first + (not held))
            if last > first:
                pieces.append((path, first, last))
                held += int(ends[last] - ends[first])
            if last < documents:
                yield pieces
                pieces, held, made = [], 0, made + 1
            first = last
    if pieces or not made:
        yield pieces


def join_stage(
    path: Path, name: str, pieces: list[Piece], vocabulary: tuple[int, int]
) -> tuple[dict[str, int], dict[str, str]]:
    """Write a shard of a split from pieces of what is encoded; return its counts, and the SHA-256
    of each of its files."""
    record = path.with_suffix(".json")  # written last
    if record.is_file():
        saved = read_json(record)
        if all(path.with_name(file).is_file() for file in saved["files"]):
            return saved["counts"], saved["files"]
    with ShardWriter(path.parent, path.name, *vocabulary) as writer:
        for encoded, first, last in pieces:
            shard = Shard(encoded)
            lengths = shard[f"{name}.lengths"]
            begin, end = int(lengths[:first].sum()), int(lengths[:last].sum())
            writer.append(
                shard[f"{name}.ids"][begin:end],
                lengths[first:last],
                shard.strings(f"{name}.source")[first:last],
                shard[f"{name}.sizes"][first:last],
            )
    files = [path.with_suffix(part) for part in PARTS]
    hashed = {file.name: sha256(file) for file in files}
    content = json.dumps({"counts": writer.counts, "files": hashed})
    write_atomically(record, content, writer=f".{uuid.uuid4().hex}")
    return writer.counts, hashed
