"""Which documents stay, and which of their text is held out."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.files import read_json
from nextword.settings import PrepareSettings
from nextword.text.document import Tally
from nextword.text.duplicates import Duplicates
from nextword.text.paragraphs import Paragraphs, hashes, without
from nextword.text.split import Plan, plan
from nextword.tokens.shards import Shard, strings_as_arrays, tally_from_json, write_arrays
from nextword.tokens.stages import Part


@dataclass
class Corpus:
    """What is known of all documents while a store is made; a few hundred bytes for each."""

    shards: list[Path]
    keep: list[NDArray[np.bool_]] = field(default_factory=list)  # of each shard, [documents]
    tally: Tally = field(default_factory=Tally)
    languages: Counter[str] = field(default_factory=Counter)  # characters
    duplicates: dict[str, int] = field(default_factory=dict)
    near_clusters: dict[str, int] = field(default_factory=dict)
    characters: int = 0
    bytes: int = 0
    clusters: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


def choose(shards: list[Path], settings: PrepareSettings, work: Path) -> Corpus:
    """Leave out duplicates; count what is left."""
    corpus = Corpus(shards)
    for counted in sorted((work / "text").glob("*.json")):
        corpus.tally.merge(tally_from_json(read_json(counted)["tally"]))
    duplicates = Duplicates(settings.similarity)
    counts = []
    for path in shards:
        shard = Shard(path)
        corpus.tally.merge(tally_from_json(shard.notes["tally"]))
        digests = shard["digest"].tobytes()
        counts.append(len(digests) // 16)
        signatures = shard["signature"] if shard.notes["signed"] else [None] * counts[-1]
        for number, signature in enumerate(signatures):
            duplicates.add(digests[16 * number : 16 * number + 16], signature)
    everything = np.arange(sum(counts))
    clusters, exact = duplicates.clusters(), duplicates.exact()
    first = {"near": clusters, "exact": exact, "none": everything}[settings.deduplicate]
    kept = first == everything
    bounds = np.cumsum([0, *counts])
    corpus.keep = [kept[a:b] for a, b in itertools.pairwise(bounds)]
    corpus.near_clusters = _near_clusters(clusters[exact == everything])
    _tell_duplicates(corpus, kept, exact == everything, bounds)
    if settings.deduplicate_paragraphs:
        corpus.shards = _without_paragraphs(corpus, work)
    lengths = []
    for path, keep in zip(corpus.shards, corpus.keep, strict=True):
        shard = Shard(path)
        lengths.append(shard["characters"][keep])
        names = np.array(shard.notes["languages"] or [""])
        for name, number in zip(names[shard["language"][keep]], lengths[-1], strict=True):
            corpus.languages[str(name)] += int(number)
        corpus.bytes += int(np.diff(shard["text.ends"], prepend=0)[keep].sum())
    corpus.lengths = np.concatenate([np.empty(0, np.int64), *lengths])
    corpus.clusters = clusters[kept]
    corpus.characters = int(corpus.lengths.sum())
    if corpus.characters == 0:
        reasons = ", ".join(f"{r.count:,} {name}" for name, r in corpus.tally.reasons.items())
        raise UserError(
            f"no text is left of {corpus.tally.total:,} documents found"
            + (f" (left out: {reasons})" if reasons else ""),
            mend="give other data, or looser filters",
        )
    return corpus


def _near_clusters(clusters: NDArray[np.int64]) -> dict[str, int]:
    """How many there are among texts that differ, and how many of these they hold."""
    _, sizes = np.unique(clusters, return_counts=True)
    return {"count": int((sizes > 1).sum()), "documents": int(sizes[sizes > 1].sum())}


def _tell_duplicates(
    corpus: Corpus, kept: NDArray[np.bool_], distinct: NDArray[np.bool_], bounds: NDArray[np.int64]
) -> None:
    for number in np.unique(np.searchsorted(bounds, np.flatnonzero(~kept), side="right") - 1):
        shard = Shard(corpus.shards[number])
        sources, texts = shard.strings("source"), shard.strings("text")
        for index in np.flatnonzero(~corpus.keep[number]):
            kind = "near duplicate" if distinct[bounds[number] + index] else "exact duplicate"
            corpus.tally.drop(kind, sources[index], texts[index][:80])
            corpus.duplicates[kind] = corpus.duplicates.get(kind, 0) + 1


def _without_paragraphs(corpus: Corpus, work: Path) -> list[Path]:
    """The same shards, their texts without paragraphs that an earlier document has."""
    seen = Paragraphs()
    targets = []
    for path, keep in zip(corpus.shards, corpus.keep, strict=True):
        shard, target = Shard(path), work / "distinct" / path.name
        texts = shard.strings("text")
        dropped = 0
        for index in np.flatnonzero(keep):
            unseen = seen.unseen(hashes(texts[index]))
            dropped += int((~unseen).sum())
            texts[index] = without(texts[index], unseen)
            if not texts[index].strip():
                keep[index] = False
                corpus.tally.drop("all paragraphs seen before", shard.strings("source")[index])
        arrays = {
            **strings_as_arrays("text", texts),
            **{name: shard[name] for name in ("source", "source.ends", "language")},
            "characters": np.array([len(text) for text in texts], np.int64),
        }
        write_arrays(target, arrays, {"languages": shard.notes["languages"]})
        corpus.duplicates["paragraph"] = corpus.duplicates.get("paragraph", 0) + dropped
        targets.append(target)
    return targets


def split(corpus: Corpus, settings: PrepareSettings) -> list[Part]:
    whole = plan(
        corpus.lengths, corpus.clusters, settings.val_fraction, settings.seed, settings.split
    )
    parts = []
    start = 0
    for path, keep in zip(corpus.shards, corpus.keep, strict=True):
        stop = start + int(keep.sum())
        cuts = {
            index - start: spans for index, spans in whole.cuts.items() if start <= index < stop
        }
        parts.append(Part(path, keep, Plan(whole.whole[start:stop], cuts, whole.exact)))
        start = stop
    return parts
