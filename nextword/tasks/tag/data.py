"""Reads words with tags, and cuts long texts into windows."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError, nearest
from nextword.evaluation.entities import OUTSIDE, Entity, entities_of, iob2
from nextword.settings import TaskSettings
from nextword.tasks.dataset import ExampleReader
from nextword.tasks.records import Columns, Record, choose_column
from nextword.text.columns import TEXT_COLUMNS as TEXT_NAMES
from nextword.tokens.tokenizer import Tokenizer

WORDS = ("tokens", "words")
LABELS = ("tags", "ner_tags", "entities", "spans", "labels", "label")
KINDS = ("label", "type", "entity", "entity_group", "labels")  # what an entity's kind is called
PREFIXES = "BIESLUM"  # of tags in IOB1, IOB2, BIOES, BILOU and BMES
# Written without spaces: ideographs, kana, and the scripts of Thailand, Laos, Burma and Cambodia.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003134f"
)
_WORD = re.compile(rf"[^\W_{UNSPACED}]+|\S")
_CLOSE = re.compile(rf"[{UNSPACED}\u3000-\u303f\uff00-\uffef]")
OVERLAP = 3  # of a window this part is in the one before too


@dataclass(frozen=True)
class TaggedText:
    """`words` [words] say where each begins and ends in the text; `tags` [words] are in IOB2, empty
    where they are not known."""

    text: str
    words: list[tuple[int, int]]
    tags: list[str]
    place: str

    @property
    def entities(self) -> list[dict[str, Any]]:
        return spans_of(self, self.tags)


def spans_of(text: TaggedText, tags: Sequence[str]) -> list[dict[str, Any]]:
    """Return the entities that tags name, by characters of the text."""
    return [
        {"start": begin, "end": end, "label": kind, "text": text.text[begin:end]}
        for kind, first, stop in entities_of(tags)
        for begin, end in [(text.words[first][0], text.words[stop - 1][1])]
    ]


def words_of(text: str) -> list[tuple[int, int]]:
    """Return where each word begins and ends: a run of letters and digits, any other character by
    itself, and each one of scripts that are written without spaces."""
    return [match.span() for match in _WORD.finditer(text)]


def joined(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Join words to a text, and return where each stands in it: with spaces, but not between
    Chinese characters and their like."""
    text, places = "", []
    for word in words:
        if text and not (_CLOSE.match(text[-1]) or _CLOSE.match(word[0])):
            text += " "
        places.append((len(text), len(text) + len(word)))
        text += word
    return text, places


