"""Data sets: Parquet files, and those of the Hugging Face Hub, streamed.

A data set of the Hub is named hf://owner/name[/config][:split[:column]]. Columns that hold numbers
of classes are given the names that `datasets` keeps apart from the rows.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nextword.errors import UserError
from nextword.text.columns import text_name_rank
from nextword.text.compression import open_decompressed, read_file
from nextword.text.document import Documents, ReadError, ReadStats, Records, Source, explaining
from nextword.text.record_text import records_to_documents

HUB_SCHEME = "hf://"
ClassNames = dict[str, list[str]]  # of each column that holds numbers of classes

_ROWS = 256  # read at once
_METADATA = 2**24  # bytes or items in a file's own description


def class_names(features: Any) -> ClassNames:
    """Return the class names by column, from what `datasets` writes of its features.

    They are {} where that cannot be read.
    """
    names_of: ClassNames = {}
    for column, feature in features.items() if isinstance(features, Mapping) else ():
        while isinstance(feature, Mapping) and "feature" in feature:  # a list of them
            feature = feature["feature"]
        if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel":
            names = feature.get("names")
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                names_of[str(column)] = names
    return names_of


def name_classes(record: Any, names: ClassNames) -> Any:
    """Return a record with names for its class numbers; -1, a label that is not known, stays."""
    if not names or not isinstance(record, Mapping):
        return record
    return {
        column: _class_name(value, names[column]) if column in names else value
        for column, value in record.items()
    }


def _class_name(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_class_name(item, names) for item in value]
    is_class = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names)
    return names[value] if is_class else value


def read_parquet(source: Source, text_column: str | None, stats: ReadStats) -> Documents:
    """Yield the text of each row. Raises UserError for a damaged file or one without text.

    Columns that cannot hold the text are not read; they are counted with their rows.
    """

    def choose(schema: Any, rows: int) -> list[str]:
        columns = _text_columns(schema, text_column)
        for name in schema.names if columns else ():
            if name not in columns:
                stats.leave(source.kind, name, 0, rows)
        return columns

    rows = _parquet_rows(source, choose)
    yield from records_to_documents(rows, text_column, source, stats)


def parquet_records(source: Source, stats: ReadStats) -> Records:
    """Yield each row with all of its columns. Raises UserError for a damaged file."""
    yield from _parquet_rows(source, lambda schema, rows: list(schema.names))


def _parquet_rows(source: Source, choose: Callable[[Any, int], list[str]]) -> Records:
    """Yield the rows of a file, with the columns chosen from its schema and number of rows."""
    import pyarrow.parquet as pq

    if source.compression:
        file: Any = io.BytesIO(read_file(source.path, source.compression))
    else:
        file = open_decompressed(source.path)
    with file, explaining(source.path, "is not a whole Parquet file ({reason})"):
        table = pq.ParquetFile(
            file,
            thrift_string_size_limit=_METADATA,
            thrift_container_size_limit=_METADATA,
            page_checksum_verification=True,
        )
        columns = choose(table.schema_arrow, table.metadata.num_rows)
        yield from _rows(table, columns, source.path)


def _text_columns(schema: Any, wanted: str | None) -> list[str]:
    """Return the columns that may hold text."""
    import pyarrow.types as types

    if wanted is not None:
        return [name for name in schema.names if name in (wanted, wanted.split(".")[0])]

    def is_textual(kind: Any) -> bool:
        if types.is_nested(kind):
            return any(is_textual(kind.field(n).type) for n in range(kind.num_fields))
        return types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind)

    def may_hold_text(field: Any) -> bool:
        is_bytes = types.is_binary(field.type) or types.is_large_binary(field.type)
        is_named = text_name_rank(field.name) is not None  # read, and refused if it holds none
        return is_textual(field.type) or (is_named and (is_bytes or types.is_map(field.type)))

    return [field.name for field in schema if may_hold_text(field)]


def _rows(table: Any, columns: list[str], path: str) -> Records:
    if not columns:
        raise UserError(
            f"has no column of text (columns: {', '.join(table.schema_arrow.names[:12])})",
            where=path,
            mend="name it with --text-column",
        )
    number, names = 0, _parquet_class_names(table.schema_arrow.metadata or {})
    batches = table.iter_batches(_ROWS, columns=columns, use_threads=False)
    while True:
        with explaining(f"{path}:row {number + 1}", "is damaged ({reason})"):
            batch = next(batches, None)
        if batch is None:
            return
        for record in _batch_records(batch):
            number += 1
            where = f"{path}:row {number}"
            record = _plain_values(record)
            if isinstance(record, UnicodeDecodeError):
                byte = record.object[record.start]
                what = f"is not UTF-8: found 0x{byte:02x} at byte {record.start} of the value"
                record = ReadError(what, where, kind="not UTF-8")
            yield where, name_classes(record, names)


def _plain_values(record: Any) -> Any:
    """Return a row with text in place of bytes that are UTF-8, as some programs write it, and
    objects in place of maps."""
    if not isinstance(record, dict) or not {bytes, list} & set(map(type, record.values())):
        return record
    try:
        return {name: _plain_value(value) for name, value in record.items()}
    except UnicodeDecodeError as error:
        return error


def _plain_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    is_map = isinstance(value, list) and value and all(isinstance(item, tuple) for item in value)
    return dict(value) if is_map else value


def _parquet_class_names(metadata: dict[bytes, bytes]) -> ClassNames:
    """Return the class names that `datasets` keeps in a file's own description."""
    with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError):
        return class_names(json.loads(metadata[b"huggingface"])["info"]["features"])
    return {}


def _batch_records(batch: Any) -> Iterator[Any]:
    """Yield each row as a dict, or the UnicodeDecodeError that it raises."""
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


def parse_dataset_name(name: str) -> tuple[str, str | None, str, str | None]:
    """Return (repository, config, split, column) of a name. Raises UserError if it is not one."""
    path, *rest = name.removeprefix(HUB_SCHEME).split(":")
    parts = path.strip("/").split("/")
    if len(rest) > 2 or len(parts) not in (2, 3) or not all(parts):
        raise UserError(
            "is not the name of a data set",
            where=name,
            mend="write hf://owner/name[:split[:column]]",
        )
    split, column = (*rest, "", "")[:2]
    return "/".join(parts[:2]), "/".join(parts[2:]) or None, split or "train", column or None


def read_hub(source: Source, text_column: str | None, stats: ReadStats) -> Documents:
    """Yield the text of each row. Raises UserError as `hub_records` does."""
    column = parse_dataset_name(source.path)[3] or text_column
    yield from records_to_documents(hub_records(source, stats), column, source, stats)


def hub_records(source: Source, stats: ReadStats) -> Records:
    """Yield each row as it is streamed.

    Raises UserError where the package `datasets` is missing, or the Hub cannot be read.
    """
    try:
        import datasets
    except ImportError:
        raise UserError(
            "needs the package datasets", where=source.path, mend="pip install nextword[hub-data]"
        ) from None
    repository, config, split, _ = parse_dataset_name(source.path)
    what = "cannot be read from the Hub ({kind}: {reason})"
    with explaining(source.path, what, "look at its name and at the connection"):
        rows = datasets.load_dataset(repository, config, split=split, streaming=True)
        features = getattr(rows, "features", None)  # some are not known before they are read
        names = class_names(features.to_dict() if features else {})
        for number, record in enumerate(rows, 1):
            yield f"{source.path}:row {number}", name_classes(record, names)
