"""Raw text to a token store: read → clean → de-duplicate → split → tokenizer → encode.

Each stage goes from shards on the disk to shards on the disk, in worker processes, so memory does
not grow with the corpus and a killed run goes on with the first shard it lacks. The store appears
under its name only when all of it is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nextword.errors import UserError, nearest
from nextword.files import read_json, whole_directory
from nextword.settings import PrepareSettings, resolve
from nextword.terminal import quantity, say, table, warn
from nextword.text.cleaning import LANGUAGES
from nextword.text.document import Source
from nextword.text.sources import digest_contents, find_sources, fingerprint
from nextword.tokens import stages
from nextword.tokens.control_tokens import control_tokens_for
from nextword.tokens.select import Corpus, SelectedShard, select_documents, split_documents
from nextword.tokens.stages import encode_shards, measure_overlap, read_shards, write_splits
from nextword.tokens.store import MANIFEST, TOKENIZER, Store, write_manifest
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import byte_tokenizer, character_tokenizer, check_vocab_size
from nextword.tokens.workers import (
    WorkerPool,
    available_cores,
    explain_disk_errors,
    interruptible,
    remove_leftovers,
    work_directory,
)

RELEVANT = PrepareSettings.model_fields.keys() - {"workers"}  # settings that change the result
SMALL_CORPUS = 1_000_000  # bytes; less text is not worth starting processes for

_SHOWN_SOURCE, _SHOWN_TEXT = 26, 20  # characters of an example
_SHOWN_LANGUAGES = 8
_SHOWN_FIELDS = 3
_LEAST_SHARE = 0.001  # of a language that is named

Row = tuple[str, str, str]  # (what, how much, remark)


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
    sources = _outside(find_sources(names), out)
    given = _given_tokenizer(settings)
    identity = {
        "fingerprint": fingerprint(sources),
        "settings": settings.model_dump(mode="json", include=RELEVANT),
        "given_tokenizer": given.sha256 if given else None,
    }
    with explain_disk_errors(out):
        store = _finished_store(out, identity)
    if store is not None:
        remove_leftovers(out, identity)
        say(f"{out} is prepared already")
        return store
    contents = digest_contents(sources)
    size = sum(source.size for source in sources)
    count = settings.workers or (1 if 0 < size < SMALL_CORPUS else available_cores())
    with (
        interruptible("What is done is kept: the same command goes on from there"),
        explain_disk_errors(out),
        work_directory(out, identity) as work,
        WorkerPool(count) as workers,
    ):
        if store := _finished_store(out, identity):  # by a process that was waited for
            return store
        shards = read_shards(sources, settings, work, workers)
        corpus = select_documents(shards, settings, work)
        parts = split_documents(corpus, settings)
        training = _start_training(corpus, parts, settings, given, work / TOKENIZER, workers)
        overlap = measure_overlap(parts, workers)  # while the tokenizer is trained
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
        with whole_directory(out) as aside:
            splits = write_splits(encoded, tokenizer, aside)
            _gather_quarantine(work, aside)
            tokenizer.save(aside / TOKENIZER)
            data_names = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in names]
            summary = _summary(corpus, overlap)
            content = {"data": data_names, **identity, "contents": contents, "splits": splits}
            content["summary"] = summary
            write_manifest(aside, tokenizer, content, settings.tokenizer)
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


def _outside(sources: list[Source], out: Path) -> list[Source]:
    """Return the sources without the store's own files, where it lies within the data."""
    inside = os.path.realpath(out) + os.sep
    return [
        s for s in sources if s.kind == "hub" or not os.path.realpath(s.path).startswith(inside)
    ]


