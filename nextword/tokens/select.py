"""Shards of documents, which of the documents stay, and which of their text is held out.

Shards are what `prepare` keeps on the disk between its stages: safetensors files of a few
megabytes, each whole or absent. They hold all that a killed run needs to go on.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.files import read_json, write_atomically
from nextword.resources import give_back
from nextword.settings import PrepareSettings
from nextword.text.document import ReadStats
from nextword.text.duplicates import SeenParagraphs
from nextword.text.near_duplicates import DuplicateFinder
from nextword.text.split import SplitPlan, plan_split


class Shard:
    """The arrays (`shard["characters"]`) and notes (`shard.notes["tally"]`) of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> NDArray[Any]:
        from safetensors import safe_open

        with safe_open(self.path, framework="np") as file:
            array: NDArray[Any] = file.get_tensor(name)
            return array

    @cached_property
    def notes(self) -> dict[str, Any]:
        from safetensors import safe_open

        with safe_open(self.path, framework="np") as file:
            return {name: json.loads(value) for name, value in (file.metadata() or {}).items()}

    def strings(self, name: str) -> list[str]:
        """Return what `strings_to_arrays` was given under this name."""
        content, ends = self[name].tobytes(), self[f"{name}.ends"].tolist()
        bounds = itertools.pairwise([0, *ends])
        return [content[start:end].decode("utf-8", "surrogatepass") for start, end in bounds]


def write_shard(path: Path, arrays: dict[str, NDArray[Any]], notes: dict[str, Any]) -> None:
    """Write a shard in one step, whoever else writes it; `notes` are what JSON can hold."""
    from safetensors.numpy import save

    metadata = {name: json.dumps(value) for name, value in notes.items()}
    write_atomically(path, save(arrays, metadata), writer=f".{uuid.uuid4().hex}")


