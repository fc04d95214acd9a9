"""What each document goes through on its own: cleaning, its language, whether it reads as prose.

Cleaning writes the same text one way: Unicode NFC, Unix line ends, no control characters. The
language is told by a text's script and commonest words: small, fast and coarse. The quality filter
has the rules of Gopher (Rae et al. 2021, table A1) and of C4 (Raffel et al. 2020), with thresholds
loosened for short texts and with characters in place of words for Chinese.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.settings import PrepareSettings
from nextword.text.document import Document
from nextword.text.duplicates import minhash_signature, text_digest

# Controls, and marks that show nothing: byte order mark, soft hyphen, directions, interlinear
# marks, tags. Joiners (U+200C, U+200D) and variation selectors stay: scripts and emoji need them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064"
    "\u2066-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]+"
)
_LINE_ENDS = re.compile("[\x0b\x0c\x85\u2028\u2029]")
_PLAIN_ASCII = bytes([9, 10, *range(32, 127)])

_COMMON_WORDS_SHARE = 0.12  # of all words; in running text a language's commonest are 0.3 to 0.6
_FEW_WORDS = 20  # in a text so short its words need not be common ones
_SAMPLES, _SAMPLE_CHARACTERS = 4, 1000  # excerpts of a text looked at, and their length

_SCRIPTS = {  # language or alphabet: ranges
    "ja": "\u3040-\u30ff",
    "ko": "\uac00-\ud7a3\u1100-\u11ff",
    "zh": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f",
    "cyrillic": "\u0400-\u052f",
    "ar": "\u0600-\u06ff",
    "he": "\u0590-\u05ff",
    "el": "\u0370-\u03ff\u1f00-\u1fff",
    "hi": "\u0900-\u097f",
    "bn": "\u0980-\u09ff",
    "ta": "\u0b80-\u0bff",
    "th": "\u0e00-\u0e7f",
    "ka": "\u10a0-\u10ff",
    "hy": "\u0530-\u058f",
    "latin": "A-Za-z\u00c0-\u024f\u1e00-\u1eff",
}
_PATTERNS = {name: re.compile(f"[{ranges}]") for name, ranges in _SCRIPTS.items()}

COMMON_WORDS = {  # the commonest, in any order
    "en": "the of and to a in is that it was he for on with as his be at by i this had not are but "
    "from or have an they which one you were her all she there would their we him been has when "
    "who will no more if out so said what up its about into than them can only some could do my "
    "how your may too very than most just over such where now like even because between me us am "
    "did does many much well never every while these those",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch "
    "es an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen so "
    "zum war haben nur oder aber vor zur bis mehr durch man ich wir du",
    "fr": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce "
    "il sont avec son cette aux ses mais comme on ou leur elle était je vous nous tout y d l qu n "
    "s c",
    "es": "de la que el en y a los se del las un por con no una su para es al lo como más o pero "
    "sus le ha me si sin sobre este ya entre cuando todo esta ser son dos también fue había era "
    "muy",
    "it": "di che e la il un a per in una è non del con si da le al i dei nel come più alla della "
    "ma anche gli lo ha sono o se su questo ci io mi era delle nella ed lui cosa",
    "pt": "de a o que e do da em um para com não uma os no se na por mais as dos como mas ao ele "
    "das à seu sua ou quando muito nos já eu também só pelo pela até isso ela entre depois sem "
    "mesmo",
    "nl": "de en van ik te dat die in een hij het niet zijn is was op aan met als voor had er maar "
    "om hem dan zou of wat mijn men dit zo door over ze zich bij ook tot je mij uit der daar naar "
    "heb",
    "sv": "och i att en som på är av för med det till den har de inte om ett han men var jag sig "
    "från vi så kan när år under också efter eller nu sin där vid mot ska skulle",
    "da": "og i at en den til er som på de med han af for ikke der var mig sig men et har om vi "
    "min havde ham hun nu over da fra du ud sin dem os op man hans hvor eller hvad skal",
    "fi": "ja on ei se että hän oli en mutta kun niin joka ovat ole myös sen mitä jos vain minä ne "
    "kuin hänen tai nyt sitten olen",
    "pl": "w i na z do się nie że to jest o a jak po co ale przez od za był tak już dla czy tylko "
    "być jego ich który może przy",
    "cs": "a se v na je že o s z do i to k ve pro za by ale si po jako jsem jeho byl tak které "
    "který jsou nebo však",
    "tr": "ve bir bu da de için ile çok o ne gibi daha ama var kadar olarak sonra en olan diye mi "
    "ben değil her",
    "ro": "de și în a la nu o că cu pe un este să din se mai care ce pentru au sunt fost ca lui "
    "era",
    "hu": "a az és hogy nem is egy ez meg van volt csak de el már még mint ki ha azt vagy mert",
    "vi": "và của là có không được một cho trong người các những với này để khi đã ra đó như",
    "id": "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena ada "
    "mereka sudah atau kita bisa",
    "la": "et in est non ad ut cum qui quod si sed ex quae per nec a esse sunt de ab hoc enim "
    "atque",
    "ru": "и в не на я что он с как а то это по но они к у за из от так о же для вы мы все было "
    "она",
    "uk": "і в не на що я з у та це як до є він а за про його ми від то але ви так для вона",
    "bg": "и на да се в е за от не с че по са като си това но до той беше съм ще аз",
}
_SHARED_SCRIPTS = {"latin", "cyrillic"}
LANGUAGES = [
    *sorted(_SCRIPTS.keys() - _SHARED_SCRIPTS | COMMON_WORDS.keys()),
    "code",
    "other",
    "unclear",
]
_LANGUAGES_OF_WORD: dict[str, list[str]] = {}
for _language, _common_words in COMMON_WORDS.items():
    for _word in set(_common_words.split()):
        _LANGUAGES_OF_WORD.setdefault(_word, []).append(_language)

_LETTERS = re.compile(r"[^\W\d_]+")
_CODE = re.compile(
    r"^\s*(?:def |class |import |from \w+ import|return\b|#include|function\b|public |private |"
    r"static |const |let |var |if ?\(|for ?\(|while ?\(|else\b|try:|elif |@\w+|\}|\{|</?\w+>)|"
    r"[;{}]\s*$|\w+\([^)]*\):?$|^\s*[\w.]+ = ",
    re.M,
)

_JUDGED_CHARACTERS = 200_000  # of a text
_WORD = re.compile(r"\w+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff]")


def clean(text: str) -> str:
    """Return `text` in NFC with "\\n" for every line end, without control and invisible characters.

    Nothing else changes: spaces, tabs and empty lines stay as they are.
    """
    # Only what is not plain ASCII is searched: most text has little of it.
    rest = text.encode("utf-8", "surrogatepass").translate(None, _PLAIN_ASCII)
    if not rest:
        return text
    unusual = rest.decode("utf-8", "surrogatepass")
    if "\r" in unusual:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _LINE_ENDS.search(unusual):
        text = _LINE_ENDS.sub("\n", text)
    if _INVISIBLE.search(unusual):
        text = _INVISIBLE.sub("", text)
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    return text


def detect_language(text: str) -> str:
    """Return an ISO 639-1 code; "code" for a program, "other" if no language fits, "unclear" for a
    few words in an alphabet that several languages share."""
    excerpt = _excerpt(text)
    patterns = {"latin": _PATTERNS["latin"]} if excerpt.isascii() else _PATTERNS
    counts = Counter({name: len(pattern.findall(excerpt)) for name, pattern in patterns.items()})
    total = sum(counts.values())
    if total == 0:
        return "other"
    chinese_or_japanese = counts["zh"] + counts["ja"]
    if chinese_or_japanese > total / 2 and counts["ja"] > 0.05 * chinese_or_japanese:
        return "ja"
    script = max(counts, key=lambda name: counts[name])
    if script not in _SHARED_SCRIPTS:
        return script
    lines = [line for line in excerpt.splitlines() if line.strip()]
    if len(lines) > 3 and sum(bool(_CODE.search(line)) for line in lines) > 0.4 * len(lines):
        return "code"
    words = _LETTERS.findall(excerpt.lower())
    hits = Counter(language for word in words for language in _LANGUAGES_OF_WORD.get(word, ()))
    best, count = max(hits.items(), key=lambda item: (item[1], item[0] == "en"), default=("", 0))
    if best and count >= _COMMON_WORDS_SHARE * len(words):
        return best
    return "other" if len(words) > _FEW_WORDS else "unclear"


def _excerpt(text: str) -> str:

    if len(text) <= _SAMPLES * _SAMPLE_CHARACTERS:
        return text
    step = (len(text) - _SAMPLE_CHARACTERS) // (_SAMPLES - 1)
    starts = range(0, _SAMPLES * step, step)
    return "\n".join(text[start : start + _SAMPLE_CHARACTERS] for start in starts)


def quality_problem(text: str) -> str | None:
    """Return why `text` does not read as prose, or None if it does."""
    text = text[:_JUDGED_CHARACTERS]
    cjk = len(_CJK.findall(text))
    words = _WORD.findall(text)
    visible = len(text) - sum(map(text.count, " \n\t"))
    if visible == 0:
        return "empty"
    if cjk + len(words) < 5:
        return "too short"
    if sum(map(len, words)) < 0.6 * visible:
        return "mostly symbols"
    if cjk < 0.3 * visible:
        mean = sum(map(len, words)) / len(words)
        if not 2 <= mean <= 14:
            return "words too short or too long"
        if sum(any(map(str.isalpha, word)) for word in words) < 0.7 * len(words):
            return "mostly numbers"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if sum(line.endswith(("...", "…")) for line in lines) > 0.3 * len(lines):
        return "lines cut short"
    if sum(line.startswith(("•", "‣", "◦", "- ", "* ")) for line in lines) > 0.9 * len(lines) > 5:
        return "a list"
    repeated = sum(len(line) * (count - 1) for line, count in Counter(lines).items())
    if repeated > 0.3 * visible and len(lines) > 5:
        return "repeated lines"
    units = list(text) if cjk >= 0.3 * visible else words
    if len(units) > 50 and max(_top_ngram_share(units, n) for n in (2, 3, 4)) > 0.2:
        return "repeated phrases"
    return None


def _top_ngram_share(units: list[str], length: int) -> float:
    """Return the share of `units` that the most frequent n-gram of `length` covers."""
    ngrams = Counter(zip(*(units[start:] for start in range(length)), strict=False))
    return ngrams.most_common(1)[0][1] * length / len(units)


@dataclass(slots=True)
class ProcessedDocument:
    """A cleaned document, and what selection and de-duplication need to know of it."""

    text: str
    source: str
    language: str
    reason: str | None  # why it is to be left out; None if it is not
    digest: bytes  # [16]
    signature: NDArray[np.uint16] | None  # [128]


def process_document(
    document: Document, settings: PrepareSettings, *, always_sign: bool = False
) -> ProcessedDocument:
    """Clean a document, judge it, and hash it for de-duplication.

    Its MinHash signature is computed where near duplicates are dropped, or with `always_sign`.
    """
    text = clean(document.text) if settings.clean else document.text
    language = detect_language(text)
    reason = None
    if not text or text.isspace():
        reason = "empty"
    elif settings.languages and language not in settings.languages:
        reason = f"language {language}"
    elif settings.quality_filter and (problem := quality_problem(text)):
        reason = f"quality: {problem}"
    signature = None
    if reason is None and (always_sign or settings.deduplicate == "near"):
        signature = minhash_signature(text)
    return ProcessedDocument(text, document.source, language, reason, text_digest(text), signature)
