"""CoNLL's columns: a line holds a word and its tags, and empty lines separate sentences."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from nextword.terminal import count_of
from nextword.text.document import ReadError, ReadStats, Records, Source
from nextword.text.readers.conll_layout import (
    Layout,
    find_layout,
    is_of_2012,
    note_layout,
)
from nextword.text.readers.plain import read_lines

_SAMPLED_LINES = 1000  # that tell how many columns there are
_DOCUMENT_START = "-DOCSTART-"  # CoNLL-2003's
_COMMENT = re.compile(r"#(?:\s|\S+\s*=|(?:begin|end) document\b)")
_SLASHED = re.compile(r"\S+/[^/\s]+")
_MARK = re.compile(r"# +(?:\S+ += |newdoc|newpar)|#(?:begin|end) document\b")  # wide as a word's


def conll_records(source: Source, stats: ReadStats) -> Records:
    """Yield each sentence: "tokens" is the first column, "tags" the last, those between "2", "3" …,
    if the file is laid out as most are.

    Tabs separate columns, spaces where a line has no tab. A line that begins with "#" and has not
    a word's columns or tag may be a comment. One with fewer or more columns than the first is a
    ReadError and ends the file.
    """
    lines = read_lines(source, stats)
    sample = list(itertools.islice(lines, _SAMPLED_LINES))
    layout = _layout([line for _, line in sample if isinstance(line, str)])
    if layout is None:
        what = "is in CoNLL-2012's format, with entities in brackets"
        mend = "write a word and its tag in each line, such as B-PER, I-PER and O"
        yield source.path, ReadError(what, source.path, "", "format", mend)
        return
    if _has_slashes(line for _, line in sample if isinstance(line, str)):
        what = "holds sentences of words with their tags after a slash"
        mend = "write a word and its tag, with a tab between them, in each line"
        yield source.path, ReadError(what, source.path, "", "format", mend)
        return
    note_layout(layout, source.path, stats)
    width, tags = layout.width, layout.tags
    rows: list[list[str]] = []
    first_line = 0
    for number, line in itertools.chain(sample, lines):
        where = f"{source.path}:{number}"
        if isinstance(line, ReadError):
            yield where, line
            return
        columns = _columns(line)
        if _is_comment(line, columns, width, tags if not rows else None):
            continue
        if not columns or columns[0] == _DOCUMENT_START:
            if rows:
                yield f"{source.path}:{first_line}", layout.split(rows)
            rows = []
            continue
        if len(columns) != width or not all(columns):
            filled = sum(map(bool, columns))
            what = f"has {count_of(filled, 'column')}, the lines before it {width}"
            mend = "give every word its tag, and an empty line between sentences"
            if line.startswith("#"):
                mend += '; a comment begins with "# "'
            yield where, ReadError(what, where, line, "columns", mend)
            return
        if layout.is_part(columns):
            continue
        first_line = first_line if rows else number
        rows.append(columns)
        tags.add(columns[-1])
    if rows:
        yield f"{source.path}:{first_line}", layout.split(rows)


def _has_slashes(lines: Iterable[str]) -> bool:
    """Return whether every column is a word with its tag: "Ada/NNP slept/VBD ./."."""
    columns = [column for line in lines for column in _columns(line)]
    return bool(columns) and all(map(_SLASHED.fullmatch, columns))


def _columns(line: str) -> list[str]:
    """Return the columns of a line, of which only spaces and tabs are stripped: a word may be an
    ideographic space."""
    line = line.rstrip("\r\n")
    if "\t" in line.rstrip(" \t"):
        return [column.strip(" ") or column[:1] for column in line.split("\t")]
    return [column for column in re.split("[ \t]+", line) if column]


def _layout(lines: Sequence[str]) -> Layout | None:
    """Return which columns hold words and tags, told by words that are not "#"; None for a file in
    CoNLL-2012's format."""
    rows = [(line, _columns(line)) for line in lines]
    rows = [row for row in rows if not row[1] or not _MARK.match(row[0])]
    rows = [(line, [] if columns[:1] == [_DOCUMENT_START] else columns) for line, columns in rows]
    words = [row for row in rows if not _COMMENT.match(row[0])]
    words = words if any(columns for _, columns in words) else rows
    width = next((len(columns) for _, columns in words if columns), 0)
    sentences = [
        [columns for _, columns in group]
        for is_word, group in itertools.groupby(words, lambda row: bool(row[1]))
        if is_word
    ]
    if is_of_2012(sentences[:1], width):
        return None
    shaped = [[row for row in sentence if len(row) == width] for sentence in sentences]
    return find_layout([sentence for sentence in shaped if sentence], width)


def _is_comment(line: str, columns: list[str], width: int, tags: set[str] | None) -> bool:
    """Return whether a line is none of a word; before a sentence, where `tags` are known, it may
    be one although it has as many columns."""
    if not line.startswith("#"):
        return False
    if len(columns) != width:
        return _COMMENT.match(line) is not None
    if "\t" in line or tags is None:
        return False
    is_tag = columns[0] != "#" or columns[-1] in tags or columns[-1].isupper()
    return not is_tag or _MARK.match(line) is not None
