"""The last stage of `prepare`: the documents of a shard become ids, and all shards the splits."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.terminal import Progress
from nextword.tokens.losses import Losses
from nextword.tokens.select import SelectedShard, Shard, strings_to_arrays, write_shard
from nextword.tokens.store import SPLITS, SplitWriter, id_dtype
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.workers import Workers

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
