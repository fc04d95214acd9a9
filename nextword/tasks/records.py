"""Labelled data as records, for every task alike: where they are read from, and which of their
columns hold what.

A record is a mapping of column names to values: a row of a table, a JSON object, a line of two
aligned text files, or a question of a file in SQuAD's format.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from nextword.errors import UserError, nearest
from nextword.settings import TaskSettings
from nextword.tasks.record_formats import (
    is_text_with_entities,
    pairs_of_lines,
    squad_questions,
    text_with_entities,
    texts_with_entities,
)
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
SAMPLE = 50  # of the first records, that tell which columns there are
SETTINGS = ("text_column", "pair_column", "label_column", "target_column", "question_column")
OF_ROLE = {"pair": "pair_column", "question": "question_column"}  # the other inputs: text_column

TextFiles = Literal["pairs", "conll", "passages"]
S = TypeVar("S", bound=TaskSettings)


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
        return list(itertools.starmap(Record, pairs_of_lines(sources[0], sources[1], stats)))
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
        elif isinstance(value, list) and is_text_with_entities(value):
            yield Record(*text_with_entities(value, place))
        elif not isinstance(value, Mapping):
            error = UserError("is not an object with named fields", where=place)
            yield Record({}, place, error)
        elif "annotations" in value and (pairs := texts_with_entities(value)):
            for number, pair in enumerate(pairs, start=1):
                yield Record(*text_with_entities(pair, f"{place}, text {number}"))
        elif isinstance(value.get("data"), list) and "paragraphs" in str(value["data"])[:10_000]:
            yield from itertools.starmap(Record, squad_questions(value["data"], source.path))
        elif isinstance(value.get("paragraphs"), list) and "qas" in str(value["paragraphs"][:1]):
            yield from itertools.starmap(Record, squad_questions([value], place))
        else:
            yield Record(value, place)


def _passages(source: Source, stats: ReadStats) -> Iterator[Record]:
    for document in read_documents(source, stats=stats):
        for line, text in passages(document.text, PASSAGE):
            yield Record({"text": text}, f"{document.source}:{line}")


def whole(records: Sequence[Record], *, keep_going: bool = False) -> Sequence[Record]:
    """Return records. Raises the first error among them; with `keep_going` only if all have one."""
    errors = [record.error for record in records if record.error is not None]
    if errors and (not keep_going or len(errors) == len(records)):
        raise errors[0]
    return records


@dataclass(frozen=True)
class Columns:
    """`inputs` says which column plays which role ("context", "question", "source" ...); `targets`
    are the columns of what is to be predicted: several where there are several references, none
    where the right answers are not asked for. `target_setting` is the setting that names them;
    `extras` are columns that are read besides: a system message, where an answer begins."""

    inputs: Mapping[str, str] = field(default_factory=dict)
    targets: Sequence[str] = ()
    target_setting: str = "target_column"
    extras: Sequence[str] = ()

    @property
    def used(self) -> set[str]:
        """The names of all columns that are read."""
        return {*self.inputs.values(), *self.targets, *self.extras}

    @property
    def settings(self) -> dict[str, str]:
        """The columns under the names of the settings that choose them."""
        named = {OF_ROLE.get(role, "text_column"): name for role, name in self.inputs.items()}
        return named | ({self.target_setting: self.targets[0]} if len(self.targets) == 1 else {})


def columns_of(records: Sequence[Record]) -> list[str]:
    """Return the names of all columns that some of the first records have, in order."""
    return list(dict.fromkeys(str(name) for record in records[:SAMPLE] for name in record.values))


def has_column(records: Sequence[Record], name: str) -> bool:
    """Whether there is such a column, perhaps inside another one: `translation.en`."""
    return name in columns_of(records) or any(record[name] is not None for record in records[:50])


def has_any(records: Sequence[Record], usual: Iterable[str]) -> bool:
    """Whether some column has one of the usual names."""
    return bool({name.lower() for name in columns_of(records)} & set(usual))


def choose_column(
    records: Sequence[Record], role: str, named: str | None, usual: Iterable[str], setting: str
) -> str:
    """Return the column that plays a role: the named one, else the first with a usual name for it.

    Raises UserError that lists the columns there are.
    """
    names = columns_of(records)
    if named is not None:
        if has_column(records, named):
            return named
        raise UserError(
            f"has no column {named!r}", where=records[0].place, mend=nearest(named, names)
        )
    by_lower = {name.strip().lower(): name for name in reversed(names)}
    for name in usual:
        if name in by_lower:
            return by_lower[name]
    flag = "--" + setting.replace("_", "-")
    within = _list_within(records)
    if within is not None:
        raise UserError(
            f"is one record, which holds a list of records, {within!r}",
            where=records[0].place,
            mend=f"write what stands in {within!r} as the whole file, or one record a line",
        )
    raise UserError(
        f"no column is clearly the {role} (columns: {', '.join(names) or 'none'})",
        where=records[0].place,
        mend=f"name it with {flag}",
    )


def _list_within(records: Sequence[Record]) -> str | None:
    """Return the key of a list of records that the only record is wrapped around, None if none."""
    return next(
        (
            str(name)
            for name, value in (records[0].values.items() if len(records) == 1 else ())
            if isinstance(value, list) and len(value) > 1 and isinstance(value[0], Mapping)
        ),
        None,
    )


def numbered_columns(records: Sequence[Record], name: str) -> list[str]:
    """Return columns such as summary1, summary2, where there is none of the name itself."""
    names = columns_of(records)
    numbered = [n for n in names if re.fullmatch(rf"{re.escape(name)}[ _-]?\d+", n, re.I)]
    return [] if any(n.lower() == name.lower() for n in names) else numbered


def fit_settings(settings: S, records: Sequence[Record], asked: Collection[str]) -> S:
    """Return the settings without columns of the training data that these records do not have, so
    that their own are looked for; those that a person `asked` for stay."""
    missing = [
        name
        for name in SETTINGS
        if name not in asked
        and (column := getattr(settings, name)) is not None
        and not has_column(records, column)
    ]
    return settings.model_copy(update=dict.fromkeys(missing))


def read_alike(settings: S, columns: Columns, records: Sequence[Record]) -> S:
    """Return settings that read other records by the columns of the training data, if they have
    them."""
    named = columns.settings
    asked = {name for name in named if getattr(settings, name) is not None}
    return fit_settings(settings.model_copy(update=named), records, asked)
