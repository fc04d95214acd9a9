"""Raw text to a token store: read → clean → de-duplicate → split → tokenizer → encode.

Each stage goes from shards on the disk to shards on the disk, in worker processes, so memory does
not grow with the corpus and a killed run goes on with the first shard it lacks. The store appears
under its name only when all of it is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.files import read_json, whole_directory, write_json
from nextword.settings import PrepareSettings, resolve
from nextword.terminal import Progress, say, warn
from nextword.text.document import Document, Source, Tally
from nextword.text.duplicates import Duplicates
from nextword.text.overlap import Overlap
from nextword.text.paragraphs import Paragraphs, hashes, without
from nextword.text.sources import expand, fingerprint, read
from nextword.text.split import Plan, plan
from nextword.tokens import stages
from nextword.tokens.pool import POLL, Workers, cores
from nextword.tokens.shards import (
    SUFFIX,
    Shard,
    strings_as_arrays,
    tally_from_json,
    tally_to_json,
    write_arrays,
)
from nextword.tokens.stages import Part
from nextword.tokens.store import MANIFEST, SPLITS, TOKENIZER, SplitWriter, Store, write_manifest
from nextword.tokens.summary import show
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.training import bytes_tokenizer, characters

UNIT = 2_000_000  # bytes of sources, or characters of documents, in a shard
LARGE = 16_000_000  # bytes; a larger file is read here and its documents shared out
ALONE = 1_000_000  # bytes; less text is not worth starting processes for


@dataclass
class Corpus:
    """What is known of all documents while a store is made; a few hundred bytes for each."""

    shards: list[Path]
    keep: list[NDArray[np.bool_]] = field(default_factory=list)  # of each shard, [documents]
    tally: Tally = field(default_factory=Tally)
    languages: Counter[str] = field(default_factory=Counter)  # characters
    duplicates: dict[str, int] = field(default_factory=dict)
    characters: int = 0
    bytes: int = 0
    clusters: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


def prepare(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    settings: PrepareSettings | None = None,
    **overrides: Any,
) -> Store:
    """Make a token store at `out` of files, folders, patterns and hf:// data sets.

    Run again after a kill it goes on where it was; run again when done it returns what is there.
    Raises UserError for text that cannot be read, or an `out` that holds something else.
    """
    if settings is None or overrides:
        values = settings.model_dump(exclude_unset=True) if settings else {}
        settings = resolve(type(settings) if settings else PrepareSettings, values | overrides)
    out = Path(out)
    names = [data] if isinstance(data, (str, Path)) else list(data)
    sources = _outside(expand([str(name) for name in names]), out)
    given = _given_tokenizer(settings)
    identity = {
        "fingerprint": fingerprint(sources),
        "settings": _relevant(settings),
        "given_tokenizer": given.sha256 if given else None,
    }
    if finished := _finished(out, identity):
        shutil.rmtree(_beside(out), ignore_errors=True)
        say(f"{out} is prepared already")
        return finished
    out.parent.mkdir(parents=True, exist_ok=True)
    size = sum(source.size for source in sources)
    count = settings.workers or (1 if 0 < size < ALONE else cores())
    with _work_directory(out, identity) as work, Workers(count) as workers:
        shards = _read(sources, settings, work, workers)
        corpus = _choose(shards, settings, work)
        parts = _split(corpus, settings)
        made = _make_tokenizer(corpus, parts, settings, given, work / TOKENIZER, workers)
        summary = _summary(corpus, _overlap(parts, workers))  # while the tokenizer is trained
        tokenizer = made()
        encoded = _encode(parts, work, workers)
        with whole_directory(out) as aside:
            splits = _assemble(encoded, tokenizer, aside)
            _gather_quarantine(work, aside)
            tokenizer.save(aside / TOKENIZER)
            named = {"data": [str(name) for name in names]}
            content = {**named, **identity, "splits": splits, "summary": summary}
            write_manifest(aside, tokenizer, content, settings.tokenizer)
    shutil.rmtree(work, ignore_errors=True)
    store = Store.open(out)
    show(store)
    return store


def _relevant(settings: PrepareSettings) -> dict[str, Any]:
    """The settings that another result would come from."""
    names = set(PrepareSettings.model_fields) - {"workers"}
    dumped: dict[str, Any] = settings.model_dump(mode="json", include=names)
    return dumped


def _outside(sources: list[Source], out: Path) -> list[Source]:
    """Without the store's own files, where it lies within the data."""
    inside = os.path.realpath(out) + os.sep
    return [
        s for s in sources if s.kind == "hub" or not os.path.realpath(s.path).startswith(inside)
    ]