def _finished_store(out: Path, identity: dict[str, Any]) -> Store | None:
    """Return the store of this very work; None if there is nothing. Raises UserError otherwise."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    what = "exists and is not a token store"
    if out.is_dir() and (out / MANIFEST).is_file():
        manifest = read_json(out / MANIFEST)
        if isinstance(manifest, dict) and all(manifest.get(k) == v for k, v in identity.items()):
            return Store.open(out)
        what = "holds a store made from other data, or with other settings"
    raise UserError(what, where=out, mend="remove it, or name another place with --out")


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


def _start_training(
    corpus: Corpus,
    parts: list[SelectedShard],
    settings: PrepareSettings,
    given: Tokenizer | None,
    saved: Path,
    workers: WorkerPool,
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


def _summary(corpus: Corpus, overlap: dict[str, Any]) -> dict[str, Any]:
    return {
        **corpus.stats.to_json(),
        "characters": corpus.characters,
        "total": corpus.stats.total,
        "languages": dict(corpus.languages.most_common()),
        "duplicates": corpus.duplicates,
        "clusters": corpus.near_clusters,
        "overlap": overlap,
    }


def summary_rows(manifest: dict[str, Any]) -> list[Row]:
    """Return the table that `prepare` ends with: what was found, left out and why, and became."""
    summary, splits = manifest["summary"], manifest["splits"]
    train, val = splits["train"], splits["val"]
    rows: list[Row] = [("documents found", f"{summary['total']:,}", "")]
    for name, reason in sorted(summary["reasons"].items(), key=lambda item: -item[1]["count"]):
        examples = "; ".join(_example(*pair) for pair in reason["examples"][:2])
        rows.append((f"  left out: {name}", f"{reason['count']:,}", examples))
    if summary["rejected"]:
        rows.append(("  of these unreadable", f"{summary['rejected']:,}", "see quarantine.jsonl"))
    notes = dict(summary["notes"])
    licences = notes.pop(stages.GUTENBERG_NOTE, 0)
    encodings = ", ".join(f"{count:,} in {name}" for name, count in notes.items())
    rows.append(("documents kept", f"{summary['accepted']:,}", encodings))
    if licences:
        several = licences > 1 and not manifest["settings"]["deduplicate_paragraphs"]
        remark = "--deduplicate-paragraphs drops its repetitions" if several else ""
        rows.append((f"  with {stages.GUTENBERG_NOTE}", f"{licences:,}", remark))
    rows.append(("characters", f"{summary['characters']:,}", _languages(summary)))
    rows += _unused_rows(summary)
    rows += _duplicate_rows(summary, manifest["settings"])
    for label, counts in (("training tokens", train), ("held-out tokens", val)):
        remark = f"{quantity(counts['bytes'], 'B')}, {counts['documents']:,} documents or parts"
        rows.append((label, f"{counts['tokens']:,}", remark))
    if val["tokens"]:
        overlap = summary["overlap"]
        seen = f"{overlap['documents_seen']:,} of {val['documents']:,} mostly seen in training"
        rows.append(("held-out text also trained on", f"{overlap['share']:.2%}", seen))
    per_token = (train["bytes"] + val["bytes"]) / max(train["tokens"] + val["tokens"], 1)
    tokenizer = manifest["tokenizer"]
    kind = f"{tokenizer['kind']}, a vocabulary of {tokenizer['vocab_size']:,}"
    rows.append(("bytes per token", f"{per_token:.3f}", kind))
    return rows


def _languages(summary: dict[str, Any]) -> str:
    total = max(summary["characters"], 1)
    named = [
        f"{name} {count / total:.1%}"
        for name, count in list(summary["languages"].items())[:_SHOWN_LANGUAGES]
        if count >= _LEAST_SHARE * total
    ]
    more = len(summary["languages"]) - len(named)
    return ", ".join([*named, f"traces of {more} more"] if more else named)


def _unused_rows(summary: dict[str, Any]) -> list[Row]:
    """Return, for each kind of file, what stands beside the text: fields by their characters."""
    rows = []
    for kind, fields in summary["unused"].items():
        ranked = sorted(fields.items(), key=lambda item: (-item[1]["characters"], item[0]))
        named = [_unused_field(name, **counts) for name, counts in ranked[:_SHOWN_FIELDS]]
        more = [f"{len(ranked) - len(named):,} more"] if len(ranked) > len(named) else []
        total = sum(counts["characters"] for counts in fields.values())
        rows.append((f"  not used: {kind}", f"{total:,}", ", ".join([*named, *more])))
    return rows


def _unused_field(name: str, records: int, characters: int) -> str:
    size = f"{characters:,} characters in " if characters else "in "
    return f"{name} ({size}{records:,} record{'s' if records != 1 else ''})"


def _duplicate_rows(summary: dict[str, Any], settings: dict[str, Any]) -> list[Row]:
    dropped = summary["duplicates"]
    exact, near = dropped.get("exact duplicate", 0), dropped.get("near duplicate", 0)
    kept = {"near": "", "exact": "; near ones are kept", "none": "; all are kept"}
    remark = f"{exact:,} exact, {near:,} near{kept[settings['deduplicate']]}"
    rows = [("duplicates dropped", f"{exact + near:,}", remark)]
    if clusters := summary["clusters"]["count"]:
        remark = f"of {summary['clusters']['documents']:,} documents"
        if settings["deduplicate"] == "near":
            remark += "; the first of each is kept"
        elif settings["split"] == "document":
            remark += "; each is split as one"
        rows.append(("near-duplicate clusters", f"{clusters:,}", remark))
    if "paragraph" in dropped:
        rows.append(("repeated paragraphs dropped", f"{dropped['paragraph']:,}", ""))
    return rows


def _example(source: str, text: str) -> str:
    place = source if len(source) <= _SHOWN_SOURCE else "…" + source[1 - _SHOWN_SOURCE :]
    start = text if len(text) <= _SHOWN_TEXT else text[: _SHOWN_TEXT - 1] + "…"
    return f"{place} “{start}”" if text else place
