"""Telling apart the encodings with one byte a character, by the language that the text then is in.

The same byte is ő in one of them and õ in the next, ϋ or х in others. What tells them apart is
which letters a language has, how common they and its words are, and how people write words. Each
encoding is scored with each language that it was made for, as the logarithm of a likelihood.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from nextword.text.alphabets import LATIN, OTHERS, SHARES, WORDS
from nextword.text.cleaning import COMMON_WORDS

_WESTERN = ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "fi", "is", "ca", "sq", "et")
_CENTRAL = ("pl", "cs", "sk", "hu", "hr", "sl", "ro", "sq")
_CYRILLIC = ("ru", "uk", "be", "bg", "sr", "mk")
# Encoding: its languages. Of two that read a text the same way, the first is taken.
_LANGUAGES = {
    "cp1252": _WESTERN,
    "cp1250": _CENTRAL,
    "cp1254": ("tr",),
    "cp1257": ("lt", "lv", "et"),
    "cp1258": ("vi",),
    "iso8859_15": ("fr", "fi", "et"),
    "iso8859_2": _CENTRAL,
    "cp1251": _CYRILLIC,
    "koi8_r": ("ru", "bg"),
    "koi8_u": ("uk",),
    "iso8859_5": _CYRILLIC,
    "cp866": ("ru", "bg"),
    "mac_cyrillic": ("ru", "uk", "bg"),
    "cp1253": ("el",),
    "iso8859_7": ("el",),
    "cp1255": ("he",),
    "cp1256": ("ar", "fa", "ur"),
    "iso8859_6": ("ar",),
    "cp874": ("th",),
}
# Taken only where it is far better than any of these: its letters are their quotes and dashes.
_OF_MACS = {"mac_roman": ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "fi", "is")}
_MARKS = frozenset("\u200c\u200d‘’‚“”„‹›«»–—…°§·£€¥¢©®™¡¿\u00a0\u00ad½¼¾¹²³ºª•№´×±µ")
_LONE_WORDS = "àÀâáÁéÉèÈêóÓöíúåÅøØæőŐįĮ"  # letters beyond ASCII that are words
# Tones, vowels, and what parts letters of one word (Persian and Urdu)
_TONES = "\u200c\u200d\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0e00-\u0e7f"
_LETTER = r"[^\W\d_¹²³¼½¾ªºµ]"
_WORD = re.compile(rf"(?:{_LETTER}|[{_TONES}])+")
_REPEATED = re.compile(r"([^\x00-\x7f])\1{3,}")
_LONE = re.compile(  # a letter beyond ASCII that is no word, or stands beside a number
    rf"(?<![\w{_TONES}])(?![a-zA-Z]){_LETTER}(?:(?<![{_LONE_WORDS}])(?![\w.{_TONES}])|(?=\d))"
    rf"|(?<=\d)(?![a-zA-Z]){_LETTER}(?!\w)"
)
_MARK_INSIDE = (
    re.compile(  # a sign or a final letter within a word, or one that no word begins or ends with
        rf"(?:(?<={_LETTER})[^\w\s\x00-\x7f’‘·\xad{_TONES}]|[©®¹²³¼½¾])(?={_LETTER})"
        rf"|(?<={_LETTER})[‚„¿¡€]|ς(?={_LETTER})"
    )
)
_APOSTROPHE = re.compile(rf"(?<!\w)’(?={_LETTER}{{2}})")
_ASCII_LETTERS = re.compile("[A-Za-z]+")
_NEIGHBOURS = re.compile(rb"(?<=[\x00-\x7f]{6})[\x00-\x7f]{6,}(?=[\x00-\x7f]{6})")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")

_LEAST_LETTERS = 4  # of a script other than the Latin; with fewer nothing is concluded
_MOST_ODD = 0.05  # of the characters beyond ASCII, in text that people wrote
_MAY_HAVE_ODD = 5  # such characters, of which one may be odd: the sample cuts words

# Logarithms of likelihoods.
_FOREIGN = -9.0  # a letter that the language does not have
_MARK, _SYMBOL = -4.6, -12.0  # a punctuation mark, any other sign
_ODD = -8.0  # what people do not write: a mark inside of a word, two scripts in one
_CAPITAL = -2.0  # a capital after another letter, or a word in capitals
_LONE_LETTER = -4.0  # a word of one letter, where letters are not Latin
_BEFORE_WORD = -4.0  # an apostrophe that a word begins with
_COMMON = {1: 0.5, 2: 1.5}  # one of the commonest words, by its length
_COMMON_LONG = 2.5
_LEAST_FIT = -4.4  # a character beyond ASCII, where letters are not Latin: -3.3 in real text
_MARGIN = 3.5  # a reading this much behind the best is out of the question
_CLEAR = 4 * _MARGIN  # even where English around it speaks for another


@dataclass(frozen=True)
class Reading:
    """A text as an encoding reads it, taken for a language; `score` is a log-likelihood."""

    encoding: str
    language: str
    text: str
    score: float


@dataclass(frozen=True)
class _Language:
    logs: dict[str, float]  # of how common each letter beyond ASCII is
    plain: float  # the same of ASCII letters together
    words: frozenset[str]


@functools.cache
def _language(name: str) -> _Language:
    groups = (LATIN.get(name) or OTHERS[name]).split()
    shares = {
        letter: share
        for group, share in zip(groups, SHARES, strict=False)
        for letter in group.replace("-", "")
    }
    plain = math.log(1 - sum(shares.values())) if name in LATIN else 0.0
    words = frozenset((WORDS.get(name) or COMMON_WORDS.get(name, "")).split())
    return _Language({letter: math.log(share) for letter, share in shares.items()}, plain, words)


def likeliest(sample: bytes) -> list[Reading]:
    """Return the likeliest reading of `sample` as text that people write, none if it is no text.

    After it stands the next one with another text, where that is about as likely, or where the
    words beyond ASCII on their own are in another language than the English around them.
    """
    found = _near(readings(sample))
    if of_macs := _of_macs(sample, found):
        return of_macs
    words = _NEIGHBOURS.sub(b" ", sample)
    if len(found) != 1 or len(words) == len(sample):
        return found
    alone = readings(words)
    if not alone or alone[0].text == words.decode(found[0].encoding):
        return found
    other = replace(alone[0], text=sample.decode(alone[0].encoding))
    same = [reading.score for reading in alone if reading.encoding == found[0].encoding]
    is_clear = max(same, default=-math.inf) < other.score - _CLEAR
    return [other] if is_clear else [other, *found]


def _of_macs(sample: bytes, others: list[Reading]) -> list[Reading]:
    """Return the reading of a Mac before Unicode, if it is far better than the others, and better
    for the words beyond ASCII on their own too."""
    found = readings(sample, _OF_MACS)[:1]
    if not found or (others and found[0].score < others[0].score + _CLEAR):
        return []
    if sum(character > "\x7f" for character in found[0].text) < _LEAST_LETTERS:
        return []
    words = _NEIGHBOURS.sub(b" ", sample)
    alone, rivals = readings(words, _OF_MACS), readings(words)
    is_better = alone and (not rivals or alone[0].score > rivals[0].score + _MARGIN)
    return found if is_better else []


def _near(found: list[Reading]) -> list[Reading]:
    """Return the first of the readings, and the next one with another text if it is as likely."""
    near = [reading for reading in found if reading.score > found[0].score - _MARGIN]
    return found[:1] + [reading for reading in near if reading.text != found[0].text][:1]


def readings(sample: bytes, languages: Mapping[str, tuple[str, ...]] = _LANGUAGES) -> list[Reading]:
    """Return how `sample` can be read as text that people write, the likeliest first."""
    found = []
    for encoding, names in languages.items():
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        profile = _Profile(text, names)
        if profile.is_plausible:
            read = [Reading(encoding, name, text, profile.score(name)) for name in names]
            found += [reading for reading in read if reading.score >= profile.least]
    return sorted(found, key=lambda reading: -reading.score)


class _Profile:
    """What is counted in a text once, for all languages of an encoding."""

    def __init__(self, text: str, names: tuple[str, ...]) -> None:
        self._is_latin = names[0] in LATIN
        languages = [_language(name) for name in names]
        self._known_words = frozenset[str]().union(*(language.words for language in languages))
        self._plain = len(text) - len(_ASCII_LETTERS.sub("", text))
        self._words = Counter(_WORD.findall(text))
        alphabet = {letter for language in languages for letter in language.logs}
        beyond = Counter(character for character in text if character > "\x7f")
        self._letters = Counter[str]()
        marks = symbols = 0
        for character, count in beyond.items():
            letter = character if character in alphabet else character.lower()
            if letter in alphabet:
                self._letters[letter] += count
            elif character in _MARKS:
                marks += count
            else:
                symbols += count
        odd = self._odd_words() + len(_MARK_INSIDE.findall(text))
        odd += sum(len(run[0]) for run in _REPEATED.finditer(text))
        odd += len(_LONE.findall(text)) if self._is_latin else 0
        self._fixed = marks * _MARK + symbols * _SYMBOL + odd * _ODD + self._shapes()
        self._fixed += len(_APOSTROPHE.findall(text)) * _BEFORE_WORD
        most = max(_MOST_ODD * beyond.total(), beyond.total() >= _MAY_HAVE_ODD)
        enough = self._is_latin or self._letters.total() >= _LEAST_LETTERS
        self.least = -math.inf if self._is_latin else _LEAST_FIT * beyond.total()
        self.is_plausible = enough and symbols + odd <= most and not _CONTROL.search(text)

    def _odd_words(self) -> int:
        """Count words that nobody writes with these letters."""
        odd = 0
        for word, count in self._words.items():
            beyond = sum(letter > "\x7f" for letter in word)
            if self._is_latin:
                is_odd = beyond == len(word) > 1 and word.lower() not in self._known_words
            else:
                is_odd = 0 < beyond < len(word)
            odd += count * (is_odd or (beyond > 0 and _has_late_capital(word)))
        return odd

    def _shapes(self) -> float:
        """Score how words are written: their capitals, and letters that stand alone."""
        words = [(word, count) for word, count in self._words.items() if not word.isascii()]
        capitals = sum(
            count * (1 if word.isupper() else sum(map(str.isupper, word[1:])))
            for word, count in words
            if len(word) > 1
        )
        lone = 0 if self._is_latin else sum(count for word, count in words if len(word) == 1)
        return capitals * _CAPITAL + lone * _LONE_LETTER

    def score(self, name: str) -> float:
        """Return the logarithm of the text's likelihood in a language, but for a constant."""
        language = _language(name)
        logs = language.logs
        letters = sum(n * logs.get(letter, _FOREIGN) for letter, n in self._letters.items())
        common = sum(
            count * _COMMON.get(len(word), _COMMON_LONG)
            for word, count in self._words.items()
            if word.lower() in language.words
        )
        return self._fixed + letters + common + self._plain * language.plain


def _has_late_capital(word: str) -> bool:
    return any(one.islower() and other.isupper() for one, other in itertools.pairwise(word))
