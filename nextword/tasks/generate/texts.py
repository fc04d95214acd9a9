"""Texts to go on reading: one a record, or those deeper in it, found as `prepare` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.dataset import Dataset, ExampleReader, LeftOut, input_text
from nextword.tasks.generate.data import JOINED, sentences_of
from nextword.tasks.records import Columns, Record
from nextword.text.document import Document, ReadError, Source
from nextword.text.extraction import TextField, find_records, holds, to_document
from nextword.text.record_text import choose_text_field
from nextword.text.sources import is_deleted
from nextword.text.traces import traces

_SAMPLED = 1000  # records of a file, from its first to its last, that the text field is told by
_TEXT = "text"  # what texts are called that have a title in place of a column's name


class TextReader(ExampleReader[str]):
    """Reads texts, which may be lists of their paragraphs.

    Raises UserError for a file in which no field is clearly the text.
    """

    def __init__(self, records: Sequence[Record], settings: TaskSettings) -> None:
        self._fields = {path: _text_field(own, settings) for path, own in _by_file(records).items()}
        column = next(iter(self._fields.values())).column or _TEXT
        super().__init__(Columns({"text": column}))
        self._simple = TextField(column)
        self._deeper = set[str]()  # places of texts that stood deeper in a record

    def read_all(self, records: Sequence[Record], *, keep_going: bool = False) -> Dataset[str]:
        texts = [text for record in records for text in self._texts_in(record)]
        return super().read_all(texts, keep_going=keep_going)

    def _texts_in(self, record: Record) -> Iterator[Record]:
        """Yield a record whose text is in the column, or each text deeper in it."""
        field = self._fields.get(_path(record))
        if record.error is not None or field is None or not self._is_deeper(record, field):
            yield record
            return

        def leave(name: str, value: Any) -> None:
            if value or isinstance(value, int | float):
                self.report.unused[name] += 1

        for number, found in enumerate(find_records(dict(record.values), field, leave), start=1):
            place = f"{record.place}, text {number}" if number > 1 else record.place
            document = to_document(found, place, leave)
            self._deeper.add(place)
            if isinstance(document, ReadError):
                error = UserError(document.what, where=place, mend=document.mend)
                yield Record({}, place, error)
            else:
                assert isinstance(document, Document)
                yield Record({self._simple.column or _TEXT: document.text}, place)

    def _is_deeper(self, record: Record, field: TextField) -> bool:
        column = self._simple.column or _TEXT
        return field != self._simple or (
            column not in record.values and holds(dict(record.values), column)
        )

    def read(self, record: Record) -> str:
        column = self.columns.inputs["text"]
        sentences = sentences_of(record[column], record.place)
        if not sentences:
            if not record[column] and record.place in self._deeper:
                raise LeftOut("without text")
            text = input_text(record, column)
            if is_deleted(text):
                raise LeftOut("deleted before they were saved")
        else:
            self.report.notes.update([JOINED] * isinstance(record[column], str))
            text = "\n".join(sentences).strip()
        self.report.notes.update(f"with {trace}" for trace in traces(text))
        return text

    def input_of(self, example: str, record: Record) -> str:
        return str(dict(record.values))


def _path(record: Record) -> str:
    return record.place.rpartition(":")[0]


def _by_file(records: Sequence[Record]) -> dict[str, list[Record]]:
    files: dict[str, list[Record]] = {}
    for record in records:
        if record.error is None:
            files.setdefault(_path(record), []).append(record)
    return files


def _text_field(records: Sequence[Record], settings: TaskSettings) -> TextField:
    """Return where the text of a file's records stands."""
    some = records[:: max(1, len(records) // _SAMPLED)]
    values: list[Any] = [dict(record.values) for record in some]
    if all(list(value) == [_TEXT] and isinstance(value[_TEXT], str) for value in values):
        return TextField(_TEXT)
    kind = "json" if ":record " in records[0].place else "jsonl"
    field = choose_text_field(values, settings.text_column, Source(records[0].place, kind))
    return TextField(field.column, field.inner, field.nested)
