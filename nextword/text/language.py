"""The language of a text, from its script and its commonest words. Small, fast and coarse."""

from __future__ import annotations

import re
from collections import Counter

_COMMON_SHARE = 0.12  # of the words; in running text a language's commonest are 0.3 to 0.6
_FEW_WORDS = 20  # of which that many need not be common ones
_SAMPLES, _SAMPLE = 4, 1000  # stretches of a text looked at, and their characters

_SCRIPTS = {  # name: ranges
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

_WORDS = {  # the commonest, in any order
    "en": "the of and to a in is that it was he for on with as his be at by i this had not are "
    "but from or have an they which one you were her all she there would their we him been "
    "has when who will no more if out so said what up its about into than them can only "
    "some could do my how your may too very than most just over such where now like even because "
    "between me us am did does many much well never every while these those",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch "
    "es an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über "
    "einen so zum war haben nur oder aber vor zur bis mehr durch man ich wir du",
    "fr": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce "
    "il sont avec son cette aux ses mais comme on ou leur elle était je vous nous tout y d "
    "l qu n s c",
    "es": "de la que el en y a los se del las un por con no una su para es al lo como más o pero "
    "sus le ha me si sin sobre este ya entre cuando todo esta ser son dos también fue "
    "había era muy",
    "it": "di che e la il un a per in una è non del con si da le al i dei nel come più alla "
    "della ma anche gli lo ha sono o se su questo ci io mi era delle nella ed lui cosa",
    "pt": "de a o que e do da em um para com não uma os no se na por mais as dos como mas ao ele "
    "das à seu sua ou quando muito nos já eu também só pelo pela até isso ela entre depois "
    "sem mesmo",
    "nl": "de en van ik te dat die in een hij het niet zijn is was op aan met als voor had er "
    "maar om hem dan zou of wat mijn men dit zo door over ze zich bij ook tot je mij uit "
    "der daar naar heb",
    "sv": "och i att en som på är av för med det till den har de inte om ett han men var jag sig "
    "från vi så kan när år under också efter eller nu sin där vid mot ska skulle",
    "da": "og i at en den til er som på de med han af for ikke der var mig sig men et har om vi "
    "min havde ham hun nu over da fra du ud sin dem os op man hans hvor eller hvad skal",
    "fi": "ja on ei se että hän oli en mutta kun niin joka ovat ole myös sen mitä jos vain minä "
    "ne kuin hänen tai nyt sitten olen",
    "pl": "w i na z do się nie że to jest o a jak po co ale przez od za był tak już dla czy "
    "tylko być jego ich który może przy",
    "cs": "a se v na je že o s z do i to k ve pro za by ale si po jako jsem jeho byl tak které "
    "který jsou nebo však",
    "tr": "ve bir bu da de için ile çok o ne gibi daha ama var kadar olarak sonra en olan diye "
    "mi ben değil her",
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
_LETTERS_OF_MANY = {"latin", "cyrillic"}
NAMES = [*sorted(_SCRIPTS.keys() - _LETTERS_OF_MANY | _WORDS.keys()), "code", "other", "unclear"]
_BY_WORD: dict[str, list[str]] = {}
for _name, _list in _WORDS.items():
    for _word in set(_list.split()):
        _BY_WORD.setdefault(_word, []).append(_name)

_WORD = re.compile(r"[^\W\d_]+")
_CODE = re.compile(
    r"^\s*(?:def |class |import |from \w+ import|return\b|#include|function\b|public |private |"
    r"static |const |let |var |if ?\(|for ?\(|while ?\(|else\b|try:|elif |@\w+|\}|\{|</?\w+>)|"
    r"[;{}]\s*$|\w+\([^)]*\):?$|^\s*[\w.]+ = ",
    re.M,
)


def language(text: str) -> str:
    """An ISO 639-1 code, "code" for a program, "other" if nothing fits, "unclear" for a few words
    in the letters of several languages."""
    sample = _sample(text)
    patterns = {"latin": _PATTERNS["latin"]} if sample.isascii() else _PATTERNS
    counts = Counter({name: len(pattern.findall(sample)) for name, pattern in patterns.items()})
    total = sum(counts.values())
    if total == 0:
        return "other"
    east = counts["zh"] + counts["ja"]
    if east > total / 2 and counts["ja"] > 0.05 * east:
        return "ja"
    script = max(counts, key=lambda name: counts[name])
    if script not in _LETTERS_OF_MANY:
        return script
    lines = [line for line in sample.splitlines() if line.strip()]
    if len(lines) > 3 and sum(bool(_CODE.search(line)) for line in lines) > 0.4 * len(lines):
        return "code"
    words = _WORD.findall(sample.lower())
    hits = Counter(name for word in words for name in _BY_WORD.get(word, ()))
    best, count = max(hits.items(), key=lambda item: (item[1], item[0] == "en"), default=("", 0))
    if best and count >= _COMMON_SHARE * len(words):
        return best
    return "other" if len(words) > _FEW_WORDS else "unclear"


def _sample(text: str) -> str:
    """Stretches from all over the text."""
    if len(text) <= _SAMPLES * _SAMPLE:
        return text
    step = (len(text) - _SAMPLE) // (_SAMPLES - 1)
    return "\n".join(text[at : at + _SAMPLE] for at in range(0, _SAMPLES * step, step))
