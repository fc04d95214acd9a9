"""Words with tags: what is read, what is refused, and how entities are counted."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
from seqeval import metrics as seqeval
from seqeval.scheme import IOB2

from nextword.errors import UserError
from nextword.evaluation.entities import entities_of, entity_metrics, entity_reports, iob2
from nextword.settings import TaskSettings
from nextword.tasks.records import read_records
from nextword.tasks.tag.data import TaggedText, find_columns, joined, read_texts, words_of
from nextword.tasks.tag.task import tag_windows
from nextword.tokens.tokenizer_training import byte_tokenizer

SETTINGS = TaskSettings(task="tag")


def read(path: Path, content: str) -> list[TaggedText]:
    path.write_text(content, encoding="utf-8")
    found = read_records([str(path)], "tag")
    return read_texts(found, find_columns(found, SETTINGS, labelled=True))


def rows(*values: Any) -> str:
    return "\n".join(json.dumps(value, ensure_ascii=False) for value in values)


@pytest.mark.parametrize("strict", [False, True])
def test_precision_recall_and_f1_are_seqevals(strict: bool) -> None:
    chance = random.Random(3)
    pool = ["O", "B-a", "I-a", "B-b", "I-b"] + ([] if strict else ["E-a", "S-a", "S-b", "E-b"])
    for _ in range(60):
        truth = [chance.choices(pool, k=chance.randint(1, 9)) for _ in range(5)]
        said = [chance.choices(pool, k=len(tags)) for tags in truth]
        found = {name: metric.value for name, metric in entity_metrics(truth, said, None).items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if strict:
                given = {"strict F1": seqeval.f1_score(truth, said, mode="strict", scheme=IOB2)}
            else:
                report = seqeval.classification_report(truth, said, output_dict=True)
                for row in entity_reports(truth, said):
                    theirs = report[row.name]
                    assert (row.precision, row.recall) == pytest.approx(
                        (theirs["precision"], theirs["recall"])
                    )
                    assert (row.f1, row.examples) == pytest.approx(
                        (theirs["f1-score"], theirs["support"])
                    )
                given = {
                    "precision": seqeval.precision_score(truth, said),
                    "recall": seqeval.recall_score(truth, said),
                    "F1": seqeval.f1_score(truth, said),
                    "accuracy": seqeval.accuracy_score(truth, said),
                }
        assert {name: found[name] for name in given} == pytest.approx(given)


@pytest.mark.parametrize(
    "tags",
    [
        "I-x I-x B-x O I-y",  # IOB1
        "B-x I-x B-x O B-y",  # IOB2
        "B-x E-x S-x O S-y",  # BIOES
        "B-x L-x U-x O U-y",  # BILOU
        "B-x E-x S-x O S-y",  # BMES
    ],
)
def test_every_scheme_is_read_and_iob2_kept(tags: str) -> None:
    found = entities_of(tags.split())
    assert found == [("x", 0, 2), ("x", 2, 3), ("y", 4, 5)]
    assert iob2(found, 5) == ["B-x", "I-x", "B-x", "O", "B-y"]


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
        assert (text.words, text.tags, text.entities) == (same.words, same.tags, same.entities)


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("a.conll", "Ada B-p\nslept\n", r"a.conll:2: has 1 columns, the lines before it 2"),
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
        ("a.jsonl", rows({"tokens": ["a", " "], "tags": ["O", "O"]}), "holds an empty word"),
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


@pytest.mark.parametrize("causal", [True, False])
def test_every_word_is_read_once_however_long_the_text(causal: bool) -> None:
    text = "".join(f"w{number} " for number in range(200)).strip()
    tagged = TaggedText(text, words_of(text), [], "x:1")
    tokenizer = byte_tokenizer()
    made = tag_windows([tagged], tokenizer, 64, causal, tokenizer.end_id)
    read = [number for window in made for number in window.words.tolist()]
    assert sorted(read) == list(range(200)) and len(made) > 10
    for window in made:
        assert len(window.example.ids) <= 64
        for word, place in zip(window.words, window.read, strict=True):
            begin, end = tagged.words[word]
            edge = text[end - 1] if causal else (" " if begin else "") + text[begin]
            assert tokenizer.decode(window.example.ids[place : place + len(edge)]) == edge