def strings_to_arrays(name: str, strings: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Return the arrays that hold strings in a shard: their bytes, and where each ends."""
    encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
    ends = np.cumsum([len(part) for part in encoded], dtype=np.int64)
    return {name: np.frombuffer(b"".join(encoded), np.uint8), f"{name}.ends": ends}


@dataclass
class Corpus:
    """What is known of all documents while a store is made: about twenty bytes of each."""

    shards: list[Path]
    keep: list[NDArray[np.bool_]] = field(default_factory=list)  # of each shard, [documents]
    stats: ReadStats = field(default_factory=ReadStats)
    languages: Counter[str] = field(default_factory=Counter)  # characters
    duplicates: Counter[str] = field(default_factory=Counter)  # dropped, by kind
    near_clusters: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    clusters: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))  # of kept
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))  # of kept

    @property
    def characters(self) -> int:
        return int(self.lengths.sum())


@dataclass(frozen=True)
class SelectedShard:
    """A shard of documents, which of them are kept, and how those are split."""

    path: Path
    keep: NDArray[np.bool_]  # [documents]
    plan: SplitPlan  # of the kept ones, numbered within this shard

    def pieces(self) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield (source, training pieces, held-out pieces) of each document kept."""
        shard = Shard(self.path)
        texts, sources = shard.strings("text"), shard.strings("source")
        for number, index in enumerate(np.flatnonzero(self.keep)):
            yield sources[index], *self.plan.pieces(number, texts[index])

    def text(self) -> str:
        """Return all of the text, for what does not depend on its order."""
        return "".join(t for _, train, val in self.pieces() for t in (*train, *val))


def select_documents(shards: list[Path], settings: PrepareSettings, work: Path) -> Corpus:
    """Leave out duplicates, and count what is left. Raises UserError if nothing is."""
    corpus = Corpus(shards)
    for path in sorted((work / "text").glob("*.json")):
        corpus.stats.merge(ReadStats.from_json(read_json(path)["tally"]))
    counts = []
    with contextlib.closing(DuplicateFinder(settings.similarity, work)) as duplicates:
        for path in shards:
            shard = Shard(path)
            corpus.stats.merge(ReadStats.from_json(shard.notes["tally"]))
            digests = shard["digest"].tobytes()
            counts.append(len(digests) // 16)
            duplicates.add_all(digests, shard["signature"] if shard.notes["signed"] else None)
        exact = duplicates.exact()
        distinct = _is_first(exact)
        clusters = duplicates.clusters(exact)
    kept = {"near": _is_first(clusters), "exact": distinct.copy(), "none": np.ones_like(distinct)}[
        settings.deduplicate
    ]
    ends = np.cumsum(counts)
    corpus.keep = np.split(kept, ends[:-1])
    sizes = np.bincount(clusters[distinct])
    several = sizes[sizes > 1]  # distinct texts in a cluster
    corpus.near_clusters = {"count": len(several), "documents": int(several.sum())}
    _report_duplicates(corpus, np.split(distinct, ends[:-1]))
    if settings.deduplicate_paragraphs:
        corpus.shards = _drop_paragraphs(corpus, work)
    corpus.clusters = clusters[np.concatenate(corpus.keep)]
    del clusters
    _count_kept(corpus)
    if corpus.characters == 0:
        reasons = ", ".join(f"{r.count:,} {name}" for name, r in corpus.stats.reasons.items())
        raise UserError(
            f"no text is left of {corpus.stats.total:,} documents found"
            + (f" (left out: {reasons})" if reasons else ""),
            mend="give other data, or looser filters",
        )
    give_back()
    return corpus


def _is_first(of: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which documents are the first of those that are named with them."""
    return of == np.arange(len(of))


def _report_duplicates(corpus: Corpus, distinct: list[NDArray[np.bool_]]) -> None:
    """Count what is not kept; `distinct` says which texts of each shard equal no earlier one."""
    for path, keep, is_distinct in zip(corpus.shards, corpus.keep, distinct, strict=True):
        if keep.all():
            continue
        shard = Shard(path)
        sources, texts = shard.strings("source"), shard.strings("text")
        for index in np.flatnonzero(~keep):
            kind = "near duplicate" if is_distinct[index] else "exact duplicate"
            corpus.stats.drop(kind, sources[index], texts[index][:80])
            corpus.duplicates[kind] += 1


def _drop_paragraphs(corpus: Corpus, work: Path) -> list[Path]:
    """Write the same shards with texts without the paragraphs that an earlier document has."""
    seen = SeenParagraphs()
    targets = []
    for path, keep in zip(corpus.shards, corpus.keep, strict=True):
        shard, target = Shard(path), work / "distinct" / path.name
        texts = shard.strings("text")
        for index in np.flatnonzero(keep):
            texts[index], dropped = seen.drop_repeated(texts[index])
            corpus.duplicates["paragraph"] += dropped
            if not texts[index].strip():
                keep[index] = False
                corpus.stats.drop("all paragraphs seen before", shard.strings("source")[index])
        arrays = {
            **strings_to_arrays("text", texts),
            **{name: shard[name] for name in ("source", "source.ends", "language")},
            "characters": np.array([len(text) for text in texts], np.int64),
        }
        write_shard(target, arrays, {"languages": shard.notes["languages"]})
        targets.append(target)
    return targets


def _count_kept(corpus: Corpus) -> None:
    lengths = [np.empty(0, np.int64)]
    for path, keep in zip(corpus.shards, corpus.keep, strict=True):
        shard = Shard(path)
        lengths.append(shard["characters"][keep])
        names = np.array(shard.notes["languages"] or [""])
        for name, length in zip(names[shard["language"][keep]], lengths[-1], strict=True):
            corpus.languages[str(name)] += int(length)
        corpus.bytes += int(np.diff(shard["text.ends"], prepend=0)[keep].sum())
    corpus.lengths = np.concatenate(lengths)


def split_documents(corpus: Corpus, settings: PrepareSettings) -> list[SelectedShard]:
    """Decide which text is held out, and return the shards with their part of the plan."""
    plan = plan_split(
        corpus.lengths, corpus.clusters, settings.val_fraction, settings.seed, settings.split
    )
    corpus.clusters = np.empty(0, np.int64)  # they have told what they can
    parts = []
    start = 0
    for path, keep in zip(corpus.shards, corpus.keep, strict=True):
        stop = start + int(keep.sum())
        parts.append(SelectedShard(path, keep, plan.part(start, stop)))
        start = stop
    return parts
