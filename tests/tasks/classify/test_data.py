"""What labels are read as, whatever they are written like, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextword.errors import UserError
from nextword.hub.heads import Outputs
from nextword.settings import TaskSettings
from nextword.tasks.classify.data import LabelledText, encode_label
from nextword.tasks.classify.task import Classify
from nextword.tasks.dataset import Dataset
from nextword.tasks.records import Record, read_records


def read(values: list[Any], place: str = "row {}", **settings: Any) -> Dataset[LabelledText]:
    records = [
        Record({"text": f"text {n}", "label": value}, place.format(n))
        for n, value in enumerate(values)
    ]
    return Classify.read(records, TaskSettings(task="classify", **settings))


def labels_from(values: list[Any], **settings: Any) -> Outputs:
    return Classify.outputs_of(read(values, **settings), None)  # type: ignore[arg-type]


def labels_in(values: list[Any], **settings: Any) -> list[Any]:
    return [example.label for example in read(values, **settings).examples]


def table(path: Path, rows: list[tuple[str, str]], delimiter: str) -> list[Record]:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("text", "label"), *rows])
    return read_records([str(path)])


@pytest.mark.parametrize("values", [["1.0", "0.0"], [1.0, 0.0], [1, 0], [1.0, "0"]])
def test_whole_numbers_are_classes_however_they_are_written(values: list[Any]) -> None:
    assert labels_from([values[n % 2] for n in range(10)]).names == ("0", "1")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["roads", "roads|water", "water", "water|parks", "parks"], ("parks", "roads", "water")),
        (["['a', 'b']", "['b']", "[]"], ("a", "b")),
        (["['a' 'b']", "['b']", "[]"], ("a", "b")),
        (["('a', 'b')", "{'b'}"], ("a", "b")),
        (["[ 3 10]", "[ 3]", "[10]"], ("3", "10")),
        (['["a", "b"]', '["b"]'], ("a", "b")),
        ([["a", ""], ["b"]], ("a", "b")),
        ([["1", 2.0], [2]], ("1", "2")),
    ],
)
def test_labels_that_are_joined_are_several(values: list[Any], names: tuple[str, ...]) -> None:
    dataset = read(values)
    labels = Classify.outputs_of(dataset, None)  # type: ignore[arg-type]
    assert labels.kind == "several" and labels.names == names
    for text in dataset.examples:
        held = np.flatnonzero(encode_label(labels, text))
        assert {names[number] for number in held} == set(text.names)


def test_a_list_that_cannot_be_read_stops() -> None:
    for damaged in ("['a', 'b", "['a', 'b' 'c']", "[joy, anger]"):
        values = ["['a']", damaged + ("]" if not damaged.endswith("]") else "")]
        with pytest.raises(UserError, match=r"row 1: label .*looks like a list and cannot"):
            read(values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            ["0.5", "1.5", "2.5", ["joy"]],
            r"row 3: label \['joy'\] is a list, and others are numbers",
        ),
        (["12.5%", "7.25%", "3.75%", 0.5], "row 3: label 0.5 is not in percent, as others are"),
        (["a|b", "b|c", "c|a", "a|d", "d|b", "x|y", "a", "b"], r"row 5: label 'x\|y' has marks"),
    ],
)
def test_one_label_unlike_all_others_does_not_decide_how_they_are_read(
    values: list[Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        read(values)


def test_a_list_where_each_text_has_one_label_holds_one() -> None:
    assert labels_in([["a"], "b", "['c']"], labels="single") == ["a", "b", "c"]
    with pytest.raises(UserError, match="row 1: holds 2 labels, where each text has one"):
        read(["a", ["a", "b"]], labels="single")


def test_names_with_a_comma_that_come_as_they_are_stay_classes() -> None:
    labels = labels_from(["York, UK", "Paris", "Lyon, France"] * 4)
    assert labels.kind == "single" and len(labels.names) == 3


def test_fractions_are_amounts() -> None:
    assert labels_from(["1.5", "2.25", "3", "0.1"]).kind == "amount"


@pytest.mark.parametrize(
    ("values", "amounts"),
    [
        (["3,5", "4,25", "2,75", "1"], [3.5, 4.25, 2.75, 1]),
        (["1.234,5", "12,25", "-0,5", "7"], [1234.5, 12.25, -0.5, 7]),
        (["1,234.5", "12.25", "0.5", "7"], [1234.5, 12.25, 0.5, 7]),
        (["1 234,5", "12,25", "0,5"], [1234.5, 12.25, 0.5]),
        (["1'234.5", "12.25", "0.75"], [1234.5, 12.25, 0.75]),
        (["12,5 %", "7,25%", "3,75 %"], [12.5, 7.25, 3.75]),
        (["5,5", "5,0", "0,5", "0,0", "3,3", "3,0"], [5.5, 5, 0.5, 0, 3.3, 3]),
    ],
)
def test_numbers_are_read_in_the_notation_of_their_column(
    values: list[str], amounts: list[float]
) -> None:
    dataset = read(values * 3)
    assert [text.label for text in dataset.examples] == amounts * 3
    assert sum(dataset.report.notes.values())


def test_a_decimal_comma_is_known_by_the_semicolons_of_its_file(tmp_path: Path) -> None:
    values = ["1,0", "1,5", "2,0", "2,5", "5,1", "5,2"]
    rows = [(f"text {n}; so", value) for n, value in enumerate(values)]
    settings = TaskSettings(task="classify")
    read_as = Classify.read(table(tmp_path / "a.csv", rows, ";"), settings)
    assert [text.label for text in read_as.examples] == [1, 1.5, 2, 2.5, 5.1, 5.2]
    with pytest.raises(UserError, match=r"'1,0' may be several labels \(1 and 0\) or the number 1"):
        Classify.read(table(tmp_path / "b.csv", rows, ","), settings)


def test_labels_that_can_be_read_in_two_ways_are_asked_for() -> None:
    values = ["1,2", "1", "2,3", "1,3", "3", "2"]
    with pytest.raises(UserError, match=r"row 0: .*1 and 2\) or .*1\.2; say --labels several or"):
        read(values)
    assert labels_from(values, labels="several").names == ("1", "2", "3")
    assert labels_in(values, labels="amount") == [1.2, 1, 2.3, 1.3, 3, 2]
    with pytest.raises(UserError, match=r"'1,234' may be the number 1\.234 or 1234"):
        read(["1,234", "5,678", "9,012", "3,141"])


def test_classes_and_several_labels_of_numbers_stay_what_they_are() -> None:
    assert labels_from(["1,2,3", "1", "2,3", "3"]).names == ("1", "2", "3")
    assert labels_from(["3,5", "4,5"] * 4).kind == "single"
    assert labels_in(["0,5", "1,5", "2,5"], labels="single") == ["0,5", "1,5", "2,5"]


def test_true_and_false_are_one_label_each_however_they_are_spelled() -> None:
    assert labels_from(["True", "true", "TRUE", True, "false", False]).names == ("false", "true")
    assert labels_from(["True", "False"]).names == ("False", "True")
    assert labels_from([True, False]).names == ("false", "true")
    assert labels_from(["yes", "no", "Yes"]).names == ("Yes", "no", "yes")


def test_labels_are_read_as_the_classes_that_a_model_knows() -> None:
    records = [Record({"text": "a", "label": v}, "a.csv:2") for v in ("True", "FALSE", True)]
    settings = TaskSettings(task="classify")
    known = Outputs("single", ("false", "true"))
    found = Classify.reader(records, settings, labelled=True, outputs=known).read_all(records)
    assert [text.label for text in found.examples] == ["true", "false", "true"]


def test_spaces_around_a_label_do_not_count_and_case_is_said() -> None:
    dataset = read(["Positive", "positive ", "\u3000negative"] * 3)
    assert {text.label for text in dataset.examples} == {"Positive", "positive", "negative"}
    ((note, count),) = dataset.report.notes.items()
    assert "only in upper and lower case" in note and count == 6


@pytest.mark.parametrize(
    ("values", "unknown"),
    [
        (["entailment", "neutral", "-", "neutral"], "-"),
        (["pos", -1, "neg", "pos"], "-1"),
        (["0", "1", "2"] * 20 + ["-1"], "-1"),
    ],
)
def test_labels_that_are_not_known_are_left_out_and_counted(
    values: list[Any], unknown: str
) -> None:
    dataset = read(values)
    assert len(dataset) == len(values) - 1
    (error,) = dataset.report.left_out.values()
    assert error.where == f"row {[str(v) for v in values].index(unknown)}"


def test_minus_one_and_a_dash_may_be_labels_like_others() -> None:
    assert labels_from([-1, 0, 1] * 5).names == ("-1", "0", "1")
    assert labels_from(["-1", "1"] * 5).names == ("-1", "1")
    assert labels_from(["+", "-", "o"] * 5).names == ("+", "-", "o")
    often = read([-1, 0, 1, 2] * 5)
    assert len(often) == 20 and often.report.notes.total() == 5
    pairs = [
        Record({"premise": "a", "hypothesis": "b", "label": label}, "x") for label in [0, 1, -1] * 5
    ]
    assert len(Classify.read(pairs, TaskSettings(task="classify"))) == 10
    with pytest.raises(UserError, match="no label that is known: all are -1"):
        read([-1, -1, -1])


@pytest.mark.parametrize("value", [{"joy": 0.5}, [["a"]], [None], ["a", float("nan")]])
def test_what_is_no_label_is_refused_with_its_place(value: Any) -> None:
    with pytest.raises(UserError, match="row 2: "):
        read([["a"], ["b"], value])


def test_amounts_are_encoded_as_they_are() -> None:
    dataset = read(["1.5", 2.25, "3", "0.1", "4.75"])
    labels = Classify.outputs_of(dataset, None)  # type: ignore[arg-type]
    encoded = np.concatenate([encode_label(labels, text) for text in dataset.examples])  # type: ignore[arg-type]
    assert encoded.tolist() == pytest.approx([1.5, 2.25, 3, 0.1, 4.75])
    json.dumps([text.label for text in dataset.examples])


@pytest.mark.parametrize(
    ("one", "none"),
    [
        ("{'joy', 'fear'}", "set()"),
        ("('joy', 'fear')", "()"),
        ("array(['joy', 'fear'], dtype=object)", "array([], dtype=object)"),
        ("{'joy': 1, 'fear': True, 'anger': 0}", "{'joy': 0, 'fear': 0.0}"),
        ({"joy": 1.0, "fear": 1.0, "anger": 0.0}, {"joy": 0.0}),
        ({"choices": ["joy", "fear"]}, {"choices": []}),
    ],
)
def test_labels_may_be_any_print_of_several_names(one: Any, none: Any) -> None:
    assert labels_in([one, "anger", none]) == [["joy", "fear"], ["anger"], []]


@pytest.mark.parametrize("flags", ["[0, 1, 0]", [1.0, 0.0, 0.0], [True, False, True]])
def test_flags_that_do_not_name_their_labels_are_refused(flags: Any) -> None:
    with pytest.raises(UserError, match="row 0: labels are lists of 3 flags"):
        labels_in([flags, [0, 0, 1], [1, 1, 0]])


@pytest.mark.parametrize("value", ["nan", "NaN", "<NA>", "#N/A", " #REF! "])
def test_what_programs_write_for_no_value_is_neither_a_label_nor_a_text(value: str) -> None:
    with pytest.raises(UserError, match=r"row 2: column 'label' is empty: it holds"):
        read(["a", "b", value])
    records = [Record({"text": text, "label": "a"}, f"row {text}") for text in ("one", value)]
    with pytest.raises(UserError, match="column 'text' is empty: it holds"):
        Classify.read(records, TaskSettings(task="classify"))


@pytest.mark.parametrize(
    ("text", "what"), [("b'caf\\xc3\\xa9'", "bytes"), ("['a', 'b']", "a list")]
)
def test_a_text_that_python_printed_of_something_else_is_refused(text: str, what: str) -> None:
    records = [Record({"text": text, "label": name}, "row 1") for name in "ab"]
    with pytest.raises(UserError, match=f"row 1: column 'text' holds {what} as text"):
        Classify.read(records, TaskSettings(task="classify"))


@pytest.mark.parametrize(("one", "other"), [("1", "１"), ("01", "1"), ("Yes", "yes")])
def test_names_that_people_mean_as_one_are_pointed_out(one: str, other: str) -> None:
    notes = read([one, other, "no"]).report.notes
    assert [count for note, count in notes.items() if "kept apart" in note] == [2]
