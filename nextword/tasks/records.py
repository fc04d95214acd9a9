"""Labelled data: files and data sets of records, each with its place, for every task alike.

A record is a mapping of column names to values: a row of a table, a JSON object, a line of two
aligned text files, or a question of a file in SQuAD's format.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nextword.errors import UserError
from nextword.terminal import say
from nextword.text.columns import get_field
from nextword.text.document import ReadError, ReadStats, Source
from nextword.text.duplicates import passages
from nextword.text.readers.brat import pair_annotations
from nextword.text.sources import find_sources, read_documents
from nextword.text.sources import iter_records as read_source

PROSE = ("text", "html", "epub", "pdf")  # kinds of files without fields
PASSAGE = 2000  # characters of a text's passage, which is held out as a whole or not
CONLL = ("text", "tsv")  # kinds of files that hold a word a line where words are tagged
TextFiles = Literal["pairs", "conll", "passages"]


@dataclass(frozen=True)
class Record:
    """A record and its place, "train.csv:12"; `error` says why it cannot be read, else None."""

    values: Mapping[str, Any]
    place: str
    error: UserError | None = None

    def __getitem__(self, column: str) -> Any:
        return get_field(self.values, column)


def read_records(
    data: Sequence[str], text_files: TextFiles | None = None, *, says: bool = True
) -> list[Record]:
    """Read all records of files, folders, patterns and hf:// data sets, in order.

    `text_files` says what files without fields are: two of them "pairs" of lines, with columns
    "source" and "target"; words and tags in "conll" format, or texts that have brat's annotations
    beside them; or "passages" of prose. With `says` what is worth knowing of how a file was read is
    said. A record that cannot be read holds its error. Raises UserError for files that cannot be.
    """
    stats = ReadStats()
    records = _read_sources(find_sources(data), text_files, stats)
    for what, count in stats.notes.items() if says else ():
        say(f"  read: {count:,} in {what}")
    if not records:
        raise UserError("holds no records", where=", ".join(data), mend="give labelled examples")
    return records


def _read_sources(
    sources: list[Source], text_files: TextFiles | None, stats: ReadStats
) -> list[Record]:
    if text_files == "pairs":
        sources = [replace(s, kind="tmx") if _is_tmx(s.path) else s for s in sources]
    if text_files == "pairs" and [source.kind for source in sources] == ["text", "text"]:
        return list(_pairs_of_lines(sources[0], sources[1], stats))
    if text_files == "conll":
        sources = pair_annotations(sources)
        sources = [replace(s, kind="conll") if s.kind in CONLL else s for s in sources]
    return [
        record
        for source in sources
        for record in (
            _passages(source, stats)
            if text_files == "passages" and source.kind in PROSE
            else _records_of(source, stats)
        )
    ]


def _is_tmx(path: str) -> bool:
    return ".tmx" in Path(path.lower()).suffixes[-2:]  # also a.tmx.gz


def _records_of(source: Source, stats: ReadStats) -> Iterator[Record]:
    if source.kind in PROSE:
        raise UserError(
            "is not a table of examples",
            where=source.path,
            mend="give csv, tsv, jsonl, json, parquet or hf:// data"
            " (--task translate also takes TMX and two text files with aligned lines, --task tag"
            " CoNLL's, --task text any text)",
        )
    for place, value in read_source(source, stats):
        if isinstance(value, ReadError):
            error = UserError(value.what, where=value.source or place, mend=value.mend)
            yield Record({}, place, error)
        elif isinstance(value, list) and _is_text_with_entities(value):
            yield _text_with_entities(value, place)
        elif isinstance(value, Mapping) and (pairs := _texts_with_entities(value)):
            for number, pair in enumerate(pairs, start=1):
                yield _text_with_entities(pair, f"{place}, text {number}")
        elif not isinstance(value, Mapping):
            error = UserError("is not an object with named fields", where=place)
            yield Record({}, place, error)
        elif isinstance(value.get("data"), list) and "paragraphs" in str(value["data"])[:10_000]:
            yield from _squad(value["data"], source.path)
        elif isinstance(value.get("paragraphs"), list) and "qas" in str(value["paragraphs"][:1]):
            yield from _squad([value], place)
        else:
            yield Record(value, place)


def _is_text_with_entities(value: Any) -> bool:
    """Whether a value is ["a text", {"entities": ...}] or {"cats": ...}, as spaCy's training data
    was."""
    kinds = [type(part) for part in value] if isinstance(value, list) else []
    return kinds == [str, dict] and bool({"entities", "cats"} & set(value[1]))


def _texts_with_entities(value: Mapping[str, Any]) -> list[Any]:
    """The texts with entities that annotators for spaCy keep in one object."""
    pairs = value.get("annotations")
    pairs = [pair for pair in pairs if pair is not None] if isinstance(pairs, list) else []
    return pairs if all(map(_is_text_with_entities, pairs)) else []


def _text_with_entities(pair: list[Any], place: str) -> Record:
    return Record({"text": pair[0], **pair[1]}, place)


def _passages(source: Source, stats: ReadStats) -> Iterator[Record]:
    for document in read_documents(source, stats=stats):
        for line, text in passages(document.text, PASSAGE):
            yield Record({"text": text}, f"{document.source}:{line}")


def _squad(articles: list[Any], path: str) -> Iterator[Record]:
    """The questions of a file in SQuAD's format (Rajpurkar et al. 2016)."""
    number = itertools.count(1)
    try:
        for article in articles:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    place = f"{path}:question {next(number)}"
                    yield Record(_question(article, paragraph, asked), place)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"is not in SQuAD's format after question {next(number) - 1} ({error} is missing)",
            where=path,
        ) from None