def _given_tokenizer(settings: PrepareSettings) -> Tokenizer | None:
    """The one named, before any text is read; None if it is to be made from the text."""
    if settings.tokenizer in ("bpe", "chars"):
        return None
    if settings.tokenizer == "bytes":
        return bytes_tokenizer()
    tokenizer = Tokenizer.load(settings.tokenizer)
    _ = tokenizer.end_id
    return tokenizer


def _finished(out: Path, identity: dict[str, Any]) -> Store | None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if out.is_dir() and (out / MANIFEST).is_file():
        manifest = read_json(out / MANIFEST)
        if isinstance(manifest, dict) and all(manifest.get(k) == v for k, v in identity.items()):
            return Store.open(out)
        what = "holds a store made from other data, or with other settings"
    else:
        what = "exists and is not a token store"
    raise UserError(what, where=out, mend="remove it, or name another place with --out")


def _beside(out: Path) -> Path:
    """Where shards are kept until the store is whole."""
    return out.with_name(f".{out.name}.work")


@contextlib.contextmanager
def _work_directory(out: Path, identity: dict[str, Any]) -> Iterator[Path]:
    """`.NAME.work` beside the store, with what a killed run of the same work left in it.

    A lock keeps a second run out. Worker processes hold it too, so that those of a killed run,
    which end soon after it, never write where the next one does.
    """
    work = _beside(out)
    work.mkdir(exist_ok=True)
    with open(work / "lock", "w") as lock:
        for _ in range(20):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(POLL / 4)
        else:
            raise UserError("is being prepared by another process", where=out)
        identity_file = work / "identity.json"
        if not identity_file.is_file() or read_json(identity_file) != identity:
            for item in work.iterdir():
                if item.is_dir():
                    shutil.rmtree(item)
                elif item.name != "lock":
                    item.unlink()
            write_json(identity_file, identity)
        for stage in ("text", "distinct", "ids", "quarantine"):
            (work / stage).mkdir(exist_ok=True)
        yield work


def _read(
    sources: list[Source], settings: PrepareSettings, work: Path, workers: Workers
) -> list[Path]:
    """Shards of documents, cleaned and signed, in the order of the sources."""
    names: list[str] = []
    total = sum(source.size for source in sources)
    with Progress("Reading", total, "B") as progress:

        def tasks() -> Iterator[tuple[Any, ...]]:
            for name, found in _units(sources, settings, work):
                names.append(name)
                target = work / "text" / (name + SUFFIX)
                if not target.is_file():
                    yield target, found, settings, work / "quarantine" / f"{name}.jsonl"
                progress.advance(sum(s.size for s in found if isinstance(s, Source)))

        for _ in workers.map(stages.read_stage, tasks()):
            pass
    return [work / "text" / (name + SUFFIX) for name in names]


def _units(
    sources: list[Source], settings: PrepareSettings, work: Path
) -> Iterator[tuple[str, tuple[Source, ...] | list[Document]]]:
    """Several small files, or some of the documents of a large one, each with a name; the same
    ones whenever the same work is done."""
    small: list[Source] = []
    for number, source in enumerate(sources):
        limit = LARGE // 8 if source.compression else LARGE
        if source.kind != "hub" and source.size <= limit:
            small.append(source)
            if sum(each.size for each in small) >= UNIT or number == len(sources) - 1:
                yield f"{number:08d}-files", tuple(small)
                small = []
            continue
        if small:
            yield f"{number - 1:08d}-files", tuple(small)
            small = []
        yield from _batches(number, source, settings, work)