def begins_with_space(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer puts a space before every text, as Llama's older ones do."""
    return tokenizer.frame().space > 0


def find_columns(records: Sequence[Record], settings: TaskSettings, *, labelled: bool) -> Columns:
    """Return the columns of text, or of its words, and of tags: as named, or by usual names."""
    text = choose_column(
        records,
        "text, or list of words",
        settings.text_column,
        (*WORDS, *TEXT_NAMES),
        "text_column",
    )
    if not labelled:
        return Columns({"text": text}, [], "label_column")
    usual = [name for name in LABELS if name != text.lower()]
    label = choose_column(records, "tag", settings.label_column, usual, "label_column")
    return Columns({"text": text}, [label], "label_column")


class TaggedTextReader(ExampleReader[TaggedText]):
    """Reads a text with entities, or words with tags, where these are asked for."""

    def read(self, record: Record) -> TaggedText:
        label = self.columns.targets[0] if self.columns.targets else None
        return _read_text(record, self.columns.inputs["text"], label)

    def input_of(self, example: TaggedText, record: Record) -> str:
        return example.text


def _read_text(record: Record, column: str, label: str | None) -> TaggedText:
    value, place = record[column], record.place
    given = None if label is None else record[label]
    if isinstance(value, str) and value.strip():
        words = words_of(value)
        tags = [] if label is None else iob2(_entities(given, value, words, place), len(words))
        return TaggedText(value, words, tags, place)
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        what = "is empty" if value in (None, "") else "is neither text nor a list of words"
        raise UserError(f"column {column!r} {what}", where=place, mend="mend or remove the row")
    if not value or not all(word.strip() for word in value):
        raise UserError(f"column {column!r} holds an empty word or none", where=place)
    text, words = joined(value)
    if label is None:
        return TaggedText(text, words, [], place)
    if not isinstance(given, list) or len(given) != len(words):
        count = f"{len(given)} tags" if isinstance(given, list) else "no list of tags"
        raise UserError(f"column {label!r} holds {count} for {len(words)} words", where=place)
    for number, tag in enumerate(given):
        _check(tag, f"word {number + 1}", place)
    return TaggedText(text, words, iob2(entities_of(given), len(words)), place)


def _check(tag: Any, word: str, place: str) -> None:
    if tag == OUTSIDE or (
        isinstance(tag, str) and len(tag) > 2 and tag[1] == "-" and tag[0] in PREFIXES
    ):
        return
    raise UserError(
        f"tag {tag!r} of {word} is none of O, B-… and I-…",
        where=place,
        mend="write tags in IOB1, IOB2 or BIOES, such as B-PER; their column is --label-column",
    )


def _entities(given: Any, text: str, words: Sequence[tuple[int, int]], place: str) -> list[Entity]:
    """Read character spans: {"start", "end", "label"}, or [start, end, label]."""
    if not isinstance(given, list):
        raise UserError("is not a list of entities", where=place, mend="a text without any has []")
    begins = {begin: number for number, (begin, _) in enumerate(words)}
    ends = {end: number + 1 for number, (_, end) in enumerate(words)}
    found = []
    for item in given:
        start, end, kind = _span(item, place)
        if not 0 <= start < end <= len(text) or not text[start:end].strip():
            raise UserError(
                f"entity {start} to {end} is not a part of the text's {len(text)} characters",
                where=place,
            )
        bare = text[start:end]
        start, end = start + len(bare) - len(bare.lstrip()), end - len(bare) + len(bare.rstrip())
        if start not in begins or end not in ends:
            raise UserError(
                f"entity {text[start:end]!r} ({start} to {end}) begins or ends inside a word",
                where=place,
                mend="let it hold whole words, or remove it",
            )
        found.append((kind, begins[start], ends[end]))
    found.sort(key=lambda entity: entity[1])
    for one, other in itertools.pairwise(found):
        if other[1] < one[2]:
            span = text[words[other[1]][0] : words[other[2] - 1][1]]
            raise UserError(
                f"entity {span!r} overlaps another one",
                where=place,
                mend="keep one of them: a word has one tag",
            )
    return found


def _span(item: Any, place: str) -> tuple[int, int, str]:
    values: list[Any] = []
    if isinstance(item, Mapping):
        kind = next((item[name] for name in KINDS if name in item), None)
        kind = kind[0] if isinstance(kind, list) and len(kind) == 1 else kind
        values = [item.get("start"), item.get("end"), kind]
    elif isinstance(item, list):
        values = item
    if len(values) != 3 or not all(type(n) is int for n in values[:2]) or not values[2]:
        raise UserError(
            "holds an entity without start, end and label",
            where=place,
            mend='write {"start": 0, "end": 5, "label": "place"}, counted in characters',
        )
    return values[0], values[1], str(values[2])


def tags_for(texts: Sequence[TaggedText]) -> tuple[str, ...]:
    """Return O, then B- and I- of each kind of entity. Raises UserError where there is none."""
    kinds = sorted({tag[2:] for text in texts for tag in text.tags if tag != OUTSIDE})
    if not kinds:
        raise UserError(
            "no word of any example is tagged", where=texts[0].place, mend="give some entities"
        )
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in "BI"))


def tag_numbers(text: TaggedText, tags: Sequence[str]) -> list[int]:
    """Return the numbers of a text's tags. Raises UserError for a kind never seen in training."""
    known = {tag: number for number, tag in enumerate(tags)}
    if unknown := next((tag for tag in text.tags if tag not in known), None):
        raise UserError(
            f"label {unknown[2:]!r} was never seen in training",
            where=text.place,
            mend=nearest(unknown[2:], [tag[2:] for tag in tags[1::2]]),
        )
    return [known[tag] for tag in text.tags]


def windows(lengths: Sequence[int], room: int) -> list[tuple[int, int]]:
    """From which piece to before which each window goes, the pieces having these lengths: together
    at most `room`, of which a third is shared with the window before. One window for no pieces."""
    ends = np.cumsum(lengths)
    found = [(0, int(np.searchsorted(ends, room, "right")))]
    while found[-1][1] < len(ends):
        last = found[-1]
        shared = ends[last[1] - 1] - room // OVERLAP  # tokens before the next window
        first = max(int(np.searchsorted(ends, shared, "left")) + 1, last[0] + 1)
        first = min(first, last[1])
        before = ends[first - 1]
        found.append((first, int(np.searchsorted(ends, before + room, "right"))))
    return found


def best_window(spans: Sequence[tuple[int, int]], count: int, causal: bool) -> NDArray[np.int64]:
    """For each of `count` pieces the window that shows most of what is around it, [pieces]; to a
    decoder, of what is before it."""
    best = np.zeros(count, np.int64)
    most = np.full(count, -1)
    for number, (first, end) in enumerate(spans):
        at = np.arange(first, end)
        around = at - first if causal else np.minimum(at - first, end - 1 - at)
        better = around > most[first:end]
        best[first:end][better] = number
        most[first:end][better] = around[better]
    return best
