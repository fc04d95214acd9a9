"""Raw text to a token store: read → clean → de-duplicate → split → tokenizer → encode.

Each stage goes from shards on the disk to shards on the disk, in worker processes, so memory does
not grow with the corpus and a killed run goes on with the first shard it lacks. The store appears
under its name only when all of it is there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nextword.addresses import is_address
from nextword.errors import UserError, nearest
from nextword.files import read_json, whole_directory
from nextword.resources import available_cores
from nextword.settings import PrepareSettings, with_overrides
from nextword.terminal import say, table, warn
from nextword.text.cleaning import LANGUAGES
from nextword.text.document import Source
from nextword.text.sources import digest_contents, find_sources, fingerprint, list_items
from nextword.tokens import losses, stages
from nextword.tokens.control_tokens import control_tokens_for
from nextword.tokens.encode import encode_shards, lost_in_encoding, write_splits
from nextword.tokens.remote_store import manifest_at, publish, staging_place
from nextword.tokens.select import Corpus, SelectedShard, select_documents, split_documents
from nextword.tokens.stages import measure_overlap, read_shards
from nextword.tokens.store import MANIFEST, TOKENIZER, Store, write_manifest
from nextword.tokens.summary import summarize, summary_rows
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import byte_tokenizer, character_tokenizer, check_vocab_size
from nextword.tokens.workers import (
    WorkerPool,
    Workers,
    explain_disk_errors,
    interruptible,
    remove_leftovers,
    work_directory,
)

# Settings that change the result.
RELEVANT = PrepareSettings.model_fields.keys() - {"workers", "cluster"}
SMALL_CORPUS = 1_000_000  # bytes; less text is not worth starting processes for

_OTHER_STORE = "holds a store made from other data, or with other settings"
_OTHER_PLACE = "remove it, or name another place with --out"
_OWN_TOKENIZER = "leave out --tokenizer: one that knows every character is trained on the text"


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
        kind = type(settings) if settings else PrepareSettings
        settings = with_overrides(kind, settings, overrides)
    _check(settings)
    names = list_items(data)
    if is_address(out):
        store = _prepare_at(str(out).rstrip("/"), names, settings)
    else:
        out = Path(out) if Path(out).name not in ("", "..") else Path(out).resolve()
        store = _prepare(names, _outside(find_sources(names), out), out, settings)
    return store


def _prepare_at(address: str, names: list[str], settings: PrepareSettings) -> Store:
    """Make a store in the cache, and write it at an address; a run that was stopped while it wrote
    does so again."""
    sources = _outside(find_sources(names), address)
    identity = _identity(sources, settings, _given_tokenizer(settings))
    if (manifest := manifest_at(address)) is not None:
        if not _is_of(manifest, identity):
            raise UserError(_OTHER_STORE, where=address, mend=_OTHER_PLACE)
        say(f"{address} is prepared already")
        return Store.open(address)
    place = staging_place(address)
    if (place / MANIFEST).is_file() and not _is_of(read_json(place / MANIFEST), identity):
        shutil.rmtree(place)  # made of what the data was when it could not be written
    return Store.open(publish(_prepare(names, sources, place, settings).path, address))


def _identity(
    sources: list[Source], settings: PrepareSettings, given: Tokenizer | None
) -> dict[str, Any]:
    """Return what a store is made of."""
    return {
        "fingerprint": fingerprint(sources),
        "settings": settings.model_dump(mode="json", include=RELEVANT),
        "given_tokenizer": given.sha256 if given else None,
    }


def _prepare(
    names: list[str], sources: list[Source], out: Path, settings: PrepareSettings
) -> Store:
    """Make a store of `sources`, which are what the data's `names` stand for."""
    given = _given_tokenizer(settings)
    identity = _identity(sources, settings, given)
    with explain_disk_errors(out):
        store = _finished_store(out, identity)
    if store is not None:
        remove_leftovers(out, identity)
        say(f"{out} is prepared already")
        return store
    contents = digest_contents(sources)
    size = sum(source.size for source in sources)
    with (
        interruptible("What is done is kept: the same command goes on from there"),
        explain_disk_errors(out),
        work_directory(out, identity) as work,
        _start_workers(settings, size, work) as workers,
    ):
        if store := _finished_store(out, identity):  # by a process that was waited for
            return store
        shards = read_shards(sources, settings, work, workers)
        corpus = select_documents(shards, settings, work)
        parts = split_documents(corpus, settings)
        training = _start_training(corpus, parts, settings, given, work / TOKENIZER, workers)
        overlap = measure_overlap(parts, work, workers)  # while the tokenizer is trained
        tokenizer = training()
        if not (work / TOKENIZER).is_dir():
            with whole_directory(work / TOKENIZER) as aside:
                tokenizer.save(aside)
        if settings.vocab_size and tokenizer.vocab_size < settings.vocab_size:
            warn(
                f"the text yields a vocabulary of {tokenizer.vocab_size:,} tokens, "
                f"not the {settings.vocab_size:,} asked for"
            )
        encoded = encode_shards(parts, work / TOKENIZER, work, workers)
        lost = lost_in_encoding(encoded)
        losses.say_what_is_folded(tokenizer)
        losses.check(lost, settings.tokenizer, _OWN_TOKENIZER)
        with whole_directory(out) as aside:
            splits, sums = write_splits(encoded, tokenizer, aside, work, workers)
            _gather_quarantine(work, aside)
            tokenizer.save(aside / TOKENIZER)
            data_names = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in names]
            summary = summarize(corpus, overlap)
            of_text = sum(count["tokens"] - count["documents"] for count in splits.values())
            lost.tokens = lost.tokens or of_text
            content = {"data": data_names, **identity, "contents": contents, "splits": splits}
            content |= {"summary": summary, "unknown_tokens": lost.to_json()}
            write_manifest(aside, tokenizer, content, settings.tokenizer, sums)
    if settings.val_fraction:
        for name, what in (("train", "training"), ("val", "held-out")):
            if not splits[name]["tokens"]:
                warn(f"there is no {what} text; --val-fraction says how much is held out")
    store = Store.open(out)
    table(f"Prepared {store.path}", ("", "", ""), summary_rows(store.manifest))
    return store


