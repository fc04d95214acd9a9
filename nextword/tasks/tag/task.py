"""A model that tags words: its training, and what it says of new texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nextword.evaluation.entities import entities_of, judge_tags
from nextword.hub.directory import save_tagger, start_tagger
from nextword.hub.resolve import resolve as find_directory
from nextword.inference.evaluating import evaluating
from nextword.inference.language_model import boundaries
from nextword.models.heads import Tagger
from nextword.models.transformer import Transformer
from nextword.objectives import tokens
from nextword.objectives.tokens import TokenBatch
from nextword.settings import FinetuneSettings
from nextword.tasks.generate.losses import AT_ONCE
from nextword.tasks.learnable import Learnable, length_limit, like, row_room
from nextword.tasks.measuring import LEARNT, deciding, scored
from nextword.tasks.records import Record
from nextword.tasks.tag.data import (
    TaggedText,
    begins_with_space,
    find_tag_columns,
    numbered,
    spans_of,
    tagged_texts,
    tags_for,
)
from nextword.tasks.task_file import TaskFile, names_of
from nextword.tasks.windows import best_window, windows
from nextword.tokens.packing import Example, pack
from nextword.tokens.tokenizer import Tokenizer
from nextword.training.interrupt import Interrupt
from nextword.training.parallel import Group
from nextword.training.state import Measured


@dataclass(frozen=True)
class TagWindow:
    """Words of text number `text` that are tagged together: `words` are their numbers in it,
    `read` the places in the example at which each is read."""

    example: Example
    text: int
    words: NDArray[np.int64]
    read: NDArray[np.int64]


def tag_windows(
    texts: Sequence[TaggedText], tokenizer: Tokenizer, limit: int, causal: bool, start_id: int
) -> list[TagWindow]:
    """Texts as a tagger reads them, each word once.

    Words are encoded one by one, so that no token is part of two. A decoder knows a word at its
    last token, before which it has read all of it; an encoder at the first. Texts of more than
    `limit` tokens are read in windows that overlap.
    """
    frame = tokenizer.frame()
    before, after = ([start_id], []) if causal else (frame.before, frame.after)
    room = max(limit - len(before) - len(after), 1)
    ids, lengths = tokenizer.encode_batch(list(_pieces(texts, tokenizer)))
    pieces = iter(np.split(ids.astype(np.int64), np.cumsum(lengths)[:-1]))
    found = []
    for number, text in enumerate(texts):
        words = [next(pieces)[: max(room // 2, 1)] for _ in text.words]
        words = [word if len(word) else np.array([tokenizer.end_id]) for word in words]
        sizes = np.array([len(word) for word in words], np.int64)
        spans = windows(sizes.tolist(), room)
        best = best_window(spans, len(words), causal)
        for which, (first, end) in enumerate(spans):
            chosen = np.flatnonzero(best == which)
            if not len(chosen):
                continue
            whole = np.concatenate([before, *words[first:end], after]).astype(np.int64)
            ends = len(before) + np.cumsum(sizes[first:end])
            read = ends - 1 if causal else ends - sizes[first:end]
            example = Example(whole, np.zeros(len(whole), np.bool_), text.place)
            found.append(TagWindow(example, number, chosen, read[chosen - first]))
    return found


def _pieces(texts: Sequence[TaggedText], tokenizer: Tokenizer) -> list[str]:
    """Each word with what is between it and the one before; without, for a tokenizer that itself
    begins every text with a space."""
    adds = begins_with_space(tokenizer)
    found = []
    for text in texts:
        end = 0
        for begin, stop in text.words:
            found.append(text.text[begin if adds else end : stop])
            end = stop
    return found


def tag_batch(
    chosen: Sequence[TagWindow],
    targets: Sequence[Sequence[int]],
    samples: list[tuple[int, int]],
    room: int,
) -> TokenBatch:
    """`targets` are the numbers of all tags of each text."""
    packed = pack([window.example for window in chosen], room)
    time = packed.tokens.shape[1]
    read = [
        row * time + begin + window.read
        for (row, begin), window in zip(packed.places, chosen, strict=True)
    ]
    wanted = [np.array(targets[window.text])[window.words] for window in chosen]
    return TokenBatch(
        packed.tokens,
        packed.documents,
        packed.positions,
        packed.types,
        torch.from_numpy(np.concatenate(read)),
        torch.from_numpy(np.concatenate(wanted)),
        samples,
    )


def start_tags(
    place: str, train: Sequence[Record], val: Sequence[Record], settings: FinetuneSettings
) -> Learnable:
    """A model, and sentences for it to learn to tag."""
    columns = find_tag_columns(train, settings, labelled=True)
    texts = tagged_texts(train, columns)
    alike = like(columns, val, settings) if val else settings
    held_out = tagged_texts(val, find_tag_columns(val, alike, labelled=True)) if val else []
    tags = tags_for(texts)
    model, tokenizer = start_tagger(place, tags, settings.seed)
    if settings.random_weights:
        model = Tagger(
            Transformer(model.transformer.config, settings.seed), len(tags), settings.seed
        )
    body, start = model.transformer, boundaries(find_directory(place), tokenizer)[0]
    limit = length_limit(body, settings)
    made = tag_windows(texts, tokenizer, limit, body.config.causal, start)
    targets = [numbered(text, tags) for text in texts]

    def collate(numbers: list[int], samples: list[tuple[int, int]]) -> TokenBatch:
        return tag_batch([made[number] for number in numbers], targets, samples, row_room(body))

    return Learnable(
        model=model,
        loss=tokens.loss,
        unit="words",
        targets=sum(len(text.words) for text in texts),
        sources=[window.example.source for window in made],
        lengths=[len(window.example.ids) for window in made],
        collate=collate,
        validator=TagValidator(held_out, tags, tokenizer, limit, start, settings),
        save=lambda folder, card: save_tagger(folder, model, tokenizer, tags, card),
        shown=shown(texts[0]),
        metric=deciding(settings.metric, "tag"),
        remarks=remarks(texts, len(made)),
        kept=TaskFile("tag", names_of(columns), max_length=limit),
    )


def shown(text: TaggedText) -> str:
    """The text, its entities marked."""
    marked, end = "", 0
    for entity in text.entities:
        marked += f"{text.text[end : entity['start']]}⟦{entity['text']}|{entity['label']}⟧"
        end = entity["end"]
    return marked + text.text[end:]


def remarks(texts: Sequence[TaggedText], windows: int) -> list[str]:
    counts = Counter(kind for text in texts for kind, _, _ in entities_of(text.tags))
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts.most_common(8))
    words = sum(len(text.words) for text in texts)
    found = [f"{counts.total():,} entities of {len(counts)} kinds in {words:,} words: {kinds}"]
    if windows > len(texts):
        found.append(f"{len(texts):,} texts are read in {windows:,} windows (--max-length)")
    return found


@torch.no_grad()
def tag_probabilities(
    model: Tagger,
    texts: Sequence[TaggedText],
    tokenizer: Tokenizer,
    limit: int,
    start_id: int,
    at_once: int = AT_ONCE,
) -> list[NDArray[np.float64]]:
    """Of each text, [words, tags]."""
    device = model.tag.weight.device
    body = model.transformer
    made = tag_windows(texts, tokenizer, limit, body.config.causal, start_id)
    found = [np.zeros((len(text.words), model.tag.weight.shape[0])) for text in texts]
    nothing = [[0] * len(text.words) for text in texts]
    with evaluating(model):
        for first in range(0, len(made), at_once):
            some = made[first : first + at_once]
            batch = tag_batch(some, nothing, [], row_room(body)).to(device)
            given = tokens.scores(model, batch).double().softmax(1).cpu().numpy()
            cuts = np.cumsum([len(window.words) for window in some])[:-1]
            for window, rows in zip(some, np.split(given, cuts), strict=True):
                found[window.text][window.words] = rows
    return found


def said(found: Sequence[NDArray[np.float64]], tags: Sequence[str]) -> list[list[str]]:
    return [[tags[number] for number in rows.argmax(1)] for rows in found]


def tag_losses(
    found: Sequence[NDArray[np.float64]], targets: Sequence[Sequence[int]]
) -> list[float]:
    """Nats a word of each text."""
    pairs = zip(found, targets, strict=True)
    return [
        float(-np.log(np.maximum(rows[np.arange(len(rows)), wanted], 1e-300)).mean())
        for rows, wanted in pairs
    ]


class TagValidator:
    """Measures a tagger on held-out texts."""

    def __init__(
        self,
        texts: Sequence[TaggedText],
        tags: tuple[str, ...],
        tokenizer: Tokenizer,
        limit: int,
        start_id: int,
        settings: FinetuneSettings,
    ) -> None:
        self._texts, self._tags, self._read = texts, tags, (tokenizer, limit, start_id)
        self._targets = [numbered(text, tags) for text in texts]
        self._metric = deciding(settings.metric, "tag")

    @property
    def is_empty(self) -> bool:
        return not self._texts

    def measure(self, model: Tagger, group: Group, interrupt: Interrupt) -> Measured | None:
        if interrupt.requested and group.size == 1:
            return None
        found = tag_probabilities(model, self._texts, *self._read)
        sizes = [len(text.words) for text in self._texts]
        loss = float(np.average(tag_losses(found, self._targets), weights=sizes))
        metrics = judge_tags([text.tags for text in self._texts], said(found, self._tags), None)
        figures = {name: metric.value for name, metric in metrics.items()}
        return scored(loss, figures, self._metric, LEARNT if figures["accuracy"] == 1 else None)

    def sample(self, model: Tagger) -> tuple[str, str]:
        raise NotImplementedError("a tagger writes nothing")


def tag_prediction(
    text: TaggedText, rows: NDArray[np.float64], tags: Sequence[str]
) -> dict[str, Any]:
    """The text, its words and their tags, and the entities by characters; the probability of one
    is that of all its words' tags together."""
    numbers = rows.argmax(1)
    given = [tags[number] for number in numbers]
    sure = rows.max(1)
    likely = [float(np.prod(sure[first:end])) for _, first, end in entities_of(given)]
    entities = [
        entity | {"probability": p} for entity, p in zip(spans_of(text, given), likely, strict=True)
    ]
    words = [text.text[begin:end] for begin, end in text.words]
    return {"text": text.text, "words": words, "tags": given, "entities": entities}


def sentence(entities: Sequence[dict[str, Any]]) -> list[str]:
    """Entities for people: "Ada Thorne (person)"."""
    return [f"{entity['text']} ({entity['label']})" for entity in entities]
