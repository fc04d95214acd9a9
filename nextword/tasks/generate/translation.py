"""Which columns hold a text and its translation.

They are told by usual names and names of languages, from the columns that hold words and not
numbers of rows; where two readings are possible, both are shown.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.generate.messages import parse_text
from nextword.tasks.records import Columns, Record, choose_column
from nextword.text.columns import holds

SOURCES = ("source", "src")
TARGETS = ("target", "tgt")
TRANSLATION = "translation"
_CODE = re.compile(r"[a-z]{2,3}([-_][a-z]{2,4}){0,2}", re.I)  # of a language
_LANGUAGES = """
    arabic bengali bulgarian catalan chinese croatian czech danish dutch english estonian
    finnish french german greek hebrew hindi hungarian icelandic indonesian irish italian japanese
    korean latin latvian lithuanian malay norwegian persian polish portuguese romanian russian
    serbian slovak slovenian spanish swahili swedish tamil thai turkish ukrainian urdu vietnamese
    deutsch français español italiano português русский 中文 英文 日本語 한국어"""
_NO_CODES = "key url uri uid idx num ref hyp src tgt tag set pos qid"
_NUMBERING = ("", "id", "idx", "index", "line", "no", "nr", "number", "row", "unnamed: 0")
_SAMPLE = 200  # values that tell whether a column holds texts
_READINGS = 4  # named in an error


def parse_translation(record: Record) -> Record:
    """Return a record whose translations, held as the text of an object, are that object."""
    value = record.values.get(TRANSLATION)
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return record
    languages = parse_text(value, record.place)
    if not isinstance(languages, Mapping):
        return record
    return replace(record, values={**record.values, TRANSLATION: languages})


def columns_of_translation(
    records: Sequence[Record], settings: TaskSettings, labelled: bool
) -> Columns:
    """Return columns named source and target, or of two languages: from the first to the second.

    Raises UserError that shows the pairs there are where more than one is possible."""
    records = [parse_translation(record) for record in records[:_SAMPLE]]
    source, target = settings.text_column, settings.target_column
    pairs = _pairs(_candidates(records), source, target)
    if len(pairs) == 1:
        source, target = pairs[0]
    source = _choose(records, "source", source, SOURCES, "text_column", pairs)
    if not labelled:
        return Columns({"source": source})
    target = _choose(records, "translation", target, TARGETS, "target_column", pairs)
    if source == target:
        raise UserError(
            f"column {source!r} cannot be both source and translation",
            where=records[0].place,
            mend="name another --target-column",
        )
    return Columns({"source": source}, [target])


def _candidates(records: Sequence[Record]) -> list[str]:
    """Return the columns that may hold a text or its translation, in order."""
    values = _values(records)
    texts = [name for name in values if _are_texts(values[name])]
    usual = [_usual(texts, names) for names in (SOURCES, TARGETS)]
    languages = [name for name in texts if _is_language(name)]
    if all(usual):
        return [name for name in usual if name]
    if len(languages) >= 2 and not any(usual):
        return languages
    return texts if len(texts) >= 2 else [name for name in values if name.lower() not in _NUMBERING]


def _values(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return what each column holds; of translations in one column, each language's."""
    values: dict[str, list[Any]] = {}
    nested: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.values.items():
            values.setdefault(str(name), []).append(value)
            if name == TRANSLATION and isinstance(value, Mapping):
                for language, text in value.items():
                    nested.setdefault(f"{TRANSLATION}.{language}", []).append(text)
    return nested or values


def _pairs(names: Sequence[str], source: str | None, target: str | None) -> list[tuple[str, str]]:
    """Return the pairs of source and translation that are possible with what is named."""
    if source and target:
        return [(source, target)]
    if source:
        return [(source, name) for name in names if name != source]
    if target:
        return [(name, target) for name in names if name != target]
    return list(itertools.combinations(names, 2))


def _choose(
    records: Sequence[Record],
    role: str,
    named: str | None,
    usual: Sequence[str],
    setting: str,
    pairs: Sequence[tuple[str, str]],
) -> str:
    """Return a column as `choose_column` does; the error shows which pairs are possible."""
    try:
        return choose_column(records, role, named, usual, setting)
    except UserError as error:
        if named is not None or not pairs:
            raise
        readings = [f"{one} → {other}" for one, other in pairs[:_READINGS]]
        readings += ["..."] if len(pairs) > _READINGS else []
        raise UserError(
            f"{error.what}: it may be {', '.join(readings)}",
            where=error.where,
            mend="name both with --text-column and --target-column",
        ) from None


def _usual(names: Sequence[str], usual: Sequence[str]) -> str | None:
    by_lower = {name.strip().lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in usual if name in by_lower), None)


def _is_language(name: str) -> bool:
    name = name.removeprefix(f"{TRANSLATION}.").strip().lower()
    is_code = _CODE.fullmatch(name) is not None and name not in _NO_CODES.split()
    return is_code or name in _LANGUAGES.split()


def _are_texts(values: Sequence[Any]) -> bool:
    """Whether most of a column's values are words, and they are not all names of rows."""
    held = [value for value in values if holds(value)]
    words = [value for value in held if isinstance(value, str) and any(map(str.isalpha, value))]
    return len(words) * 2 > len(held) and not all(map(_is_identifier, words))


def _is_identifier(value: str) -> bool:
    """Whether a value is a name such as "train-17", or an address."""
    is_named = "://" in value or any(map(str.isdigit, value))
    return is_named and not any(map(str.isspace, value))
