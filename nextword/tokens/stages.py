"""The stages of `prepare` as worker processes run them: one shard in, one shard out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.settings import PrepareSettings
from nextword.text.document import Document, Source, Tally
from nextword.text.overlap import windows
from nextword.text.process import process
from nextword.text.sources import read
from nextword.text.split import Plan
from nextword.tokens.shards import Shard, strings_as_arrays, write_arrays, write_documents
from nextword.tokens.specials import specials_for
from nextword.tokens.store import SPLITS, id_dtype
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.training import choose_vocab_size, common_characters, train_bpe

SAMPLED_PASSAGE = 4096  # characters of a passage that the tokenizer is trained on
SAMPLED_SHARDS = 256  # read for the sample at most, evenly spread


@dataclass(frozen=True)
class Part:
    """A shard of documents, which of them are kept, and the plan of those."""

    path: Path
    keep: NDArray[np.bool_]  # [documents]
    plan: Plan  # of the kept ones, numbered within this shard

    def pieces(self) -> Iterator[tuple[str, list[str], list[str]]]:
        """(source, training pieces, held-out pieces) of each document kept."""
        shard = Shard(self.path)
        texts, sources = shard.strings("text"), shard.strings("source")
        for number, index in enumerate(np.flatnonzero(self.keep)):
            yield sources[index], *self.plan.pieces(number, texts[index])

    def text(self) -> str:
        """All of it, for what does not depend on its order."""
        return "".join(t for _, train, val in self.pieces() for t in (*train, *val))


def read_stage(
    target: Path,
    found: tuple[Source, ...] | list[Document],
    settings: PrepareSettings,
    quarantine: Path,
) -> None:
    """Read sources, or take documents already read; clean and judge each; write a shard."""
    quarantine.unlink(missing_ok=True)
    tally = Tally(quarantine)
    kept = []
    for document in _documents(found, settings, tally):
        done = process(document, settings, always_sign=settings.deduplicate != "near")
        if done.reason is None:
            kept.append(done)
        else:
            tally.drop(done.reason, done.source, done.text[:80])
    write_documents(target, kept, tally)


def _documents(
    found: tuple[Source, ...] | list[Document], settings: PrepareSettings, tally: Tally
) -> Iterator[Document]:
    for item in found:
        if isinstance(item, Document):
            yield item
        else:
            yield from read(
                item, text_column=settings.text_column, skip_bad=settings.skip_bad, tally=tally
            )


def windows_stage(part: Part, of_val: bool) -> list[NDArray[np.uint32]]:
    """Windows of each held-out piece, or of all training pieces, for the overlap."""
    if of_val:
        return [windows(piece) for _, _, val in part.pieces() for piece in val]
    trained = [windows(piece) for _, train, _ in part.pieces() for piece in train]
    return [np.concatenate([np.empty(0, np.uint32), *trained])]


def sample(parts: list[Part], characters: int, most: int) -> Iterator[str]:
    """Passages spread evenly over the training text of `characters`, `most` of them in all."""
    spacing = max(1, -(-len(parts) // SAMPLED_SHARDS))
    chosen = parts[::spacing]
    share = min(1.0, most * spacing / max(characters, 1))
    taken = seen = 0
    for part in chosen:
        for _, train, _ in part.pieces():
            for piece in train:
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
    parts: list[Part], characters: int, size: int, settings: PrepareSettings
) -> Tokenizer:
    """Train byte pairs on a sample of training text of `characters`, `size` bytes."""
    vocab_size = settings.vocab_size
    if vocab_size is None:
        beginning = sample(parts, characters, 500_000)
        vocab_size = choose_vocab_size(size, common_characters(beginning))
    most = settings.tokenizer_sample
    return train_bpe(sample(parts, characters, most), vocab_size, most, specials_for(settings))


@lru_cache(maxsize=1)
def _tokenizer(directory: Path) -> Tokenizer:
    return Tokenizer.load(directory)


def encode_stage(target: Path, part: Part, tokenizer: Path) -> None:
    """Encode a shard's pieces, each followed by the end token."""
    encoder = _tokenizer(tokenizer)
    end = np.array([encoder.end_id], np.uint32)
    arrays: dict[str, NDArray[Any]] = {}
    notes: dict[str, Any] = {}
    ids: dict[str, list[NDArray[np.uint32]]] = {name: [] for name in SPLITS}
    lengths: dict[str, list[int]] = {name: [] for name in SPLITS}
    sources: dict[str, list[str]] = {name: [] for name in SPLITS}
    characters = dict.fromkeys(SPLITS, 0)
    sizes = dict.fromkeys(SPLITS, 0)
    for source, *pieces in part.pieces():
        for name, texts in zip(SPLITS, pieces, strict=True):
            with _at(source):
                flat, counts = encoder.encode_batch(texts)
            for piece_ids in np.split(flat, np.cumsum(counts)[:-1]) if texts else []:
                ids[name] += [piece_ids, end]
                lengths[name].append(len(piece_ids) + 1)
                sources[name].append(source)
            characters[name] += sum(map(len, texts))
            sizes[name] += sum(len(text.encode()) for text in texts)
    for name in SPLITS:
        flat = np.concatenate([np.empty(0, np.uint32), *ids[name]])
        arrays[f"{name}.ids"] = flat.astype(id_dtype(encoder.vocab_size))
        arrays[f"{name}.lengths"] = np.array(lengths[name], np.int32)
        arrays |= strings_as_arrays(f"{name}.source", sources[name])
        notes[name] = {
            "documents": len(lengths[name]),
            "tokens": len(flat),
            "characters": characters[name],
            "bytes": sizes[name],
        }
    write_arrays(target, arrays, notes)


@contextlib.contextmanager
def _at(source: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(error.what, where=error.where or source, mend=error.mend) from None
