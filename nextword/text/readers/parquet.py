"""Parquet: the columns that are wanted, a few rows at a time."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from nextword.errors import UserError
from nextword.text.compression import open_stream, read_whole
from nextword.text.document import Bad, Document, Source, Tally, why
from nextword.text.readers.class_names import Names, class_names, with_names
from nextword.text.readers.records import Found, documents

_ROWS = 256  # read at once
_METADATA = 2**24  # bytes or items in a file's own description


def read_parquet(source: Source, text_column: str | None, tally: Tally) -> Iterator[Document | Bad]:
    rows = _open(source, lambda schema: _candidates(schema, text_column))
    yield from documents(rows, text_column, source.path)


def parquet_records(source: Source, tally: Tally) -> Iterator[Found]:
    """Each row, with all of its columns."""
    yield from _open(source, lambda schema: list(schema.names))


def _open(source: Source, choose: Callable[[Any], list[str]]) -> Iterator[Found]:
    """The rows of a file, with the columns chosen from its schema."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    if source.compression:
        opened: Any = io.BytesIO(read_whole(source.path, source.compression))
    else:
        opened = open_stream(source.path)
    with opened:
        try:
            table = pq.ParquetFile(
                opened,
                thrift_string_size_limit=_METADATA,
                thrift_container_size_limit=_METADATA,
                page_checksum_verification=True,
            )
            yield from _rows(table, choose(table.schema_arrow), source.path)
        except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
            raise UserError(
                f"is not a whole Parquet file ({why(error)})", where=source.path
            ) from None


def _candidates(schema: Any, wanted: str | None) -> list[str]:
    """Columns that may hold text."""
    import pyarrow.types as types

    if wanted is not None:
        return [name for name in schema.names if name in (wanted, wanted.split(".")[0])]

    def textual(kind: Any) -> bool:
        if types.is_list(kind) or types.is_large_list(kind):
            kind = kind.value_type
        return types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind)

    return [field.name for field in schema if textual(field.type)]


def _rows(table: Any, columns: list[str], path: str) -> Iterator[Found]:
    if not columns:
        raise UserError(
            f"has no column of text (columns: {', '.join(table.schema_arrow.names[:12])})",
            where=path,
            mend="name it with --text-column",
        )
    number, names = 0, _class_names(table.schema_arrow.metadata or {})
    batches = table.iter_batches(_ROWS, columns=columns, use_threads=False)
    while True:
        try:
            batch = next(batches, None)
        except (OSError, ValueError, MemoryError) as error:  # Arrow's own are OSError or ValueError
            raise UserError(
                f"is damaged ({why(error)})", where=f"{path}:row {number + 1}"
            ) from None
        if batch is None:
            return
        for record in _records(batch):
            number += 1
            where = f"{path}:row {number}"
            if isinstance(record, UnicodeDecodeError):
                found = record.object[record.start]
                what = f"is not UTF-8: found 0x{found:02x} at byte {record.start} of the value"
                record = Bad(what, where, kind="not UTF-8")
            yield where, with_names(record, names)


def _class_names(metadata: dict[bytes, bytes]) -> Names:
    """As `datasets` keeps them in a file's own description."""
    with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError):
        return class_names(json.loads(metadata[b"huggingface"])["info"]["features"])
    return {}


def _records(batch: Any) -> Iterator[Any]:
    """Each row as a dict, or the UnicodeDecodeError that it raises."""
    try:
        yield from batch.to_pylist()
        return
    except UnicodeDecodeError:
        pass
    for index in range(batch.num_rows):
        try:
            yield batch.slice(index, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            yield error