def _question(
    article: Mapping[str, Any], paragraph: Mapping[str, Any], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """A question with its context, each answer once, and all that stands beside them."""
    values = {f"data.{key}": value for key, value in article.items() if key != "paragraphs"}
    beside = {key: value for key, value in paragraph.items() if key not in ("context", "qas")}
    values |= {f"paragraphs.{key}": value for key, value in beside.items()}
    values |= asked
    values |= {"context": paragraph["context"], "question": asked["question"]}
    if "answers" not in asked:  # of a test set, whose answers are not known
        return values
    answers: dict[str, Mapping[str, Any]] = {}
    for answer in asked["answers"] or ():
        answers.setdefault(str(answer["text"]), answer)
    others = dict.fromkeys(key for answer in answers.values() for key in answer)
    values |= {
        f"answers.{key}": [answer.get(key) for answer in answers.values()]
        for key in others
        if key not in ("text", "answer_start")
    }
    starts = [answer.get("answer_start") for answer in answers.values()]
    return values | {"answers": list(answers), "starts": starts}


def _pairs_of_lines(source: Source, target: Source, stats: ReadStats) -> Iterator[Record]:
    pairs = itertools.zip_longest(_lines(source, stats), _lines(target, stats))
    for number, (one, other) in enumerate(pairs, start=1):
        if one is None or other is None:
            shorter = source.path if one is None else target.path
            longer = target.path if one is None else source.path
            raise UserError(
                f"has {number - 1:,} lines, fewer than {longer}",
                where=shorter,
                mend="line n of one file must be the translation of line n of the other",
            )
        yield Record({"source": one, "target": other}, f"{source.path}:{number}")


def _lines(source: Source, stats: ReadStats) -> Iterator[str]:
    from nextword.text.readers.plain import read_lines

    for _, line in read_lines(source, stats):
        if isinstance(line, ReadError):
            raise UserError(line.what, where=line.source, mend=line.mend)
        yield line.rstrip("\r\n")


def whole(records: Sequence[Record], *, keep_going: bool = False) -> Sequence[Record]:
    """Return records. Raises the first error among them; with `keep_going` only if all have one."""
    errors = [record.error for record in records if record.error is not None]
    if errors and (not keep_going or len(errors) == len(records)):
        raise errors[0]
    return records
