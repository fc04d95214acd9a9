"""The text a model is evaluated on: a run's own held-out part, a store's, or files of text."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.evaluation.parts import first_tokens
from nextword.files import read_json
from nextword.settings import PrepareSettings, resolve
from nextword.terminal import Progress, say
from nextword.text.cleaning import process_document
from nextword.text.document import ReadStats
from nextword.text.duplicates import window_hashes
from nextword.text.sources import find_sources, read_documents
from nextword.text.split import Overlap
from nextword.tokens.losses import Losses
from nextword.tokens.shards import id_dtype
from nextword.tokens.store import Split, Store, is_store
from nextword.tokens.tokenizer import Tokenizer

ENCODED_AT_ONCE = 4_000_000  # characters
WINDOW = 16  # tokens in a row that tell whether a passage was seen in training
CHUNK = 1 << 22  # training tokens looked at once
MOST_TRAINING_TOKENS = 500_000_000  # beyond this, looking for seen documents is not cheap
SAMPLED = np.uint32(2**30)  # of 2^32 hashes: a quarter of the windows is looked at


@dataclass(frozen=True)
class HeldOut:
    """Text to measure on; `losses` is what the tokenizer lost of it."""

    name: str
    split: Split
    losses: Losses


def run_store(model: Path, *, needed: bool) -> Store | None:
    """The store a run was trained on, if `model` is a run directory (or the model in one).

    None where the store is gone; if it is `needed` that raises UserError.
    """
    own = model.resolve()
    folders = (own, own.parent) if own.name == "model" else (own,)
    files = [folder / "run.json" for folder in folders if (folder / "run.json").is_file()]
    if not model.is_dir() or not files:
        return None
    file = files[0]
    saved = read_json(file)
    if file.with_name("task.json").is_file():  # fine-tuned: it has no store
        return None
    if not isinstance(saved, dict) or not isinstance(saved.get("store"), str):
        raise UserError("does not name the run's store", where=file)
    place = file.parent / saved["store"]
    return Store.open(place) if needed or is_store(place) else None


def open_held_out(
    data: Sequence[str],
    store: Store | None,
    tokenizer: Tokenizer,
    *,
    text_column: str | None = None,
    max_tokens: int | None = None,
) -> HeldOut:
    """Held-out tokens: those of `data`, or of the run's own store where none is given.

    Files of text are read until there are `max_tokens`; of a store it is all.
    Raises UserError where there is nothing to evaluate on, or it is of another tokenizer.
    """
    if not data:
        if store is None:
            raise UserError(
                "a model that is not a run has no held-out text of its own",
                mend="name some: nextword evaluate MODEL DATA",
            )
        return _of_store(store, tokenizer)
    if len(data) == 1 and is_store(data[0]):
        return _of_store(Store.open(data[0]), tokenizer)
    tokenizer.take_losses()  # of what was encoded before
    split = read_text(data, tokenizer, text_column=text_column, max_tokens=max_tokens)
    losses = tokenizer.take_losses()
    return HeldOut(", ".join(data), first_tokens(split, max_tokens, tokenizer), losses)


def _of_store(store: Store, tokenizer: Tokenizer) -> HeldOut:
    if store.manifest["tokenizer"]["sha256"] != tokenizer.sha256:
        raise UserError(
            "was encoded with another tokenizer than the model's",
            where=store.path,
            mend="evaluate on the text itself: nextword evaluate MODEL TEXT",
        )
    if not len(store.val.tokens):
        raise UserError(
            "holds no held-out text (it was prepared with --val-fraction 0)",
            where=store.path,
            mend="name some: nextword evaluate MODEL DATA",
        )
    path = min(os.path.relpath(store.path), str(store.path.resolve()), key=len)
    split, saved = store.val, store.manifest.get("unknown_tokens")
    losses = Losses.from_json(saved) if saved else Losses()
    if tokenizer.unknown_id is not None:  # else what is lost has left no trace in the tokens
        losses.tokens = len(split) - len(split.starts) + 1
        losses.unknown = sum(
            int(np.count_nonzero(split.tokens[start : start + CHUNK] == tokenizer.unknown_id))
            for start in range(0, len(split), CHUNK)
        )
    return HeldOut(f"held-out text of {path}", split, losses)


def read_text(
    data: Sequence[str],
    tokenizer: Tokenizer,
    *,
    text_column: str | None = None,
    max_tokens: int | None = None,
) -> Split:
    """Files of text as tokens, cleaned as `prepare` does; each document ends in the end token.

    Nothing is left out but empty documents. Stops reading after `max_tokens`.
    """
    tally, encoded = ReadStats(), list[NDArray[Any]]()
    lengths, sizes = list[int](), list[int]()
    for texts in _batches_of_texts(data, text_column, tally):
        ids, counts = tokenizer.encode_batch(texts)
        ended = np.insert(ids, np.cumsum(counts), tokenizer.end_id)
        encoded.append(ended.astype(id_dtype(tokenizer.vocab_size)))
        lengths += (counts + 1).tolist()
        sizes += [len(text.encode()) for text in texts]
        if max_tokens and sum(lengths) >= max_tokens:
            break
    if not lengths:
        raise UserError("holds no text", where=", ".join(data), mend="name files that do")
    if tally.skipped:
        say(f"{tally.skipped:,} of {tally.total:,} documents are empty and left out")
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Split(
        "held-out",
        np.concatenate(encoded),
        starts,
        tokenizer.end_id,
        tokenizer.vocab_size,
        sizes=np.array(sizes, np.int32),
    )


def _batches_of_texts(
    data: Sequence[str], text_column: str | None, tally: ReadStats
) -> Iterator[list[str]]:
    """Clean texts, as many at once as are encoded at once; what is left out goes to the tally."""
    settings, waiting = resolve(PrepareSettings, {"deduplicate": "none"}), list[str]()
    with Progress("Reading", unit="characters") as bar:
        for source in find_sources(data):
            for document in read_documents(source, text_column=text_column, stats=tally):
                processed = process_document(document, settings)
                if processed.reason:
                    tally.drop(processed.reason, document.source)
                    continue
                waiting.append(processed.text)
                bar.advance(len(processed.text))
                if sum(map(len, waiting)) > ENCODED_AT_ONCE:
                    yield waiting
                    waiting = []
    if waiting:
        yield waiting


def seen_in_training(
    train: Split, held_out: Split, documents: NDArray[np.int64] | None = None
) -> int | None:
    """Count the held-out `documents` (numbers, or all) of which over half also stands in the
    training text, token for token; those too short to tell are not counted.

    None where the training text is too long to look through in passing.
    """
    if len(train.tokens) > MOST_TRAINING_TOKENS:
        return None
    overlap = Overlap()
    numbers = np.arange(len(held_out.starts) - 1) if documents is None else documents
    for start, stop in zip(held_out.starts[numbers], held_out.starts[numbers + 1], strict=True):
        overlap.add_val(_windows(held_out.tokens[start : stop - 1]))  # without the end token
    for start in range(0, len(train.tokens), CHUNK):
        overlap.add_train(_windows(train.tokens[start : start + CHUNK + WINDOW - 1]))
    return overlap.documents_seen


def _windows(tokens: NDArray[Any]) -> NDArray[np.uint32]:
    if len(tokens) < WINDOW:
        return np.empty(0, np.uint32)
    hashes = window_hashes(np.asarray(tokens), WINDOW)
    return hashes[hashes < SAMPLED]
