"""Words with tags, and the windows that long texts are cut into."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError, nearest
from nextword.evaluation.entities import OUTSIDE, entities_of, kinds_of
from nextword.terminal import count_of
from nextword.tokens.tokenizer import Tokenizer

# Written without spaces: ideographs, kana, and the scripts of Thailand, Laos, Burma and Cambodia.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003134f"
)
_WORD = re.compile(rf"[^\W_{UNSPACED}]+|\S")
_CLOSE = re.compile(rf"[{UNSPACED}\u3000-\u303f\uff00-\uffef]")
OVERLAP = 3  # of a window this part is in the one before too


@dataclass(frozen=True)
class TaggedText:
    """`words` [words] say where each begins and ends in the text; `tags` [words] are in IOB2, or
    `plain` ones of single words, empty where they are not known."""

    text: str
    words: list[tuple[int, int]]
    tags: list[str]
    place: str
    plain: bool = False

    @property
    def kinds(self) -> list[str]:
        """The kinds of entity that there are, or the plain tags."""
        return sorted(set(self.tags)) if self.plain else kinds_of(self.tags)


def spans_of(text: TaggedText, tags: Sequence[str]) -> list[dict[str, Any]]:
    """Return the entities that tags name, by characters of the text."""
    return [
        {"start": begin, "end": end, "label": kind, "text": text.text[begin:end]}
        for kind, first, stop in entities_of(tags)
        for begin, end in [(text.words[first][0], text.words[stop - 1][1])]
    ]


def tagged_words(text: TaggedText, tags: Sequence[str]) -> list[dict[str, Any]]:
    """Return each word with its tag, by characters of the text."""
    return [
        {"start": begin, "end": end, "label": tag, "text": text.text[begin:end]}
        for tag, (begin, end) in zip(tags, text.words, strict=True)
    ]


def words_of(text: str) -> list[tuple[int, int]]:
    """Return where each word begins and ends: a run of letters and digits, any other character by
    itself, and each one of scripts that are written without spaces."""
    return [match.span() for match in _WORD.finditer(text)]


def joined(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Join words to a text, and return where each stands in it: with spaces, but not between
    Chinese characters and their like."""
    text, places = "", []
    for word in words:
        if text and not (_CLOSE.match(text[-1]) or _CLOSE.match(word[0])):
            text += " "
        places.append((len(text), len(text) + len(word)))
        text += word
    return text, places


def begins_with_space(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer puts a space before every text, as Llama's older ones do."""
    return tokenizer.frame().space > 0


def pieces_of(texts: Sequence[TaggedText], tokenizer: Tokenizer) -> list[str]:
    """Return each word with what is between it and the one before; without, for a tokenizer that
    itself begins every text with a space."""
    alone = begins_with_space(tokenizer)
    pieces = []
    for text in texts:
        end = 0
        for begin, stop in text.words:
            pieces.append(text.text[begin if alone else end : stop])
            end = stop
    return pieces


def tags_for(texts: Sequence[TaggedText]) -> tuple[str, ...]:
    """Return O, then B- and I- of each kind of entity; or all plain tags. Raises UserError where
    there is nothing to tell apart."""
    kinds = sorted({kind for text in texts for kind in text.kinds})
    if any(text.plain for text in texts):
        if len(kinds) < 2:
            raise UserError(
                f"every word has the tag {kinds[0]!r}",
                where=texts[0].place,
                mend="give words of at least two tags",
            )
        return tuple(kinds)
    if not kinds:
        raise UserError(
            "no word of any example is tagged", where=texts[0].place, mend="give some entities"
        )
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in "BI"))


def tag_numbers(text: TaggedText, tags: Sequence[str]) -> list[int]:
    """Return the numbers of a text's tags. Raises UserError for a kind never seen in training."""
    known = {tag: number for number, tag in enumerate(tags)}
    if unknown := next((tag for tag in text.tags if tag not in known), None):
        name, names = (unknown, tags) if text.plain else (unknown[2:], kinds_of(tags))
        raise UserError(
            f"label {name!r} was never seen in training",
            where=text.place,
            mend=nearest(name, names),
        )
    return [known[tag] for tag in text.tags]


def windows(lengths: Sequence[int], room: int) -> list[tuple[int, int]]:
    """From which piece to before which each window goes, the pieces having these lengths: together
    at most `room`, of which a third is shared with the window before. One window for no pieces."""
    ends = np.cumsum(lengths)
    found = [(0, int(np.searchsorted(ends, room, "right")))]
    while found[-1][1] < len(ends):
        last = found[-1]
        shared = ends[last[1] - 1] - room // OVERLAP  # tokens before the next window
        first = max(int(np.searchsorted(ends, shared, "left")) + 1, last[0] + 1)
        first = min(first, last[1])
        before = ends[first - 1]
        found.append((first, int(np.searchsorted(ends, before + room, "right"))))
    return found


def best_window(spans: Sequence[tuple[int, int]], count: int, causal: bool) -> NDArray[np.int64]:
    """For each of `count` pieces the window that shows most of what is around it, [pieces]; to a
    decoder, of what is before it."""
    best = np.zeros(count, np.int64)
    most = np.full(count, -1)
    for number, (first, end) in enumerate(spans):
        at = np.arange(first, end)
        around = at - first if causal else np.minimum(at - first, end - 1 - at)
        better = around > most[first:end]
        best[first:end][better] = number
        most[first:end][better] = around[better]
    return best


def describe_tags(texts: Sequence[TaggedText], windows: int) -> list[str]:
    """Say how often each kind of entity or tag occurs, and whether texts are read in parts."""
    words = sum(len(text.words) for text in texts)
    if any(text.plain for text in texts):
        counts = Counter(tag for text in texts for tag in text.tags)
        what = f"{words:,} words, each with one of {len(counts)} tags"
    else:
        counts = Counter(kind for text in texts for kind, _, _ in entities_of(text.tags))
        what = f"{counts.total():,} entities of {len(counts)} kinds in {words:,} words"
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts.most_common(8))
    notes = [f"{what}: {kinds}"]
    if windows > len(texts):
        notes.append(f"{count_of(len(texts), 'text')} read in {windows:,} windows (--max-length)")
    return notes
