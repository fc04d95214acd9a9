"""Words with tags: what is read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.records import read_records
from nextword.tasks.tag.data import TaggedText, joined, spans_of, words_of
from nextword.tasks.tag.task import Tag


def read(path: Path, content: str) -> list[TaggedText]:
    path.write_text(content, encoding="utf-8")
    return Tag.read(read_records([str(path)], Tag.text_files), TaskSettings(task="tag")).examples


def rows(*values: Any) -> str:
    return "\n".join(json.dumps(value, ensure_ascii=False) for value in values)


def test_conll_files_and_spans_of_characters_say_the_same(tmp_path: Path) -> None:
    conll = "-DOCSTART- -X- O\n\n# a comment\nAda X B-p\nThorne X I-p\nslept X O\n. X O\n\n"
    conll += "赵 X B-p\n明 X I-p\n"
    one, other = read(tmp_path / "a.conll", conll)
    assert (one.text, other.text) == ("Ada Thorne slept .", "赵明")
    assert one.place.endswith("a.conll:4") and other.place.endswith("a.conll:9")
    spans = [{"start": 0, "end": 10, "label": "p"}]
    texts = read(
        tmp_path / "b.jsonl",
        rows(
            {"text": "Ada Thorne slept .", "entities": spans},
            {"text": "赵明", "entities": [[0, 2, "p"]]},
        ),
    )
    words = {"tokens": ["Ada", "Thorne", "slept", "."], "tags": ["B-p", "I-p", "O", "O"]}
    texts += read(tmp_path / "c.jsonl", rows(words))
    for text, same in zip(texts, (one, other, one), strict=True):
        assert (text.words, text.tags) == (same.words, same.tags)
        assert spans_of(text, text.tags) == spans_of(same, same.tags)


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("a.conll", "Ada B-p\nslept\n", r"a.conll:2: has 1 column, the lines before it 2"),
        ("a.conll", "Ada B-p\n\nAda NOUN\n", r"a.conll:3: tag 'NOUN' of word 1 is none of O"),
        ("a.jsonl", rows({"text": "Ada", "entities": None}), "a.jsonl:1: is not a list"),
        ("a.jsonl", rows({"text": "Adas", "entities": [[0, 3, "p"]]}), "'Ada'.*inside a word"),
        ("a.jsonl", rows({"text": "Ada", "entities": [[0, 9, "p"]]}), "0 to 9 is not a part"),
        ("a.jsonl", rows({"text": "Ada", "entities": [[0, 3]]}), "without start, end and label"),
        (
            "a.jsonl",
            rows({"text": "Ada T", "entities": [[0, 5, "p"], [4, 5, "q"]]}),
            "'T' overlaps another",
        ),
        ("a.jsonl", rows({"tokens": ["a", "b"], "tags": ["O"]}), "holds 1 tags for 2 words"),
        ("a.jsonl", rows({"tokens": ["a", ""], "tags": ["O", "O"]}), "holds an empty word"),
    ],
)
def test_what_does_not_fit_is_named(file: str, content: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        read(tmp_path / file, content)


def test_words_are_found_in_either_script() -> None:
    text = "It's 3.5 km，到白鹭洲"
    pieces = [text[begin:end] for begin, end in words_of(text)]
    assert pieces == ["It", "'", "s", "3", ".", "5", "km", "，", "到", "白", "鹭", "洲"]
    assert joined(["The", "mill", "云", "岭", "."])[0] == "The mill云岭."
