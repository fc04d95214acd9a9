"""Which columns of records hold text, or its words, and its entities or tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.dataset import value_in
from nextword.tasks.records import SAMPLE, Columns, Record, choose_column, columns_of
from nextword.tasks.tag.formats import hold_spans
from nextword.text.columns import TEXT_COLUMNS as TEXT_NAMES
from nextword.text.columns import text_column_by_name

WORDS = ("tokens", "words")
_USUAL = ("tags", "ner_tags", "tag", "ner", "entities", "spans", "labels", "label")
LABELS = (*_USUAL, "ents", "annotations", "annotation", "pos_tags", "upos", "pos")
WORD = ("word", "token")  # columns of tables with a word in each row
DATA, ANNOTATIONS = "data", "annotations"  # of Label Studio's records


def find_columns(records: Sequence[Record], settings: TaskSettings, *, labelled: bool) -> Columns:
    """Return the columns of text, or of its words, and of tags: as named, or by usual names.

    Raises UserError that lists the columns where there is none such.
    """
    own = _text_of_label_studio(records)
    usual = (ANNOTATIONS,) if own else LABELS
    text = settings.text_column or own
    if text is None or settings.text_column is not None:
        by_lower = {name.lower(): name for name in reversed(columns_of(records))}
        label = settings.label_column or next((by_lower[n] for n in usual if n in by_lower), None)
        names = (*_columns_of_words(records, label), *TEXT_NAMES)
        columns = {name.strip().lower() for name in columns_of(records)}
        if settings.text_column is None and columns & {*WORD} and not columns & {*names}:
            raise word_a_row(records[0].place)
        text = choose_column(
            records, "text, or list of words", settings.text_column, names, "text_column"
        )
    if not labelled:
        return Columns({"text": text}, [], "label_column")
    others = [name for name in usual if name != text.lower()]
    label = choose_column(records, "tag", settings.label_column, others, "label_column")
    return Columns({"text": text}, [label], "label_column")


def word_a_row(place: str) -> UserError:
    """Return what is wrong with a table of single words."""
    return UserError(
        "holds a word in each row, and not a sentence",
        where=place,
        mend="write a word and its tag, with a tab between them, in each line of a file named "
        ".conll, and an empty line between sentences",
    )


def _columns_of_words(records: Sequence[Record], label: str | None) -> Sequence[str]:
    """Return the usual names of columns of words; none where `label` holds the entities of a text
    that stands beside them."""
    for record in records[:SAMPLE]:
        try:
            of_text = label is not None and hold_spans(value_in(record, label))
        except UserError:
            continue
        if of_text and text_column_by_name(record.values) is not None:
            return ()
    return [
        name
        for name in WORDS
        if all(not hold_spans(record.values.get(name)) for record in records[:SAMPLE])
    ]


def _text_of_label_studio(records: Sequence[Record]) -> str | None:
    """Return the column of the text in what Label Studio exports, None for other records."""
    data = [record.values.get(DATA) for record in records[:SAMPLE]]
    known = {ANNOTATIONS, "completions", "predictions"} & set(columns_of(records))
    if not known or not all(isinstance(values, Mapping) for values in data):
        return None
    names = [
        name for name, value in (data[0] or {}).items() if isinstance(value, str) and value.strip()
    ]
    name = text_column_by_name(names) or (names[0] if len(names) == 1 else None)
    return None if name is None else f"{DATA}.{name}"
