"""Which columns of a CoNLL file hold words and tags: most have words first and tags last.

Some number their words first, as CoNLL-U does, put the tag before the word, or the language before
each word, as WikiANN does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from nextword.text.document import ReadStats

Row = list[str]

_TAG = re.compile(r"O|[BIESLUM]-\S+")
_OF_LANGUAGE = re.compile(r"([a-z]{2,3}(?:-[a-z]+)*:)\S")
_PART = re.compile(r"\d+[-.]\d+")  # of CoNLL-U: 3-4 are two words in one, 3.1 is not written
_COLUMNS_OF_CONLLU, _UPOS = 10, 3
_FEWEST_OF_2012, _NUMBER_OF_2012 = 11, 2  # columns, and the one that numbers words


@dataclass(frozen=True)
class Layout:
    """`width` is how many columns a word has, `word` and `tag` say which of them those are, and
    `prefix` what stands before each word without being a part of it; `tags` are some that occur."""

    width: int
    word: int = 0
    tag: int = -1
    prefix: str = ""
    tags: set[str] = field(default_factory=set)

    def is_part(self, row: Row) -> bool:
        """Return whether a row is no word of its own."""
        return self.word > 0 and _PART.fullmatch(row[0]) is not None

    def split(self, rows: Sequence[Row]) -> dict[str, list[str]]:
        """Return what rows hold as "tokens", "tags" and, of other columns, their numbers."""
        columns = [list(column) for column in zip(*rows, strict=True)]
        word, tag = self.word % self.width, self.tag % self.width
        tokens = [token.removeprefix(self.prefix) or token for token in columns[word]]
        others = {
            str(number + 1): column
            for number, column in enumerate(columns)
            if number not in (word, tag) and (number > 0 or self.word == self.width - 1)
        }
        return {"tokens": tokens} | others | ({"tags": columns[tag]} if tag != word else {})


def find_layout(sentences: Sequence[Sequence[Row]], width: int) -> Layout:
    """Return where words and tags are, told by sentences."""
    rows = [row for sentence in sentences for row in sentence]
    tags = {row[-1] for row in rows}
    first = [row[0] for row in rows]
    if width > 2 and _are_numbers(sentences, 0):
        tag = _UPOS if width == _COLUMNS_OF_CONLLU else -1
        return Layout(width, word=1, tag=tag, tags=tags)
    if width > 1 and _are_tags(first) and not _are_tags([row[-1] for row in rows]):
        return Layout(width, word=-1, tag=0, tags=tags)
    prefixes = {match[1] if (match := _OF_LANGUAGE.match(word)) else "" for word in first}
    prefix = prefixes.pop() if len(prefixes) == 1 and len(first) > 1 else ""
    return Layout(width, prefix=prefix, tags=tags)


def note_layout(layout: Layout, path: str, stats: ReadStats) -> None:
    """Count what is worth knowing of a file that is not laid out as most are."""
    if layout.word > 0:
        tag = f"their tags in column {layout.tag % layout.width + 1}"
        stats.notes[f"a file whose column 1 numbers the words, with {tag} ({path})"] += 1
    elif layout.word < 0:
        stats.notes[f"a file whose column 1 is of tags, and the last one of words ({path})"] += 1
    elif layout.prefix:
        what = f"a file whose words begin with {layout.prefix!r}, which is not read"
        stats.notes[f"{what} ({path})"] += 1


def is_of_2012(sentences: Sequence[Sequence[Row]], width: int) -> bool:
    """Return whether entities are in brackets over several lines, as in CoNLL-2012."""
    return width >= _FEWEST_OF_2012 and _are_numbers(sentences, _NUMBER_OF_2012)


def _are_numbers(sentences: Sequence[Sequence[Row]], column: int) -> bool:
    """Return whether a column numbers the words of each sentence, from 0 or 1 on."""
    words = [
        [row[column] for row in sentence if not _PART.fullmatch(row[column])]
        for sentence in sentences
    ]
    begin = 0 if words and words[0][:1] == ["0"] else 1
    return max(map(len, words), default=0) > 1 and all(
        numbers == [str(begin + place) for place in range(len(numbers))] for numbers in words
    )


def _are_tags(column: Sequence[str]) -> bool:
    return all(map(_TAG.fullmatch, column)) and any("-" in tag for tag in column)
