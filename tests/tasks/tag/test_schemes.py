"""What tags mean is told by all of them together."""

from __future__ import annotations

from typing import Any

import pytest

from nextword.errors import UserError
from nextword.hub.heads import Outputs
from nextword.settings import TaskSettings
from nextword.tasks.dataset import Dataset
from nextword.tasks.records import Record
from nextword.tasks.tag.data import TaggedText
from nextword.tasks.tag.task import Tag

SETTINGS = TaskSettings(task="tag")


def records(*sentences: str) -> list[Record]:
    return [
        Record({"tokens": [f"w{n}" for n, _ in enumerate(tags.split())], "tags": tags.split()}, "a")
        for tags in sentences
    ]


def read(*sentences: str) -> Dataset[TaggedText]:
    return Tag.read(records(*sentences), SETTINGS)


@pytest.mark.parametrize(
    "tags",
    [
        "I-x I-x B-x O I-y",  # IOB1
        "B-x I-x B-x O B-y",  # IOB2
        "B-x E-x S-x O S-y",  # BIOES
        "B-x L-x U-x O U-y",  # BILOU
        "B_x I_x B_x o B_y",
        "b-x i-x b-x _ b-y",
        "B-x I-x B_x 0 B-y",
    ],
)
def test_every_scheme_of_entities_is_read_as_iob2(tags: str) -> None:
    (text,) = read(tags).examples
    assert text.tags == ["B-x", "I-x", "B-x", "O", "B-y"] and not text.plain


@pytest.mark.parametrize("outside", ["O", "o", "0", "_"])
def test_runs_of_one_tag_among_outsiders_are_entities(outside: str) -> None:
    dataset = read(f"PER PER {outside} PER", f"LOC PER {outside} {outside}")
    assert [text.tags for text in dataset.examples] == [
        ["B-PER", "I-PER", "O", "B-PER"],
        ["B-LOC", "B-PER", "O", "O"],
    ]
    assert dataset.report.notes.total() == 5 + 3 * (outside != "O")


def test_prefixes_without_a_kind_are_entities_of_one_kind() -> None:
    dataset = read("B I O B", "O O B O")
    assert dataset.examples[0].tags == ["B-entity", "I-entity", "O", "B-entity"]
    assert dataset.report.notes.total() == 4


@pytest.mark.parametrize(
    ("tags", "names"),
    [
        ("DET NOUN VERB PUNCT", ("DET", "NOUN", "PUNCT", "VERB")),
        ("D N V O ,", (",", "D", "N", "O", "V")),  # O is a part of speech there
        ("n v r w d a m q p u n v o", ("a", "d", "m", "n", "o", "p", "q", "r", "u", "v", "w")),
        ("DET NOUN _ PUNCT", ("DET", "NOUN", "PUNCT", "_")),
        ("B M E S S", ("B", "E", "M", "S")),  # where words begin and end
    ],
)
def test_parts_of_speech_are_plain_tags_of_words(tags: str, names: tuple[str, ...]) -> None:
    dataset = read(tags)
    (text,) = dataset.examples
    assert text.plain and text.tags == tags.split() and not dataset.report.notes
    assert Tag.outputs_of(dataset, None).names == names  # type: ignore[arg-type]


def test_a_model_s_tags_tell_what_those_of_other_data_are() -> None:
    def reread(names: tuple[str, ...], tags: str) -> list[str]:
        known = Outputs("single", names)
        reader = Tag.reader(records(tags), SETTINGS, labelled=True, outputs=known)
        return reader.read_all(records(tags)).examples[0].tags

    assert reread(("O", "B-PER", "I-PER"), "PER PER") == ["B-PER", "I-PER"]
    assert reread(("LOC", "O", "PER"), "PER PER O") == ["PER", "PER", "O"]


@pytest.mark.parametrize(
    ("sentences", "sentence"),
    [
        (("B-PER O", "O NOUN"), "tag 'NOUN' of word 2 is none of O, B-… and I-…"),
        (("3 0 1",), "tag '3' is a number, which does not say what it stands for"),
        (("DET DET",), "every word has the tag 'DET'"),
        (("O O",), "no word of any example is tagged"),
    ],
)
def test_tags_that_contradict_each_other_or_tell_nothing_stop(
    sentences: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        Tag.outputs_of(read(*sentences), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("tag", [None, "", 3, 3.0, True, ["O"]])
def test_what_is_no_tag_is_refused_with_its_place(tag: Any) -> None:
    rows = [*records("B-x O"), Record({"tokens": ["a", "b"], "tags": ["O", tag]}, "a.jsonl:2")]
    with pytest.raises(UserError, match=r"a\.jsonl:2: tag .* of word 2 is"):
        Tag.read(rows, SETTINGS)


def test_a_word_may_be_a_space() -> None:
    words = ["赵", "\u3000", " ", "New York"]
    tags = ["B-p", "O", "O", "B-q"]
    (text,) = Tag.read([Record({"tokens": words, "tags": tags}, "a")], SETTINGS).examples
    assert [text.text[begin:end] for begin, end in text.words] == words and text.tags == tags


def test_lists_that_a_table_holds_as_text_are_words_and_tags() -> None:
    row = {"tokens": "['Ada' 'slept']", "tags": "['B-p', 'O']"}
    (text,) = Tag.read([Record(row, "a.csv:2")], SETTINGS).examples
    assert (text.text, text.tags) == ("Ada slept", ["B-p", "O"])
