from __future__ import annotations

import pickle

from samples import PARAGRAPHS

from nextword.settings import PrepareSettings
from nextword.text.clean import clean
from nextword.text.document import Document
from nextword.text.duplicates import digest
from nextword.text.process import process


def test_a_document_is_cleaned_judged_and_signed() -> None:
    text = "\ufeffIt was  a bright cold day,\r\n" + PARAGRAPHS[0]
    done = process(Document(text, "a.txt"), PrepareSettings())
    assert (done.text, done.source, done.language, done.reason) == (
        clean(text),
        "a.txt",
        "en",
        None,
    )
    assert done.digest == digest(done.text) and done.signature is not None


def test_settings_leave_out_languages_and_bad_prose() -> None:
    german = Document(PARAGRAPHS[2], "a")
    assert process(german, PrepareSettings(languages=["en", "zh"])).reason == "language de"
    assert process(german, PrepareSettings(languages=["de"])).reason is None
    numbers = Document("1 2 3 4 5 6 7 " * 9, "a")
    reason = process(numbers, PrepareSettings(quality_filter=True)).reason
    assert reason == "quality: words too short or too long"
    assert process(Document("\x00\x01", "a"), PrepareSettings()).reason == "empty"
    assert process(Document("a\r", "a"), PrepareSettings(clean=False)).text == "a\r"


def test_signatures_are_made_where_they_are_needed() -> None:
    document = Document(PARAGRAPHS[0], "a")
    assert process(document, PrepareSettings(deduplicate="exact")).signature is None
    settings = PrepareSettings(deduplicate="none")
    assert process(document, settings, always_sign=True).signature is not None


def test_workers_can_send_it_back() -> None:
    done = process(Document(PARAGRAPHS[1], "a"), PrepareSettings())
    again = pickle.loads(pickle.dumps((process, done)))  # as a process pool does
    assert again[0] is process and again[1].text == done.text
