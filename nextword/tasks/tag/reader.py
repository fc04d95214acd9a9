"""Reads records into words with tags; all of them together tell what tags and offsets mean."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from nextword.errors import UserError
from nextword.evaluation.entities import Entity, iob2
from nextword.tasks.dataset import ExampleReader, LeftOut, emptiness, value_in
from nextword.tasks.records import Columns, Record
from nextword.tasks.tag.columns import DATA, WORDS, word_a_row
from nextword.tasks.tag.data import TaggedText, joined, words_of
from nextword.tasks.tag.formats import read_spans
from nextword.tasks.tag.offsets import AS_GIVEN, Offsets, Span, find_offsets, offsets_of
from nextword.tasks.tag.schemes import TagScheme, find_scheme
from nextword.text.cells import read_cell
from nextword.text.columns import is_empty


class TaggedTextReader(ExampleReader[TaggedText]):
    """Reads a text with entities, or words with tags, where these are asked for.

    `scheme` says what tags are, `offsets` how those of entities are counted: None where that is
    told for each text by itself.
    """

    def __init__(
        self, columns: Columns, scheme: TagScheme | None = None, offsets: Offsets | None = None
    ) -> None:
        super().__init__(columns)
        self.scheme, self.offsets = scheme or TagScheme(), offsets
        self.report.notes.update(self.scheme.notes)

    def read(self, record: Record) -> TaggedText:
        name, place = self.columns.inputs["text"], record.place
        value = record[name]
        if not self.columns.targets:
            is_list = isinstance(value, list) or name.lower() in WORDS
            words = words_in(value) if is_list else None
            if words is not None:
                return TaggedText(*_checked(words, name, place), [], place)
            return TaggedText(_text(value, name, place), words_of(value), [], place)
        label = self.columns.targets[0]
        given = value_in(record, label)
        words, given = words_and_tags(value, given)
        if words is None:
            return self._with_entities(_text(value, name, place), given, place)
        text, spans = _checked(words, name, place)
        if not isinstance(given, list) or len(given) != len(words):
            count = f"{len(given)} tags" if isinstance(given, list) else "no list of tags"
            raise UserError(f"column {label!r} holds {count} for {len(words)} words", where=place)
        tags = self.scheme.read(given, place)
        return TaggedText(text, spans, tags, place, self.scheme.is_plain)

    def _with_entities(self, text: str, given: Any, place: str) -> TaggedText:
        if self.scheme.is_plain:
            raise UserError(
                "is a text without words",
                where=place,
                mend="give lists of words and tags: the tags are those of single words",
            )
        label = self.columns.targets[0]
        if given == [] and self.columns.inputs["text"].startswith(f"{DATA}."):
            raise LeftOut("that nobody has annotated")
        spans, unused = read_spans(given, text, place)
        offsets = self.offsets or offsets_of(text, spans, place)
        entities = [(*_place(offsets, text, span, place), span.label) for span in spans]
        words, different = words_of(text), sorted(set(entities))
        found = whole_words(different, text, words, place)
        self.report.unused.update({f"{label}: {key}": 1 for key in unused})
        self._note(f"{offsets}, moved", sum(offsets.moves(text, span) for span in spans))
        self._note("entities that stand twice, read once", len(entities) - len(different))
        return TaggedText(text, words, iob2(found, len(words)), place)

    def _note(self, what: str, count: int) -> None:
        if count:
            self.report.notes[what] += count

    def input_of(self, example: TaggedText, record: Record) -> str:
        return example.text


def tag_reader(
    records: Sequence[Record], columns: Columns, classes: Sequence[str] = ()
) -> TaggedTextReader:
    """Return what reads records with these columns; without targets, texts alone. `classes` are the
    tags of a model that is known already.

    What tags are, and how offsets are counted, is told by all records together.
    """
    if not columns.targets:
        return TaggedTextReader(columns)
    sentences, texts, single_words = [], [], 0
    name, label = columns.inputs["text"], columns.targets[0]
    for record in records:
        text = record[name]
        with contextlib.suppress(UserError, LeftOut):
            given = value_in(record, label)
            words, given = words_and_tags(text, given)
            single_words += _is_single_word(text, words)
            if words is not None or isinstance(text, list):
                sentences.append((given if isinstance(given, list) else [], record.place))
            elif isinstance(text, str):
                texts.append((text, read_spans(given, text, record.place)[0]))
    if single_words == len(records) > 1:
        raise word_a_row(records[0].place)
    return TaggedTextReader(columns, find_scheme(sentences, classes), find_offsets(texts))


def hold_tags(value: Any) -> bool:
    """Return whether a value is a list of tags, not of entities."""
    return isinstance(value, list) and bool(value) and not isinstance(value[0], list | Mapping)


def words_and_tags(value: Any, given: Any) -> tuple[list[Any] | None, Any]:
    """Return words and tags that are lists, or that spaces separate in a text; None and what is
    `given` where these are no tags of words."""
    if isinstance(value, list) or hold_tags(given):
        words = words_in(value)
        if words is None and isinstance(value, str) and all(isinstance(tag, str) for tag in given):
            split = value.split()
            words = split if len(given) > 1 or len(split) == 1 else None  # one is a kind of entity
        return words, given
    if isinstance(value, str) and isinstance(given, str):
        words, tags = value.split(), given.split()
        if words and len(words) == len(tags):
            return words, tags
    return None, given


def _is_single_word(text: Any, words: Sequence[Any] | None) -> bool:
    """Return whether a text, and not a list, is one word with its tag."""
    return isinstance(text, str) and words == [text.strip()]


def words_in(value: Any) -> list[Any] | None:
    """Return the words of a list, or of one that a table has as text; None for a text."""
    if isinstance(value, str):
        with contextlib.suppress(UserError):
            value = read_cell(value)
    is_list = isinstance(value, list) and all(isinstance(word, str) for word in value)
    return value if is_list else None


def _text(value: Any, column: str, place: str) -> str:
    if isinstance(value, str) and not is_empty(value):
        return value
    is_blank = value is None or isinstance(value, str)
    what = emptiness(value) if is_blank else "neither text nor a list of words"
    raise UserError(f"column {column!r} is {what}", where=place, mend="mend or remove the row")


def _checked(words: list[str], column: str, place: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the text of words, and where each is in it. Raises UserError for an empty one."""
    if not words or not all(words):
        raise UserError(f"column {column!r} holds an empty word or none", where=place)
    return joined(words)


