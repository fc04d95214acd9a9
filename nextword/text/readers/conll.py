"""CoNLL's format: a word and its tags a line, in columns; sentences parted by empty lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nextword.text.document import Bad, Source, Tally
from nextword.text.readers.lines import read_lines
from nextword.text.readers.records import Found

DOCUMENT = "-DOCSTART-"


def conll_records(source: Source, tally: Tally) -> Iterator[Found]:
    """(place, record) of each sentence: "tokens" is the first column, "tags" the last one, those
    between are "2", "3" and so on; Bad for a line with fewer or more columns than the first."""
    rows: list[list[str]] = []
    begun, width = 0, 0
    for number, line in read_lines(source, tally):
        where = f"{source.path}:{number}"
        if isinstance(line, Bad):
            yield where, line
            return
        columns = line.split("\t") if "\t" in line.strip() else line.split()
        columns = [column.strip() for column in columns]
        if line.startswith("#") and len(columns) != width:  # a comment
            continue
        if not line.strip() or columns[0] == DOCUMENT:
            if rows:
                yield f"{source.path}:{begun}", _record(rows)
            rows = []
            continue
        width = width or len(columns)
        if len(columns) != width or not all(columns):
            what = f"has {len([c for c in columns if c])} columns, the lines before it {width}"
            mend = "give every word its tag, and an empty line between sentences"
            yield where, Bad(what, where, line, "columns", mend)
            return
        begun = begun if rows else number
        rows.append(columns)
    if rows:
        yield f"{source.path}:{begun}", _record(rows)


def _record(rows: list[list[str]]) -> dict[str, Any]:
    tokens, *others = (list(column) for column in zip(*rows, strict=True))
    named = {str(number): column for number, column in enumerate(others[:-1], start=2)}
    return {"tokens": tokens} | named | ({"tags": others[-1]} if others else {})
