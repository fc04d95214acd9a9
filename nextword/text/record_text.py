"""Which field of some records is their text, and the records turned into documents.

What stands beside a field is weighed before it is taken. Where more text would be left than taken,
the text is deeper in the records, or it is asked for.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

from nextword.errors import UserError, nearest
from nextword.text.columns import (
    DESCRIBING_COLUMNS,
    count_characters,
    get_field,
    has_text,
    is_number,
    is_text,
    join_text,
    text_name_rank,
)
from nextword.text.document import (
    OTHER_FIELDS,
    Document,
    Documents,
    ReadError,
    ReadStats,
    Records,
    Source,
)
from nextword.text.extraction import TextField, find_records, to_document
from nextword.text.weighing import (
    cut_lists,
    is_printed,
    is_running_text,
    new_text,
    objects_in,
    refuse_longer_field,
    weigh,
)

SAMPLED_RECORDS = 50  # that the text field is told by
_LONGER = 3  # times as long as the next longest: then a field is the text
_MUCH_LONGER = 10  # times as much as a field with a usual name: then this one is not the text
_FURTHER = 0.2  # of the text taken: where records in records have more, they are texts too
_OWN_TEXT = 200  # characters of a value that is no mere title or name
_SHOWN_FIELDS = 12
_TITLE = re.compile(r"\w\s+\w|^第")


def records_to_documents(
    records: Records, text_column: str | None, source: Source, stats: ReadStats
) -> Documents:
    """Yield the texts of records; the first ones decide which field holds them.

    What is not used is counted in `stats`. Raises UserError as `choose_text_field` does.
    """
    is_json, counter = source.kind == "json", itertools.count(1)
    earlier = _left_in_fields(stats, source)  # by other files of this kind
    taken = 0  # characters

    def leave(name: str, value: Any) -> None:
        if value or isinstance(value, int | float):
            characters = len(value) if type(value) is str else count_characters(value)
            stats.leave(source.kind, name, characters)

    text_field, weighed_before = TextField(""), set[str]()
    for chunk, is_first in _chunks(records):
        values = [value for _, value in chunk if not isinstance(value, ReadError)]
        if is_first and any(map(_has_objects, values)):
            text_field = choose_text_field(values, text_column, source)
        for where, value in chunk:
            if not is_json and is_text(value):
                value = join_text(value)
            for found in find_records(value, text_field, leave):
                place = f"{source.path}:record {next(counter)}" if is_json else where
                document = to_document(found, place, leave)
                taken += len(document.text) if isinstance(document, Document) else 0
                yield document
        if is_first:
            left = _left_in_fields(stats, source) - earlier
            weighed_before = {name for name, characters in left.items() if characters > taken}
    if text_column is None:
        left = _left_in_fields(stats, source) - earlier
        refuse_longer_field(left, weighed_before, taken, str(text_field.column), source.path)


def _left_in_fields(stats: ReadStats, source: Source) -> Counter[str]:
    """Return the characters counted as not used so far, by the names of their fields."""
    unused = stats.unused.get(source.kind, {})
    return Counter({n: entry.characters for n, entry in unused.items() if n != OTHER_FIELDS})


def _chunks(records: Records) -> Iterator[tuple[list[tuple[str, Any]], bool]]:
    """Yield the records in groups, and whether no record of an earlier group was an object."""
    is_first = True
    while sample := list(itertools.islice(records, SAMPLED_RECORDS)):
        yield sample, is_first
        is_first = is_first and not any(_has_objects(value) for _, value in sample)


def _has_objects(value: Any) -> bool:
    return any(True for _ in objects_in(value))


def choose_text_field(values: list[Any], wanted: str | None, source: Source) -> TextField:
    """Return where the text of a file stands, judged by its first records.

    Raises UserError if there is no field `wanted`, or if none is wanted and none is clearly text.
    """
    values = [cut_lists(value) for value in values]
    if wanted is not None:
        text_field = _wanted_field(values, wanted, source.path)
    else:
        is_alone = source.kind == "json" and len(values) == 1
        text_field = _choose(values, is_alone, source)
    return replace(text_field, printed=is_printed(values, text_field))


def _wanted_field(values: list[Any], wanted: str, path: str) -> TextField:
    objects = [record for value in values for _, record in objects_in(value)]
    having = [record for record in objects if get_field(record, wanted) is not None]
    if not having and not any(wanted in record for record in objects):
        names = dict.fromkeys(str(name) for record in objects for name in record)
        raise UserError(f"has no field {wanted!r}", where=path, mend=nearest(wanted, names))
    fields = [get_field(record, wanted) for record in having]
    nested = [field for field in fields if join_text(field) is None and _has_objects(field)]
    if len(nested) * 2 <= len(fields):
        return _with_further(values, TextField(wanted))
    return TextField(wanted, _choose(nested, True, Source(f"{path}, {wanted}", "json")))


def _choose(values: list[Any], is_alone: bool, source: Source) -> TextField:
    """Return the field with a usual name that leaves less than it takes; without one, the field
    that is far longer than any other."""
    usual = _usual_names(values)
    if not usual:
        return _longest(values, is_alone, source) or _ask(
            _sizes(values, {})[0], values, source.path
        )
    field = _with_further(values, TextField(usual[0]))
    weighed = weigh(values, field)
    is_describing = usual[0].strip().lower() in DESCRIBING_COLUMNS
    least = _LONGER * weighed.nested if is_describing else 0
    if weighed.taken >= max(weighed.left, least):
        return field
    for name in usual[1:]:
        other = _with_further(values, TextField(name))
        beside = weigh(values, other)
        least = 0 if is_describing else _MUCH_LONGER * weighed.taken
        if beside.left * _LONGER <= beside.taken >= least:
            return other
    if is_describing and (longest := _longest(values, is_alone, source)):
        return longest
    return _ask(weighed.sizes + Counter({usual[0]: weighed.taken}), values, source.path)


def _usual_names(values: list[Any]) -> list[str]:
    """Return the fields with a usual name for text: those that hold some first, then those in outer
    objects."""
    ranks: dict[str, tuple[bool, int, int]] = {}
    for value in values:
        for depth, record in objects_in(value):
            for name, item in record.items():
                rank = text_name_rank(name)
                if rank is not None and has_text(item):
                    place = (not join_text(item), depth, rank)
                    ranks[name] = min(ranks.get(name, place), place)
    return sorted(ranks, key=lambda name: ranks[name])


def _with_further(values: list[Any], field: TextField) -> TextField:
    """Return the field as one of records in records, if those hold much more text."""
    if not any(_has_further(value, field) for value in values):
        return field
    nested = replace(field, nested=True)
    texts, all_texts = weigh(values, field).texts, weigh(values, nested).texts
    return nested if new_text(all_texts, texts) > _FURTHER * sum(map(len, texts)) else field


def _has_further(value: Any, field: TextField) -> bool:
    column = str(field.column)
    within = [depth for depth, record in objects_in(value) if column in record]
    return len(set(within)) > 1


def _longest(values: list[Any], is_alone: bool, source: Source) -> TextField | None:
    """Return the field whose text is far longer than that of any other; None if there is none."""
    records = [value for value in values if isinstance(value, dict)]
    if _are_titled(records, is_alone, source):
        return TextField(None)
    titled = _titled_fields(values)
    sizes, no_text = _sizes(values, titled)
    ranked = sizes.most_common()
    if not ranked or ranked[0][0] in no_text:
        return None
    if len(ranked) > 1 and ranked[0][1] < _LONGER * ranked[1][1]:
        return None
    name = ranked[0][0]
    field = TextField(name, TextField(None) if name in titled else None)
    weighed = weigh(values, field)
    fits = weighed.left * _LONGER <= weighed.taken and weighed.refused * 2 <= len(weighed.texts)
    return field if fits else None


def _are_titled(records: list[dict[str, Any]], is_alone: bool, source: Source) -> bool:
    """Return whether objects name each of their texts by its title, not by a field."""
    if source.kind not in ("json", "jsonl") or not records:
        return False
    if is_alone:
        return all(map(_has_titles, records))
    if source.kind == "json" and all(_has_lists_of_text(record) for record in records):
        return True
    names = {name for record in records for name in record}
    is_each_another = len(names) == sum(map(len, records)) and len(records) > 1
    return is_each_another and all(all(map(is_text, record.values())) for record in records)


def _has_titles(record: dict[str, Any]) -> bool:
    texts = {name: join_text(value) or "" for name, value in record.items() if is_text(value)}
    if _has_lists_of_text(record):
        return True
    sizes = sorted((len(text) for text in texts.values() if is_running_text(text)), reverse=True)
    if len(sizes) < 2 or any(
        isinstance(record[name], list | dict) for name in record.keys() - texts
    ):
        return False
    if _are_titles(texts):
        return True
    is_balanced = sizes[1] >= _OWN_TEXT or sizes[0] < _LONGER * sizes[1]
    return is_balanced and len(texts) == len(record)


def _are_titles(names: Iterable[str]) -> bool:
    """Return whether names are those of chapters rather than of fields: "Chapter 1", "12"."""
    return any(map(_TITLE.search, names)) or all(map(str.isdecimal, names))


def _has_lists_of_text(record: dict[str, Any]) -> bool:
    return bool(record) and all(isinstance(v, list) and has_text(v) for v in record.values())


def _titled_fields(values: list[Any]) -> dict[str, int]:
    """Return the fields that hold objects of titles and texts, with their characters; objects that
    all have the same names have fields, no titles."""
    inside: dict[str, list[dict[str, Any]]] = {}
    for value in values:
        for _, record in objects_in(value):
            for name, item in record.items():
                if isinstance(item, dict):
                    inside.setdefault(name, []).append(item)
    return {
        name: sum(map(count_characters, records))
        for name, records in inside.items()
        if all(map(_has_titles, records))
        and (
            len({tuple(record) for record in records}) > 1
            or len(records) == 1
            or _are_titles(records[0])
        )
    }


def _sizes(values: list[Any], titled: dict[str, int]) -> tuple[Counter[str], set[str]]:
    """Return the characters in each field, numbers aside, and the fields that hold no text only."""
    sizes: Counter[str] = Counter(titled)
    no_text: set[str] = set()
    for value in values:
        for _, record in objects_in(_without(value, titled)):
            for name, item in record.items():
                if has_text(item):
                    text = join_text(item) or ""
                    sizes[name] += 0 if is_number(text) else len(text)
                elif item is not None and item != []:
                    no_text.add(name)
    return Counter({name: size for name, size in sizes.items() if size}), no_text - titled.keys()


def _without(value: Any, names: dict[str, int]) -> Any:
    """Return a value without the objects in some fields."""
    if not names:
        return value
    if isinstance(value, dict):
        return {name: _without(item, names) for name, item in value.items() if name not in names}
    return [_without(item, names) for item in value] if isinstance(value, list) else value


def _ask(sizes: Counter[str], values: list[Any], path: str) -> NoReturn:
    shown = ", ".join(f"{name} {size:,}" for name, size in sizes.most_common(_SHOWN_FIELDS))
    if not shown:
        names = dict.fromkeys(str(n) for v in values for _, record in objects_in(v) for n in record)
        raise UserError(
            f"no field is clearly the text (fields: {', '.join(list(names)[:12]) or 'none'})",
            where=path,
            mend="name it with --text-column",
        )
    raise UserError(
        f"no field is clearly the text (characters in its first records: {shown})",
        where=path,
        mend="name it with --text-column",
    )
