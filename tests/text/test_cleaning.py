from __future__ import annotations

import pickle
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
import samples
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import PARAGRAPHS

from nextword.settings import PrepareSettings
from nextword.text.cleaning import (
    LANGUAGES,
    clean,
    detect_language,
    process_document,
    quality_problem,
)
from nextword.text.document import Document
from nextword.text.duplicates import text_digest


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\r\nb\rc\n", "a\nb\nc\n"),
        ("a\x00b\x07\x1b[0m\x7f", "ab[0m"),
        ("\ufeffStart\u200b of\xad text", "Start of text"),
        ("cafe\u0301", "café"),
        ("a\x0cb\u2028c", "a\nb\nc"),
        ("  keep\t these \n\n\n spaces  ", "  keep\t these \n\n\n spaces  "),
        ("“quotes” — dashes…", "“quotes” — dashes…"),
        ("👨‍👩‍👧 می‌خواهم", "👨‍👩‍👧 می‌خواهم"),  # joiners carry meaning
        ("秦川雄帝宅，函谷壯皇居。", "秦川雄帝宅，函谷壯皇居。"),
        ("ｆｕｌｌ width ① ﬁ", "ｆｕｌｌ width ① ﬁ"),  # NFC, not NFKC
        ("", ""),
    ],
)
def test_text_is_written_one_way(before: str, after: str) -> None:
    assert clean(before) == after


@settings(max_examples=1000, deadline=None)
@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean(text)
    assert clean(once) == once and unicodedata.is_normalized("NFC", once)
    kept = (c for c in once if unicodedata.category(c) == "Cc")
    assert all(c in "\n\t" for c in kept)


def test_ascii_controls_alone_are_dropped_from_plain_text() -> None:
    text = "".join(map(chr, range(128)))
    assert clean(text).replace("\n", "").replace("\t", "") == text[32:127]


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
    assert detect_language(SENTENCES[code]) == code
    assert detect_language(SENTENCES[code] * 3000) == code


def test_an_empty_text_has_no_language() -> None:
    assert detect_language("") == detect_language("\n") == "other"


def test_published_text_is_in_its_language(shared_data: Path) -> None:
    folder = shared_data / "multi30k"
    for code in ("en", "de"):
        lines = (folder / f"test_2016_flickr.{code}").read_text().splitlines()
        right = sum(detect_language(line) == code for line in lines)
        assert right >= 0.97 * len(lines)  # of captions of ten words
        assert detect_language("\n".join(lines)) == code


def test_a_few_words_that_could_be_of_any_language_are_called_unclear() -> None:
    assert detect_language("Effektvoll, kolossal") == detect_language("dynamite") == "unclear"
    assert detect_language("zamba lurra etxean gizona " * 10) == "other"
    assert {detect_language(text) for text in SENTENCES.values()} <= set(LANGUAGES)


def test_sentences_of_film_reviews_are_english(shared_data: Path) -> None:
    lines = (shared_data / "sst2" / "dev.tsv").read_text().splitlines()
    texts = [line.split("\t")[0] for line in lines]
    found = Counter({"": 0})
    for text in texts:
        found[detect_language(text)] += len(text)
    assert found["en"] >= 0.98 * found.total()


PROSE = " ".join(samples.PARAGRAPHS[::2])


@pytest.mark.parametrize("text", [PROSE, samples.PARAGRAPHS[1], samples.TEXT])
def test_prose_passes(text: str) -> None:
    assert quality_problem(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" \n", "empty"),
        ("One two.", "too short"),
        ("=== *** --- ///" * 20 + " a b c d e f", "mostly symbols"),
        ("1 2 3 4 5 6 7 8 9 " * 9, "words too short or too long"),
        ("1999 2001 1543 1776 1848 1917 " * 3, "mostly numbers"),
        (f"{PROSE}\n" * 20, "repeated lines"),
        ("buy cheap pills now " * 50, "repeated phrases"),
        ("\n".join(f"Story number {n} begins like this ..." for n in range(9)), "lines cut short"),
    ],
)
def test_what_is_no_prose_is_named(text: str, reason: str) -> None:
    assert quality_problem(text) == reason


def test_published_books_and_poems_pass(shared_data: Path) -> None:
    for path in sorted((shared_data / "novels").glob("*.txt"))[:5]:
        assert quality_problem(path.read_text(encoding="utf-8-sig")) is None


def test_a_document_is_cleaned_judged_and_signed() -> None:
    text = "\ufeffIt was  a bright cold day,\r\n" + PARAGRAPHS[0]
    done = process_document(Document(text, "a.txt"), PrepareSettings())
    assert (done.text, done.source, done.language, done.reason) == (
        clean(text),
        "a.txt",
        "en",
        None,
    )
    assert done.digest == text_digest(done.text) and done.signature is not None


def test_settings_leave_out_languages_and_bad_prose() -> None:
    german = Document(PARAGRAPHS[2], "a")
    assert process_document(german, PrepareSettings(languages=["en", "zh"])).reason == "language de"
    assert process_document(german, PrepareSettings(languages=["de"])).reason is None
    numbers = Document("1 2 3 4 5 6 7 " * 9, "a")
    reason = process_document(numbers, PrepareSettings(quality_filter=True)).reason
    assert reason == "quality: words too short or too long"
    assert process_document(Document("\x00\x01", "a"), PrepareSettings()).reason == "empty"
    assert process_document(Document("a\r", "a"), PrepareSettings(clean=False)).text == "a\r"


def test_signatures_are_made_where_they_are_needed() -> None:
    document = Document(PARAGRAPHS[0], "a")
    assert process_document(document, PrepareSettings(deduplicate="exact")).signature is None
    settings = PrepareSettings(deduplicate="none")
    assert process_document(document, settings, always_sign=True).signature is not None


def test_workers_can_send_it_back() -> None:
    done = process_document(Document(PARAGRAPHS[1], "a"), PrepareSettings())
    again = pickle.loads(pickle.dumps((process_document, done)))  # as a process pool does
    assert again[0] is process_document and again[1].text == done.text
