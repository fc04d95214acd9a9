"""`prepare`: raw text in, a token store out.

    read, clean, sign → drop duplicates → split → tokenizer → encode → manifest

Every stage leaves its result in STORE/work, so that a run that was killed goes on from there; the
manifest is written last, and without it nothing takes the folder for a store.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nextword
from nextword.errors import UserError
from nextword.files import read_json, sha256, sync_directory, sync_file, write_json
from nextword.settings import PrepareSettings, resolve
from nextword.terminal import Progress, duration, say, table
from nextword.text.duplicates import Duplicates
from nextword.text.overlap import Overlap, windows
from nextword.text.sources import expand, fingerprint
from nextword.text.split import Plan, plan
from nextword.tokens import training
from nextword.tokens.gather import Gathered, gather, tally_to_json
from nextword.tokens.store import FORMAT, SplitWriter, Store
from nextword.tokens.tokenizer import Tokenizer

BATCH_CHARACTERS = 2_000_000  # encoded at once
PASSAGE = 10_000  # characters; the tokenizer's sample is made of such passages


@dataclass
class Corpus:
    """The documents that are kept, and which parts of them are held out."""

    gathered: Gathered
    kept: NDArray[np.int64]  # numbers of documents
    plan: Plan

    def pieces(self, split: str) -> Iterator[str]:
        """The pieces of one split, in the order of the sources."""
        held_out = split == "val"
        whole = self.plan.whole
        mine = np.flatnonzero((whole < 0) | (whole == held_out))
        for index, (_, text) in zip(
            mine.tolist(), self.gathered.texts(self.kept[mine]), strict=True
        ):
            yield from self.plan.pieces(index, text)[held_out]

    @property
    def characters(self) -> int:
        return int(self.gathered.records["characters"][self.kept].sum())


def prepare(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    settings: PrepareSettings | None = None,
    **overrides: Any,
) -> Store:
    """Make a token store from raw text. Raises UserError where data cannot be read or is too little.

    The same call again opens the finished store, or goes on with an unfinished one.
    """
    started = time.monotonic()
    given = {} if settings is None else settings.model_dump(exclude_unset=True)
    settings = resolve(PrepareSettings, given | overrides)
    names = [str(item) for item in ([data] if isinstance(data, str | Path) else data)]
    out = Path(out)
    sources = expand(names)
    identity = _identity(fingerprint(sources), settings)
    if _is_ready(out, identity):
        say(f"{out} is prepared already")
        return Store.open(out)
    work = _begin(out, identity)
    quarantine = out / "quarantine.jsonl" if settings.skip_bad else None
    gathered = gather(sources, settings, work, quarantine)
    corpus, languages = _select(gathered, settings)
    tokenizer = _tokenizer(corpus, settings, work)
    counts, overlap = _encode(corpus, tokenizer, out)
    tokenizer.save(out / "tokenizer")
    manifest = {
        "format": FORMAT,
        "nextword": nextword.__version__,
        "identity": identity,
        "data": names,
        "settings": settings.model_dump(exclude={"workers"}),
        "tokenizer": {
            "kind": settings.tokenizer,
            "sha256": tokenizer.sha256,
            "vocab_size": tokenizer.vocab_size,
        },
        "splits": counts,
        "languages": languages,
        "documents": tally_to_json(gathered.tally),
        "overlap": overlap,
        "files": _files(out),
    }
    shutil.rmtree(work)
    write_json(out / "manifest.json", manifest)
    show(manifest)
    say(f"Prepared {out} in {duration(time.monotonic() - started)}")
    return Store.open(out)


def _identity(sources: str, settings: PrepareSettings) -> str:
    chosen = settings.model_dump(include=set(PrepareSettings.model_fields) - {"workers"})
    return hashlib.sha256(json.dumps([sources, chosen], sort_keys=True).encode()).hexdigest()


def _is_ready(out: Path, identity: str) -> bool:
    if out.exists() and not out.is_dir():
        raise UserError("is a file; a store needs a folder", where=out, mend="another --out")
    if not (out / "manifest.json").is_file():
        return False
    manifest = read_json(out / "manifest.json")
    if manifest.get("identity") != identity:
        raise UserError(
            "holds a store of other text or settings",
            where=out,
            mend="choose another --out, or delete it",
        )
    return True


def _begin(out: Path, identity: str) -> Path:
    """The folder that stages leave their results in; emptied if it was for something else."""
    work = out / "work"
    if out.is_dir() and any(out.iterdir()) and not work.is_dir():
        raise UserError("is not empty", where=out, mend="choose another --out")
    job = work / "job.json"
    if not job.is_file() or read_json(job) != {"identity": identity}:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        write_json(job, {"identity": identity})
    elif (work / "gathered.json").is_file():
        say(f"Going on with {out}")
    return work


def _select(gathered: Gathered, settings: PrepareSettings) -> tuple[Corpus, dict[str, int]]:
    """Drop duplicates, and choose what is held out."""
    records = gathered.records
    duplicates = Duplicates(settings.similarity)
    for digest, signature in zip(records["digest"], records["signature"], strict=True):
        duplicates.add(digest.tobytes(), signature if signature.any() else None)
    numbers = np.arange(len(records))
    clusters = duplicates.clusters() if len(records) else numbers
    first = {"near": clusters, "none": numbers}.get(settings.deduplicate)
    if first is None:
        first = duplicates.exact() if len(records) else numbers
    repeated = np.flatnonzero(first != numbers)
    _tell_repeated(gathered, repeated, first, duplicates.exact() if len(repeated) else first)
    kept = np.flatnonzero(first == numbers)
    if not len(kept):
        reasons = ", ".join(f"{r} ({e.count:,})" for r, e in gathered.tally.reasons.items())
        raise UserError(
            f"no text is left{': ' + reasons if reasons else ''}",
            mend="give other data, or loosen the filters",
        )
    chosen = plan(
        records["characters"][kept],
        clusters[kept],
        settings.val_fraction,
        settings.seed,
        settings.split,
    )
    languages = Counter(language.decode() for language in records["language"][kept])
    return Corpus(gathered, kept, chosen), dict(languages.most_common())


def _tell_repeated(
    gathered: Gathered, repeated: NDArray[np.int64], first: NDArray[Any], exact: NDArray[Any]
) -> None:
    shown = repeated[:3]
    names = gathered.name(set(shown.tolist()) | set(first[shown].tolist()))
    for number in repeated.tolist():
        kind = "exact duplicate" if exact[number] != number else "near duplicate"
        example = f"repeats {names[int(first[number])]}" if number in shown else ""
        gathered.tally.drop(kind, names.get(number, ""), example)


def _tokenizer(corpus: Corpus, settings: PrepareSettings, work: Path) -> Tokenizer:
    """The tokenizer asked for, trained on training text where it is a new one."""
    if (work / "tokenizer" / "tokenizer_config.json").is_file():
        return Tokenizer.load(work / "tokenizer")
    kind = settings.tokenizer
    if kind != "bpe" and settings.vocab_size is not None:
        raise UserError(
            f"--vocab-size is for a new vocabulary, but the tokenizer is {kind}",
            mend="leave one of the two out",
        )
    if kind == "bytes":
        tokenizer = training.bytes_tokenizer()
    elif kind == "chars":
        tokenizer = training.characters(
            piece for split in ("train", "val") for piece in corpus.pieces(split)
        )
    elif kind == "bpe":
        sample = list(_sample(corpus, settings.tokenizer_sample))
        size = settings.vocab_size or _vocab_size(corpus.characters, sample)
        say(f"Training a tokenizer of {size:,} tokens on {sum(map(len, sample)):,} characters")
        tokenizer = training.train_bpe(sample, size)
    else:
        tokenizer = Tokenizer.load(kind)
    tokenizer.save(work / "tokenizer")
    return tokenizer


def _sample(corpus: Corpus, most: int) -> Iterator[str]:
    """Passages spread evenly over the training text, `most` characters in all."""
    share = min(1.0, most / max(1, corpus.characters))
    owed = 0.0
    for piece in corpus.pieces("train"):
        for start in range(0, len(piece), PASSAGE):
            passage = piece[start : start + PASSAGE]
            owed += share * len(passage)
            if owed >= len(passage) - 0.5:
                owed -= len(passage)
                yield passage


def _vocab_size(characters: int, sample: list[str]) -> int:
    common = Counter[str]()
    for passage in sample:
        common.update(passage)
    return training.choose_vocab_size(
        characters, sum(ord(c) > 0x2E7F and n > 4 for c, n in common.items())
    )


def _encode(
    corpus: Corpus, tokenizer: Tokenizer, out: Path
) -> tuple[dict[str, dict[str, int]], dict[str, Any]]:
    """Write both splits; also measures how much of the held-out text is in the training text."""
    overlap = Overlap()
    counts = {}
    with Progress("Encoding", corpus.characters, "characters") as progress:
        for split, look in (("val", overlap.add_val), ("train", overlap.add_train)):
            writer = SplitWriter(out / split, tokenizer.vocab_size, tokenizer.end_id)
            characters = raw = documents = 0
            for texts in _batches(corpus.pieces(split)):
                writer.add(*tokenizer.encode_batch(texts))
                for text in texts:
                    look(windows(text))
                    raw += len(text.encode("utf-8", "surrogatepass"))
                size = sum(map(len, texts))
                characters += size
                documents += len(texts)
                progress.advance(size)
            tokens = writer.finish()
            counts[split] = {
                "documents": documents,
                "tokens": tokens,
                "characters": characters,
                "bytes": raw,
            }
    if not counts["train"]["tokens"]:
        raise UserError("no text is left to train on", mend="lower --val-fraction")
    seen = {"share": round(overlap.share, 6), "documents_seen": overlap.documents_seen}
    return counts, seen


def _batches(pieces: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _files(out: Path) -> dict[str, dict[str, Any]]:
    files = {}
    for path in sorted([*out.glob("*.bin"), *out.glob("*.idx"), *(out / "tokenizer").iterdir()]):
        sync_file(path)
        name = path.relative_to(out).as_posix()
        files[name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    sync_directory(out)
    return files


def show(manifest: dict[str, Any]) -> None:
    """What is in a store, and what became of every document, for people."""
    splits, total = manifest["splits"], manifest["documents"]
    rows = []
    for name in ("train", "val"):
        split = splits[name]
        width = split["bytes"] / max(1, split["tokens"])
        rows.append((name, split["documents"], split["characters"], split["tokens"], width))
    table("Text", ["split", "pieces", "characters", "tokens", "bytes/token"], rows)
    found = [("found", total["accepted"] + total["skipped"] + total["rejected"], "")]
    found.append(("kept", total["accepted"], _shares(manifest["languages"])))
    for reason, entry in total["reasons"].items():
        examples = "; ".join(": ".join(filter(None, pair)) for pair in entry["examples"][:2])
        found.append((f"left out, {reason}", entry["count"], examples[:120]))
    table("Documents", ["", "documents", ""], found)
    for note, count in total["notes"].items():
        say(f"  {note}: {count:,}")
    overlap = manifest["overlap"]
    say(
        f"  {overlap['share']:.2%} of the held-out text's long passages stand in the training text "
        f"too; {overlap['documents_seen']:,} held-out pieces were mostly seen in training"
    )


def _shares(languages: dict[str, int]) -> str:
    whole = max(1, sum(languages.values()))
    return ", ".join(f"{name} {n / whole:.0%}" for name, n in list(languages.items())[:6])