def _place(offsets: Offsets, text: str, span: Span, place: str) -> tuple[int, int]:
    """Return where an entity stands. Raises UserError for one that is not in the text."""
    found = offsets.place(text, span)
    if found is None or not text[slice(*found)].strip():
        raise UserError(
            f"entity {span.start} to {span.end} is not a part of the text's {len(text)} characters",
            where=place,
            mend="" if offsets == AS_GIVEN else f"these are {offsets}",
        )
    return found


def whole_words(
    spans: Sequence[tuple[int, int, str]],
    text: str,
    words: Sequence[tuple[int, int]],
    place: str,
) -> list[Entity]:
    """Return entities by their words. Raises UserError for one that is not made of whole words, or
    overlaps another."""
    begins = {begin: number for number, (begin, _) in enumerate(words)}
    ends = {end: number + 1 for number, (_, end) in enumerate(words)}
    found = []
    for start, end, kind in spans:
        bare = text[start:end]
        first, last = start + len(bare) - len(bare.lstrip()), end - len(bare) + len(bare.rstrip())
        if first not in begins or last not in ends:
            raise UserError(
                f"entity {text[first:last]!r} ({first} to {last}) begins or ends inside a word",
                where=place,
                mend="let it hold whole words, or remove it",
            )
        found.append((kind, begins[first], ends[last]))
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
