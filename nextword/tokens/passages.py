"""The passages of a text that stand word for word in the training text, and where.

Ids are searched for; where a match ends within a word that is cut into tokens differently there, it
is extended character by character.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nextword.settings import TraceSettings
from nextword.tokens.pieces import Piece, pieces_of_text
from nextword.tokens.source_index import SourceIndex
from nextword.tokens.suffix_array import maximal_matches
from nextword.tokens.tokenizer import Tokenizer

MOST_OF_IT = 2 / 3  # of a text: from there on a passage counts, however short
SHORT = 64  # tokens of a text all of whose matches are looked at
NEIGHBOURS = 16  # tokens on each side of a match in which it may go on
EXAMINED = 32  # places of a match in which it may go on


@dataclass(frozen=True)
class Place:
    """Where a passage stands in a document: so many tokens and bytes of its cleaned text before it,
    on this line (from 1); the latter two are None where tokens do not tell their bytes. Its first
    letter is one of the token number `token`. What stands around it is `before` and `after`."""

    document: int
    source: str
    token: int
    byte: int | None
    line: int | None
    before: str
    after: str


@dataclass(frozen=True)
class Passage:
    """Characters of a text, from `start` to `end`, that stand in the training text; `tokens` of the
    text are among them whole, or begin and end them."""

    start: int
    end: int
    tokens: int
    text: str
    occurrences: int
    places: list[Place]


@dataclass(frozen=True)
class Trace:
    """What of a text stands in the training text. The share is of its bytes, in all passages that
    count; `passages` are the longest of these; `longest` is in tokens, counted or not."""

    text_bytes: int
    verbatim_bytes: int
    verbatim_share: float
    longest: int
    passages: list[Passage]


def trace(index: SourceIndex, text: str, settings: TraceSettings) -> Trace:
    """Find the passages of a text that have at least `min_tokens` tokens, or are most of it.

    Raises UserError for a text that cannot be encoded.
    """
    found = _Search(index, text, settings)
    best = found.matches(text, 0)
    # A word in the middle of a text carries its space, and one at its beginning does not.
    if len(best[1]) <= SHORT and text[:1].strip() and not _covers(best[0], text):
        spaced = found.matches(" " + text, 1)
        if _covered(spaced[0]) > _covered(best[0]):
            best = spaced
    passages, matches = best
    passages.sort(key=lambda passage: (-passage.tokens, passage.start))
    size, verbatim = len(text.encode()), _covered_bytes(passages, text)
    return Trace(
        text_bytes=size,
        verbatim_bytes=verbatim,
        verbatim_share=round(verbatim / size, 6) if size else 0.0,
        longest=max(matches, default=0),
        passages=passages[: settings.top],
    )


class _Search:
    def __init__(self, index: SourceIndex, text: str, settings: TraceSettings) -> None:
        self.index, self.text, self.settings = index, text, settings
        self.tokenizer = index.store.tokenizer

    def matches(self, text: str, shift: int) -> tuple[list[Passage], list[int]]:
        """Return the passages that count, of a text whose first `shift` characters are added, and
        the lengths in tokens of all matches."""
        pieces = pieces_of_text(self.tokenizer, text)
        passages, lengths = list[Passage](), list[int]()
        for run in _runs(pieces):
            ids = [piece.id for piece in run]
            is_short = len(ids) <= SHORT
            for begin, end in maximal_matches(self.index.arrays, ids):
                lengths.append(end - begin)
                if is_short or end - begin >= self.settings.min_tokens:
                    passages += self._passage(run, begin, end, shift)
        return _none_within_another(passages), lengths

    def _passage(self, run: list[Piece], begin: int, end: int, shift: int) -> list[Passage]:
        ids = [piece.id for piece in run[begin:end]]
        # The first and the last token may be others where the same text goes on otherwise.
        edge = 1 if len(ids) >= 4 else 0
        most = max(EXAMINED, self.settings.places)
        count, at = self.index.occurrences(ids[edge : len(ids) - edge], most)
        if count > most:
            edge = 0
            count, at = self.index.occurrences(ids, most)
        start, stop = run[begin + edge].start, run[end - edge - 1].end
        if begin + edge and not run[begin + edge - 1].text and run[begin + edge].text:
            start += 1  # a character whose first bytes are not part of the match
        start, stop = max(start - shift, 0), max(stop - shift, 0)
        size = len(ids) - 2 * edge
        reach = [self._reach(self._stand(*place, size, NEIGHBOURS), start, stop) for place in at]
        left, right = max(reach, key=sum)
        wide = slice(start - left, stop + right)
        text = self.text[wide]
        share = len(text.strip()) / max(len(self.text.strip()), 1)
        if not text or (len(ids) < self.settings.min_tokens and share < MOST_OF_IT):
            return []
        same = [place for place, each in zip(at, reach, strict=True) if each == (left, right)]
        width = NEIGHBOURS + 4 * self.settings.context  # a character has up to four tokens
        places = [
            self._place(self._stand(*place, size, width), left, right)
            for place in same[: self.settings.places]
        ]
        occurrences = len(same) if count <= most else count
        return [Passage(wide.start, wide.stop, len(ids), text, occurrences, places)]

    def _stand(self, document: int, token: int, count: int, width: int) -> _Stand:
        """Return a match of `count` tokens in a document, with `width` tokens on each side."""
        split = self.index.store.train
        first, last = (int(place) for place in split.starts[document : document + 2])
        at = first + token
        ids = split.tokens[max(first, at - width) : at].tolist()
        after = split.tokens[at + count : min(last, at + count + width)].tolist()
        texts = (_text(self.tokenizer, some) for some in (ids, after))
        return _Stand(document, token, ids, *texts)

    def _reach(self, stand: _Stand, start: int, stop: int) -> tuple[int, int]:
        """Return how many more characters on each side are those of the text."""
        left = _shared(reversed(self.text[:start]), reversed(stand.before))
        return left, _shared(iter(self.text[stop:]), iter(stand.after))

    def _place(self, stand: _Stand, left: int, right: int) -> Place:
        before = stand.before[: len(stand.before) - left]
        added = stand.before[len(before) :]  # to the match, from the tokens before it
        token, byte, line = stand.token, None, None
        if self.tokenizer.tells_bytes:
            split = self.index.store.train
            first = int(split.starts[stand.document])
            ids = np.asarray(split.tokens[first : first + token])
            sizes, breaks = self.index.bytes_and_lines
            size = len(added.encode())
            byte = int(sizes[ids].sum()) - size
            line = 1 + int(breaks[ids].sum()) - added.count("\n")
            for id in reversed(stand.ids):
                if size <= 0:
                    break
                token, size = token - 1, size - int(sizes[id])
        width = self.settings.context
        return Place(
            stand.document,
            self.index.source(stand.document),
            token,
            byte,
            line,
            before[-width:] if width else "",
            stand.after[right:][:width],
        )


@dataclass(frozen=True)
class _Stand:
    """A match in a document, after `token` tokens; `ids` are some of these, `before` their text."""

    document: int
    token: int
    ids: list[int]
    before: str
    after: str


def _runs(pieces: list[Piece]) -> Iterator[list[Piece]]:
    """Yield the tokens between control tokens, which no training text holds."""
    for special, run in itertools.groupby(pieces, key=lambda piece: piece.special):
        if not special:
            yield list(run)


def _text(tokenizer: Tokenizer, ids: list[int]) -> str:
    if not tokenizer.tells_bytes:
        return tokenizer.decode(ids)
    return b"".join(tokenizer.token_bytes(id) or b"" for id in ids).decode("utf-8", "replace")


def _shared(ours: Iterator[str], theirs: Iterator[str]) -> int:
    pairs = zip(ours, theirs, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _none_within_another(passages: list[Passage]) -> list[Passage]:
    kept: list[Passage] = []
    for passage in sorted(passages, key=lambda one: (one.start, -one.end)):
        if not kept or passage.end > kept[-1].end:
            kept.append(passage)
    return kept


def _covers(passages: list[Passage], text: str) -> bool:
    return any(len(passage.text.strip()) == len(text.strip()) for passage in passages)


def _covered(passages: list[Passage]) -> int:
    return sum(passage.end - passage.start for passage in passages)


def _covered_bytes(passages: list[Passage], text: str) -> int:
    inside = np.zeros(len(text), np.bool_)
    for passage in passages:
        inside[passage.start : passage.end] = True
    return sum(len(letter.encode()) for letter in itertools.compress(text, inside))
