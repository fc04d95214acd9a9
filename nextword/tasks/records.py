"""Labelled data: files and data sets of records, each with its place, for every task alike.

A record is a mapping of column names to values: a row of a table, a JSON object, a line of two
aligned text files, or a question of a file in SQuAD's format.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from nextword.errors import UserError
from nextword.text.columns import get_field
from nextword.text.document import ReadError, ReadStats, Source
from nextword.text.duplicates import passages
from nextword.text.sources import find_sources, read_documents
from nextword.text.sources import iter_records as read_source

PROSE = ("text", "html", "epub", "pdf")  # kinds of files without fields
PASSAGE = 2000  # characters of a text's passage, which is held out as a whole or not
CONLL = ("text", "tsv")  # kinds of files that hold a word a line where words are tagged
TextFiles = Literal["pairs", "conll", "passages"]


@dataclass(frozen=True)
class Record:
    values: Mapping[str, Any]
    place: str  # "train.csv:12"

    def __getitem__(self, column: str) -> Any:
        return get_field(self.values, column)


def read_records(data: Sequence[str], text_files: TextFiles | None = None) -> list[Record]:
    """Read all records of files, folders, patterns and hf:// data sets, in order.

    `text_files` says what files without fields are: two of them "pairs" of lines, with columns
    "source" and "target"; words and tags in "conll" format; or "passages" of prose. Raises
    UserError, naming the place, for what cannot be read or is no record.
    """
    sources = find_sources(data)
    if text_files == "pairs" and [source.kind for source in sources] == ["text", "text"]:
        return list(_pairs_of_lines(*sources))
    if text_files == "conll":
        sources = [replace(s, kind="conll") if s.kind in CONLL else s for s in sources]
    records = [
        record
        for source in sources
        for record in (
            _passages(source)
            if text_files == "passages" and source.kind in PROSE
            else _records_of(source)
        )
    ]
    if not records:
        raise UserError("holds no records", where=", ".join(data), mend="give labelled examples")
    return records


def _records_of(source: Source) -> Iterator[Record]:
    if source.kind in PROSE:
        raise UserError(
            "is not a table of examples",
            where=source.path,
            mend="give csv, tsv, jsonl, json, parquet or hf:// data"
            " (--task translate also takes two text files with aligned lines, --task tag CoNLL's,"
            " --task text any text)",
        )
    for place, value in read_source(source, ReadStats()):
        if isinstance(value, ReadError):
            raise UserError(value.what, where=value.source or place, mend=value.mend)
        if not isinstance(value, Mapping):
            raise UserError("is not an object with named fields", where=place)
        if isinstance(value.get("data"), list) and "paragraphs" in str(value["data"])[:10_000]:
            yield from _squad(value["data"], source.path)
        else:
            yield Record(value, place)


def _passages(source: Source) -> Iterator[Record]:
    for document in read_documents(source, stats=ReadStats()):
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
                    answers = [str(answer["text"]) for answer in asked.get("answers") or []]
                    values = {
                        "id": str(asked.get("id", "")),
                        "context": str(paragraph["context"]),
                        "question": str(asked["question"]),
                        "answers": list(dict.fromkeys(answers)),
                        "starts": [a.get("answer_start") for a in asked.get("answers") or []],
                    }
                    yield Record(values, place)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"is not in SQuAD's format after question {next(number) - 1} ({error} is missing)",
            where=path,
        ) from None


def _pairs_of_lines(source: Source, target: Source) -> Iterator[Record]:
    pairs = itertools.zip_longest(_lines(source), _lines(target))
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


def _lines(source: Source) -> Iterator[str]:
    from nextword.text.readers.plain import read_lines

    for _, line in read_lines(source, ReadStats()):
        if isinstance(line, ReadError):
            raise UserError(line.what, where=line.source, mend=line.mend)
        yield line.rstrip("\r\n")
