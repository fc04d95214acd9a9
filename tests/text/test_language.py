from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from nextword.text.language import NAMES, language

SENTENCES = {
    "en": "It is a truth universally acknowledged, that a single man must be in want of one.",
    "de": "Die Würde des Menschen ist unantastbar. Sie zu achten ist Verpflichtung aller.",
    "fr": "Longtemps, je me suis couché de bonne heure, et les yeux se fermaient dans la nuit.",
    "es": "En un lugar de la Mancha, de cuyo nombre no quiero acordarme, vivía un hidalgo.",
    "it": "Nel mezzo del cammin di nostra vita mi ritrovai per una selva oscura.",
    "pt": "A menina não queria ir para a escola, mas a mãe disse que ela tinha de ir com o irmão.",
    "nl": "Het was een koude dag in april en de klok sloeg dertien, maar niemand had het gehoord.",
    "ru": "Все счастливые семьи похожи друг на друга, каждая несчастлива по-своему, и это так.",
    "zh": "秦川雄帝宅，函谷壯皇居。",
    "ja": "吾輩は猫である。名前はまだ無い。",
    "ko": "모든 인간은 태어날 때부터 자유로우며",
    "ar": "يولد جميع الناس أحرارا متساوين في الكرامة",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι",
    "hi": "सभी मनुष्यों को गौरव और अधिकार",
    "code": "def f(x):\n    if x > 1:\n        return x\n    for i in range(3):\n        go(i)\n",
    "other": "12345 67890 !!! ???",
}


@pytest.mark.parametrize("code", SENTENCES)
def test_the_language_of_a_sentence_is_found(code: str) -> None:
    assert language(SENTENCES[code]) == code
    assert language(SENTENCES[code] * 3000) == code


def test_an_empty_text_has_no_language() -> None:
    assert language("") == language("\n") == "other"


def test_published_text_is_in_its_language(shared_data: Path) -> None:
    folder = shared_data / "multi30k"
    for code in ("en", "de"):
        lines = (folder / f"test_2016_flickr.{code}").read_text().splitlines()
        right = sum(language(line) == code for line in lines)
        assert right >= 0.97 * len(lines)  # of captions of ten words
        assert language("\n".join(lines)) == code


def test_a_few_words_that_could_be_of_any_language_are_called_unclear() -> None:
    assert language("Effektvoll, kolossal") == language("dynamite") == "unclear"
    assert language("zamba lurra etxean gizona " * 10) == "other"
    assert {language(text) for text in SENTENCES.values()} <= set(NAMES)


def test_sentences_of_film_reviews_are_english(shared_data: Path) -> None:
    lines = (shared_data / "sst2" / "dev.tsv").read_text().splitlines()
    texts = [line.split("\t")[0] for line in lines]
    found = Counter({"": 0})
    for text in texts:
        found[language(text)] += len(text)
    assert found["en"] >= 0.98 * found.total()
