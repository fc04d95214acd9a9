"""Raw text to a token store: read → clean → de-duplicate → split → tokenizer → encode.

Each stage goes from shards on the disk to shards on the disk, in worker processes, so memory does
not grow with the corpus and a killed run goes on with the first shard it lacks. The store appears
under its name only when all of it is there.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nextword.errors import UserError, nearest
from nextword.files import whole_directory
from nextword.settings import PrepareSettings, resolve
from nextword.terminal import Progress, say, warn
from nextword.text import language
from nextword.text.document import Source
from nextword.text.overlap import Overlap
from nextword.text.sources import expand, fingerprint
from nextword.tokens import stages, workplace
from nextword.tokens.choosing import Corpus, choose, split
from nextword.tokens.pool import Workers, cores, stoppable
from nextword.tokens.reading import read_all
from nextword.tokens.shards import Shard, tally_to_json
from nextword.tokens.specials import check_controls, specials_for
from nextword.tokens.stages import Part
from nextword.tokens.store import SPLITS, TOKENIZER, SplitWriter, Store, write_manifest
from nextword.tokens.summary import show
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.training import bytes_tokenizer, characters, check_vocab_size

ALONE = 1_000_000  # bytes; less text is not worth starting processes for


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
    _check(settings)
    out = Path(out) if Path(out).name not in ("", "..") else Path(out).resolve()
    names = [str(name) for name in ([data] if isinstance(data, str | Path) else data)]
    sources = _outside(expand(names), out)
    given = _given_tokenizer(settings)
    identity = {
        "fingerprint": fingerprint(sources),
        "settings": _relevant(settings),
        "given_tokenizer": given.sha256 if given else None,
    }
    with workplace.writing(out):
        store = workplace.finished(out, identity)
    if store is not None:
        workplace.clear(out, identity)
        say(f"{out} is prepared already")
        return store
    size = sum(source.size for source in sources)
    count = settings.workers or (1 if 0 < size < ALONE else cores())
    with (
        stoppable("What is done is kept: the same command goes on from there"),
        workplace.writing(out),
        workplace.work_directory(out, identity) as work,
        Workers(count) as workers,
    ):
        if store := workplace.finished(out, identity):  # by a process that was waited for
            return store
        shards = read_all(sources, settings, work, workers)
        corpus = choose(shards, settings, work)
        parts = split(corpus, settings)
        made = _make_tokenizer(corpus, parts, settings, given, work / TOKENIZER, workers)
        summary = _summary(corpus, _overlap(parts, workers))  # while the tokenizer is trained
        tokenizer = made()
        _tell_of_vocabulary(tokenizer, settings)
        encoded = _encode(parts, work, workers)
        with whole_directory(out) as aside:
            splits = _assemble(encoded, tokenizer, aside)
            _gather_quarantine(work, aside)
            tokenizer.save(aside / TOKENIZER)
            named = {"data": [os.fsencode(n).decode("utf-8", "backslashreplace") for n in names]}
            content = {**named, **identity, "splits": splits, "summary": summary}
            write_manifest(aside, tokenizer, content, settings.tokenizer)
    if settings.val_fraction:
        for name, what in (("train", "training"), ("val", "held-out")):
            if not splits[name]["tokens"]:
                warn(f"there is no {what} text; --val-fraction says how much is held out")
    store = Store.open(out)
    show(store)
    return store


def _check(settings: PrepareSettings) -> None:
    """What can be told before any text is read."""
    for name in settings.languages or []:
        if name not in language.NAMES:
            raise UserError(f"no language {name!r}", mend=nearest(name, language.NAMES))
    if settings.vocab_size is not None:
        if settings.tokenizer != "bpe":
            raise UserError(
                f"a vocabulary size is for a tokenizer that is trained, not for "
                f"{settings.tokenizer!r}",
                mend="leave out --vocab-size, or take --tokenizer bpe",
            )
        check_vocab_size(settings.vocab_size, specials_for(settings))


def _tell_of_vocabulary(tokenizer: Tokenizer, settings: PrepareSettings) -> None:
    if settings.vocab_size and tokenizer.vocab_size < settings.vocab_size:
        warn(
            f"the text yields a vocabulary of {tokenizer.vocab_size:,} tokens, "
            f"not the {settings.vocab_size:,} asked for"
        )


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
        return bytes_tokenizer(specials_for(settings))
    tokenizer = Tokenizer.load(settings.tokenizer)
    _ = tokenizer.end_id
    mend = "choose another --tokenizer, or leave it out: one is made for the objective"
    check_controls(tokenizer, settings.objective, settings.fim_rate, mend)
    return tokenizer


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
        texts = (part.text() for part in parts)
        return lambda: keep(characters(texts, specials_for(settings)))
    say("Training the tokenizer")
    share = 1 - settings.val_fraction
    size = int(corpus.characters * share)
    trained = workers.submit(stages.tokenizer_stage, parts, size, corpus.bytes, settings)
    return lambda: keep(trained())


def _overlap(parts: list[Part], workers: Workers) -> dict[str, Any]:
    """How much of the held-out text is in the training text."""
    overlap = Overlap()
    with Progress("Comparing held-out with training text", 2 * len(parts), "shards") as progress:
        for found in workers.map(stages.windows_stage, ((part, True) for part in parts)):
            for windows in found:
                overlap.add_val(windows)
            progress.advance()
        for found in workers.map(stages.windows_stage, ((part, False) for part in parts)):
            overlap.add_train(found[0])
            progress.advance()
    return {"share": float(overlap.share), "documents_seen": int(overlap.documents_seen)}


def _summary(corpus: Corpus, overlap: dict[str, Any]) -> dict[str, Any]:
    return {
        **tally_to_json(corpus.tally),
        "characters": corpus.characters,
        "total": corpus.tally.total,
        "languages": dict(corpus.languages.most_common()),
        "duplicates": corpus.duplicates,
        "clusters": corpus.near_clusters,
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
    return {name: dict(count) for name, count in counts.items()}


def _gather_quarantine(work: Path, directory: Path) -> None:
    """One file of all that was rejected, if anything was."""
    found = sorted((work / "quarantine").glob("*.jsonl"))
    if found:
        with open(directory / "quarantine.jsonl", "wb") as file:
            for part in found:
                file.write(part.read_bytes())
