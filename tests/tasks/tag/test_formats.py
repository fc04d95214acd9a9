"""Entities as programs write them, and offsets as they count them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.dataset import Dataset
from nextword.tasks.records import Record, read_records
from nextword.tasks.tag.data import TaggedText, spans_of
from nextword.tasks.tag.task import Tag

SETTINGS = TaskSettings(task="tag")
TEXT = "Ada Thorne left 云岭 by boat."
FOUND = [(0, 10, "person"), (16, 18, "place")]


def read(rows: list[Any]) -> Dataset[TaggedText]:
    return Tag.read([Record(row, f"a.jsonl:{n}") for n, row in enumerate(rows, 1)], SETTINGS)


def read_file(path: Path, content: str) -> Dataset[TaggedText]:
    path.write_text(content, encoding="utf-8")
    return Tag.read(read_records([str(path)], Tag.text_files), SETTINGS)


def entities(dataset: Dataset[TaggedText], number: int = 0) -> list[tuple[int, int, str]]:
    text = dataset.examples[number]
    return [(one["start"], one["end"], one["label"]) for one in spans_of(text, text.tags)]


def studio(*annotators: list[Any], **more: Any) -> dict[str, Any]:
    """A task as Label Studio exports it."""
    work = [
        {
            "result": [
                {
                    "type": "labels",
                    "value": {
                        "start": start,
                        "end": end,
                        "text": TEXT[start:end],
                        "labels": [kind],
                    },
                }
                for start, end, kind in spans
            ],
            "was_cancelled": False,
        }
        | more
        for spans in annotators
    ]
    return {"id": 1, "data": {"text": TEXT}, "annotations": work, "predictions": []}


@pytest.mark.parametrize(
    "row",
    [
        {"text": TEXT, "label": [list(span) for span in FOUND]},
        {"text": TEXT, "labels": [list(span) for span in FOUND]},
        {
            "text": TEXT,
            "entities": [
                {"id": 0, "label": kind, "start_offset": start, "end_offset": end}
                for start, end, kind in FOUND
            ],
            "relations": [],
        },
        {
            "text": TEXT,
            "label": {"person": {"Ada Thorne": [[0, 9]]}, "place": {"云岭": [[16, 17]]}},
        },
        {"text": TEXT, "entities": str([list(span) for span in FOUND])},
        {
            "text": TEXT,
            "tokens": [{"text": "Ada", "start": 0, "end": 3, "id": 0}],
            "spans": [{"start": start, "end": end, "label": kind} for start, end, kind in FOUND],
        },
        {
            "text": TEXT,
            "entities": [
                {"offset": start, "length": end - start, "category": kind}
                for start, end, kind in FOUND
            ],
        },
        {
            "content": TEXT,
            "annotation": [
                {"label": [kind], "points": [{"start": a, "end": b - 1, "text": TEXT[a:b]}]}
                for a, b, kind in FOUND
            ],
        },
        {
            "text": TEXT,
            "entities": [
                {"start_idx": a, "end_idx": b - 1, "type": kind, "entity": TEXT[a:b]}
                for a, b, kind in FOUND
            ],
        },
        studio(FOUND),
        studio(FOUND, FOUND[::-1]),
    ],
)
def test_entities_are_read_as_programs_write_them(row: dict[str, Any]) -> None:
    assert entities(read([row])) == FOUND


def test_spacy_s_examples_are_read(tmp_path: Path) -> None:
    pairs = [[TEXT, {"entities": FOUND}], ["Nobody.", {"entities": []}]]
    for content in (pairs, {"classes": ["person"], "annotations": [*pairs, None]}):
        dataset = read_file(tmp_path / "train.json", json.dumps(content))
        assert entities(dataset) == FOUND and entities(dataset, 1) == []


def test_brat_s_annotations_are_read_beside_their_text(tmp_path: Path) -> None:
    text = f"A letter.\r\n{TEXT}\n"
    lines = [
        f"T{n}\t{kind} {start + 11} {end + 11}\t{TEXT[start:end]}"
        for n, (start, end, kind) in enumerate(FOUND)
    ]
    (tmp_path / "a.ann").write_text("\n".join([*lines, "R1\tnear Arg1:T0 Arg2:T1"]), "utf-8")
    (tmp_path / "a.txt").write_bytes(text.encode())
    (tmp_path / "annotation.conf").write_text("[entities]\nperson\n")
    expected = [(start + 11, end + 11, kind) for start, end, kind in FOUND]
    for name in (tmp_path, tmp_path / "a.txt", tmp_path / "a.ann"):
        dataset = Tag.read(read_records([str(name)], Tag.text_files), SETTINGS)
        assert len(dataset) == 1 and entities(dataset) == expected
        assert dataset.report.unused == {"relations": 1}
    (tmp_path / "a.ann").write_text("T1\tperson 0 3;4 10\tAda Thorne\n")
    with pytest.raises(UserError, match=r"a\.ann:1: is an entity in several parts"):
        Tag.read(read_records([str(tmp_path)], Tag.text_files), SETTINGS)
    (tmp_path / "b.ann").write_text("")
    with pytest.raises(UserError, match=r"b\.ann: is without its text; put b\.txt"):
        read_records([str(tmp_path / "b.ann")], Tag.text_files)


def test_label_studio_s_columns_are_known_again() -> None:
    named = TaskSettings(task="tag", text_column="data.text", label_column="annotations")
    records = [Record(studio(FOUND), "a.json:record 1")]
    assert entities(Tag.read(records, named)) == FOUND
    (text,) = Tag.read([Record({"data.text": TEXT}, "a")], named, labelled=False).examples
    assert text.text == TEXT


def test_annotations_that_differ_are_refused_and_missing_ones_left_out() -> None:
    with pytest.raises(UserError, match="holds 2 annotations that differ; keep one, or mark it"):
        read([studio(FOUND, FOUND[:1])])
    chosen = studio(FOUND, FOUND[:1])
    chosen["annotations"][1]["ground_truth"] = True
    assert entities(read([chosen])) == FOUND[:1]
    dataset = read([studio(FOUND), studio(), studio(FOUND, was_cancelled=True)])
    assert len(dataset) == 1
    assert sorted(error.what for error in dataset.report.left_out.values()) == [
        "that nobody has annotated",
        "whose annotation was cancelled",
    ]


def test_data_that_nobody_has_annotated_is_named() -> None:
    with pytest.raises(UserError, match="holds no example: all are records that nobody has anno"):
        read([studio(), studio()])


def test_what_is_not_read_of_entities_is_counted() -> None:
    row = {"text": TEXT, "entities": [{"start": 0, "end": 3, "label": "x", "source": "me"}]}
    twice = {"text": TEXT, "entities": [[0, 3, "x"], [0, 3, "x"]]}
    report = read([row, twice]).report
    assert report.unused == {"entities: source": 1}
    assert report.notes == {"entities that stand twice, read once": 1}


SMILE = "\N{GRINNING FACE}"
COUNTED = {
    "UTF-16 units": lambda text, at: len(text[:at].encode("utf-16-le")) // 2,
    "bytes of UTF-8": lambda text, at: len(text[:at].encode()),
}
SAYINGS = [
    f"{SMILE}陈雨 met {SMILE * 2}赵明.",
    f"陈雨{SMILE} and {SMILE}赵明.",
    "陈雨 und 赵明.",
]


def told(text: str, first: int, last: int, unit: Any, *, surfaces: bool = True) -> dict[str, Any]:
    found = []
    for name in ("陈雨", "赵明"):
        at = text.index(name)
        ends = unit(text, at) + first, unit(text, at + len(name)) + last
        found.append(dict(zip(("start", "end", "label"), (*ends, "person"), strict=True)))
        if surfaces:
            found[-1]["text"] = name
    return {"text": text, "entities": found}


@pytest.mark.parametrize("unit", COUNTED)
@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, -1), (1, 1), (1, 0)])
def test_offsets_are_moved_to_where_an_entity_s_own_text_stands(
    unit: str, first: int, last: int
) -> None:
    rows = [told(text, first, last, COUNTED[unit]) for text in SAYINGS]
    rows.append(told(SAYINGS[0], first, last, COUNTED[unit], surfaces=False))
    dataset = read(rows)
    for text in dataset.examples:
        assert [one["text"] for one in spans_of(text, text.tags)] == ["陈雨", "赵明"]
    ((note, count),) = dataset.report.notes.items()
    moved = sum(
        (one["start"], one["end"]) != (row["text"].index(name), row["text"].index(name) + 2)
        for row in rows
        for one, name in zip(row["entities"], ("陈雨", "赵明"), strict=True)
    )
    assert count == moved and note.startswith("offsets counted in ") and note.endswith(", moved")


def test_one_text_s_own_way_of_counting_is_found() -> None:
    rows = [told(SAYINGS[2], 0, 0, COUNTED["UTF-16 units"])]
    rows += [told(SAYINGS[2], 1, 1, len_of), told(SAYINGS[2], 0, -1, len_of)]
    dataset = read(rows)
    for text in dataset.examples:
        assert [one["text"] for one in spans_of(text, text.tags)] == ["陈雨", "赵明"]
    assert sorted(dataset.report.notes.values()) == [2, 2]


def len_of(text: str, at: int) -> int:
    return at


def test_an_entity_that_stands_elsewhere_is_refused_with_both_readings() -> None:
    row = {"text": TEXT, "entities": [{"start": 0, "end": 3, "label": "x", "text": "Thorne"}]}
    with pytest.raises(UserError) as raised:
        read([row])
    assert "a.jsonl:1: entity 0 to 3 is 'Ada' there, but its own text is 'Thorne', which stands at "
    assert (
        "entity 0 to 3 is 'Ada' there, but its own text is 'Thorne', which stands at 4 to 10"
        in (str(raised.value))
    )


def test_an_entity_s_own_text_may_differ_in_case_and_spaces() -> None:
    spans = [{"start": 0, "end": 10, "label": "person", "word": " ada  thorne"}]
    dataset = read([{"text": TEXT, "entities": spans}])
    assert entities(dataset) == FOUND[:1] and not dataset.report.notes


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["Ada"], "without start, end and label"),
        ([{"start": "0", "end": "3", "label": "x"}], "without start, end and label"),
        ([{"start": 0, "end": 3, "label": ["x", "y"]}], "without start, end and label"),
        ({"person": [[0, 3]]}, "the entities of 'person' are not written by their text"),
        ({"person": {"Ada": [[0]]}}, "the entities of 'person' are not written by their text"),
        ("[[0, 3, 'x'", "is not a list of entities"),
    ],
)
def test_what_are_no_entities_is_refused(given: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read([{"text": TEXT, "entities": given}])


def test_a_text_without_annotations_beside_others_that_have_them_is_named(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("Ada slept.", encoding="utf-8")
    (tmp_path / "a.ann").write_text("T1\tPER 0 3\tAda\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"b\.txt: is without its annotations.*put b\.ann beside"):
        read_records([str(tmp_path)], "conll")
    (tmp_path / "b.ann").write_text("", encoding="utf-8")
    assert len(read_records([str(tmp_path)], "conll")) == 2


def test_words_with_their_tags_after_a_slash_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Ada/NNP slept/VBD ./.\n" * 3, encoding="utf-8")
    (record,) = read_records([str(path)], "conll")
    assert record.error is not None and "tags after a slash" in record.error.what
