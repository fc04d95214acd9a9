"""Labelled data: files and data sets of records, each with its place, for every task alike.

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
from nextword.terminal import say
from nextword.text.cells import is_empty, printed_as
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
SAMPLE = 50  # of the first records, that tell which columns there are
SETTINGS = ("text_column", "pair_column", "label_column", "target_column", "question_column")
OF_ROLE = {"pair": "pair_column", "question": "question_column"}  # the other inputs: text_column

S = TypeVar("S", bound=TaskSettings)


@dataclass(frozen=True)
class Record:
    """A record and its place, "train.csv:12"; `error` says why it cannot be read, else None."""

    values: Mapping[str, Any]
    place: str
    error: UserError | None = None

    def __getitem__(self, column: str) -> Any:
        return get_field(self.values, column)


def read_records(data: Sequence[str], text_files: TextFiles | None = None) -> list[Record]:
    """Read all records of files, folders, patterns and hf:// data sets, in order.

    `text_files` says what files without fields are: two of them "pairs" of lines, with columns
    "source" and "target"; words and tags in "conll" format, or texts that have brat's annotations
    beside them; or "passages" of prose. What is worth knowing of how a file was read is said. A
    record that cannot be read holds its error. Raises UserError for files that cannot be.
    """
    stats = ReadStats()
    records = _read_sources(find_sources(data), text_files, stats)
    for what, count in stats.notes.items():
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


def whole(records: Sequence[Record], *, keep_going: bool = False) -> Sequence[Record]:
    """Return records. Raises the first error among them; with `keep_going` only if all have one."""
    errors = [record.error for record in records if record.error is not None]
    if errors and (not keep_going or len(errors) == len(records)):
        raise errors[0]
    return records


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


def text_of(value: Any, column: str, place: str) -> str:
    """Return a cell's text without spaces around it, "" for none. Raises UserError for no text."""
    if value is None or value != value:  # NaN is pandas' word for nothing
        return ""
    if isinstance(value, str):
        if printed_as(value) == "bytes":
            raise printed_error(column, "bytes", place)
        return "" if is_empty(value) else value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UserError(f"column {column!r} is not text", where=place, mend="mend or remove the row")


def input_text(record: Record, column: str, *, may_be_empty: bool = False) -> str:
    """Return the text of a column. Raises UserError where there is none."""
    text = text_of(record[column], column, record.place)
    if not text and not may_be_empty:
        raise UserError(
            f"column {column!r} is {emptiness(record[column])}",
            where=record.place,
            mend="mend or remove the row",
        )
    return text


def printed_error(column: str, what: str, place: str) -> UserError:
    """Return what is wrong with a cell that holds what Python prints of a value."""
    return UserError(
        f"column {column!r} holds {what} as text", where=place, mend="write it as one text"
    )


def emptiness(value: Any) -> str:
    """Return the word for a cell that holds nothing."""
    text = value.strip() if isinstance(value, str) else ""
    return f"empty: it holds {text!r}, as programs write for no value" if text else "empty"


def leading_spaces(record: Record, column: str) -> int:
    """Count the characters of space before the text of a column, which is read without them."""
    text = str(record[column])
    return len(text) - len(text.lstrip())