def _check(settings: PrepareSettings) -> None:
    """Raise UserError for what can be told before any text is read."""
    for name in settings.languages or []:
        if name not in LANGUAGES:
            raise UserError(f"no language {name!r}", mend=nearest(name, LANGUAGES))
    if settings.vocab_size is not None:
        if settings.tokenizer != "bpe":
            raise UserError(
                f"a vocabulary size is for a tokenizer that is trained, not for "
                f"{settings.tokenizer!r}",
                mend="leave out --vocab-size, or take --tokenizer bpe",
            )
        check_vocab_size(settings.vocab_size, control_tokens_for(settings))


def refuse_changed_text(store: Store, names: Sequence[str]) -> None:
    """Raise UserError where the files that a store was made of hold other text by now.

    Files that are no longer there at all are not needed: the store has their text.
    """
    try:
        sources = _outside(find_sources(names), store.path)
    except UserError as error:
        warn(f"the store is used as it is: {error}")
        return
    manifest = store.manifest
    is_touched = fingerprint(sources) != manifest["fingerprint"]
    if is_touched and digest_contents(sources) != manifest["contents"]:
        raise UserError(
            "the text has changed since this store was prepared",
            where=store.path,
            mend="put the old text back, or start another run with another --out",
        )


def _outside(sources: list[Source], out: Path | str) -> list[Source]:
    """Return the sources without the store's own files, where it lies within the data; `out` is its
    path or address."""
    if isinstance(out, str):
        return [source for source in sources if not source.path.startswith(f"{out}/")]
    inside = os.path.realpath(out) + os.sep
    return [
        s
        for s in sources
        if s.kind == "hub" or is_address(s.path) or not os.path.realpath(s.path).startswith(inside)
    ]


def _finished_store(out: Path, identity: dict[str, Any]) -> Store | None:
    """Return the store of this very work; None if there is nothing. Raises UserError otherwise."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    what = "exists and is not a token store"
    if out.is_dir() and (out / MANIFEST).is_file():
        if _is_of(read_json(out / MANIFEST), identity):
            return Store.open(out)
        what = _OTHER_STORE
    raise UserError(what, where=out, mend=_OTHER_PLACE)


def _is_of(manifest: Any, identity: dict[str, Any]) -> bool:
    """Return whether a store's manifest says that it is of this very work."""
    return isinstance(manifest, dict) and all(manifest.get(k) == v for k, v in identity.items())


def _given_tokenizer(settings: PrepareSettings) -> Tokenizer | None:
    """Return the tokenizer that does not depend on the text; None if it is made from the text."""
    if settings.tokenizer in ("bpe", "chars"):
        return None
    if settings.tokenizer == "bytes":
        return byte_tokenizer(control_tokens_for(settings))
    tokenizer = Tokenizer.load(settings.tokenizer)
    _ = tokenizer.end_id
    mend = "choose another --tokenizer, or leave it out: one is made for the objective"
    tokenizer.require_control_tokens(settings.objective, settings.fim_rate, mend)
    return tokenizer


def _start_workers(settings: PrepareSettings, size: int, work: Path) -> Workers:
    """Return the workers for so many bytes of sources."""
    if settings.cluster is not None:
        from nextword.tokens.cluster import RayWorkers

        return RayWorkers(settings.cluster, settings.workers, work)
    return WorkerPool(settings.workers or (1 if 0 < size < SMALL_CORPUS else available_cores()))


def _start_training(
    corpus: Corpus,
    parts: list[SelectedShard],
    settings: PrepareSettings,
    given: Tokenizer | None,
    saved: Path,
    workers: Workers,
) -> Callable[[], Tokenizer]:
    """Start making the tokenizer; the function returned waits for it.

    It is not made again if it was given, or `saved` by a run that was killed.
    """
    if saved.is_dir():
        return lambda: Tokenizer.load(saved)
    if given is not None:
        return lambda: given
    if settings.tokenizer == "chars":
        texts = (part.text() for part in parts)
        return lambda: character_tokenizer(texts, control_tokens_for(settings))
    say("Training the tokenizer")
    characters = int(corpus.characters * (1 - settings.val_fraction))
    return workers.submit(stages.tokenizer_stage, parts, characters, corpus.bytes, settings)


def _gather_quarantine(work: Path, directory: Path) -> None:
    """Write one file of all that was rejected, if anything was."""
    rejected = sorted((work / "quarantine").glob("*.jsonl"))
    if rejected:
        with open(directory / "quarantine.jsonl", "wb") as file:
            for part in rejected:
                file.write(part.read_bytes())
