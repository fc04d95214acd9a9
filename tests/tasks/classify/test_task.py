from __future__ import annotations

from support.tasks import classifier

from nextword.tasks.classify.data import Labels
from nextword.tasks.records import Record


def test_a_text_that_is_too_long_is_cut_and_counted() -> None:
    task = classifier(Labels("single", ("even", "odd")), max_length=99)
    rows = [Record({"text": "word " * 2000}, "a"), Record({"text": "word"}, "b")]
    encoded = task.encode(task.read(rows, task.settings, labelled=False))
    assert encoded.lengths[0] == encoded.items[0].example.inputs == 99
    assert encoded.notes == ["1 of 2 texts are cut at 99 tokens (--max-length)"]