def _batches(
    number: int, source: Source, settings: PrepareSettings, work: Path
) -> Iterator[tuple[str, list[Document]]]:
    counted = work / "text" / f"{number:08d}.json"  # what was found, once all has been read
    if counted.is_file():
        yield from ((name, []) for name in read_json(counted)["names"])
        return
    quarantine = work / "quarantine" / f"{number:08d}.jsonl"
    quarantine.unlink(missing_ok=True)
    tally = Tally(quarantine)
    documents = read(
        source, text_column=settings.text_column, skip_bad=settings.skip_bad, tally=tally
    )
    names: list[str] = []
    batch: list[Document] = []
    held = 0
    for document in documents:
        batch.append(document)
        held += len(document.text)
        if held >= UNIT:
            names.append(f"{number:08d}-{len(names):08d}")
            yield names[-1], batch
            batch, held = [], 0
    if batch:
        names.append(f"{number:08d}-{len(names):08d}")
        yield names[-1], batch
    write_json(counted, {"names": names, "tally": tally_to_json(tally)})


def _choose(shards: list[Path], settings: PrepareSettings, work: Path) -> Corpus:
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


def _split(corpus: Corpus, settings: PrepareSettings) -> list[Part]:
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


def _make_tokenizer(
    corpus: Corpus,
    parts: list[Part],
    settings: PrepareSettings,
    given: Tokenizer | None,
    saved: Path,
    workers: Workers,
) -> Callable[[], Tokenizer]:
    """Start making it, if a killed run has not; the function returned waits for it."""

    def keep(tokenizer: Tokenizer) -> Tokenizer:
        with whole_directory(saved) as aside:
            tokenizer.save(aside)
        return tokenizer

    if saved.is_dir():
        return lambda: Tokenizer.load(saved)
    if given is not None:
        return lambda: keep(given)
    if settings.tokenizer == "chars":
        return lambda: keep(characters(part.text() for part in parts))
    say("Training the tokenizer")
    share = 1 - settings.val_fraction
    size = int(corpus.characters * share)
    trained = workers.submit(stages.tokenizer_stage, parts, size, corpus.bytes, settings)
    return lambda: keep(trained())


def _overlap(parts: list[Part], workers: Workers) -> dict[str, Any]:
    """How much of the held-out text is in the training text."""
    overlap = Overlap()
    for found in workers.map(stages.windows_stage, ((part, True) for part in parts)):
        for windows in found:
            overlap.add_val(windows)
    for found in workers.map(stages.windows_stage, ((part, False) for part in parts)):
        overlap.add_train(found[0])
    return {"share": float(overlap.share), "documents_seen": int(overlap.documents_seen)}


def _summary(corpus: Corpus, overlap: dict[str, Any]) -> dict[str, Any]:
    return {
        **tally_to_json(corpus.tally),
        "characters": corpus.characters,
        "total": corpus.tally.total,
        "languages": dict(corpus.languages.most_common()),
        "duplicates": corpus.duplicates,
        "overlap": overlap,
    }


def _encode(parts: list[Part], work: Path, workers: Workers) -> list[Path]:
    targets = [work / "ids" / part.path.name for part in parts]
    with Progress("Encoding", len(parts), "shards") as progress:
        tasks = [
            (target, part, work / TOKENIZER)
            for target, part in zip(targets, parts, strict=True)
            if not target.is_file()
        ]
        progress.advance(len(parts) - len(tasks))
        for _ in workers.map(stages.encode_stage, tasks):
            progress.advance()
    return targets


def _assemble(
    encoded: list[Path], tokenizer: Tokenizer, directory: Path
) -> dict[str, dict[str, int]]:
    """Join the encoded shards into train and val; returns their counts."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in SPLITS}
    for name in SPLITS:
        with SplitWriter(directory, name, tokenizer.vocab_size, tokenizer.end_id) as writer:
            for path in encoded:
                shard = Shard(path)
                writer.append(
                    shard[f"{name}.ids"],
                    shard[f"{name}.lengths"],
                    shard.strings(f"{name}.source"),
                )
                counts[name].update(shard.notes[name])
        if not counts[name]["tokens"]:
            what = "training" if name == "train" else "held-out"
            warn(f"there is no {what} text; --val-fraction says how much is held out")
    return {name: dict(count) for name, count in counts.items()}


def _gather_quarantine(work: Path, directory: Path) -> None:
    """One file of all that was rejected, if anything was."""
    found = sorted((work / "quarantine").glob("*.jsonl"))
    if found:
        with open(directory / "quarantine.jsonl", "wb") as file:
            for part in found:
                file.write(part.read_bytes())
