from __future__ import annotations

from typing import Any

import pytest

from nextword.hub.heads import Outputs
from nextword.settings import TaskSettings
from nextword.tasks.classify.data import (
    LabelledText,
    encode_label,
    find_columns,
    kind_of,
    labels_of,
)
from nextword.tasks.records import Columns, Record


def labels_from(values: list[Any]) -> Outputs:
    texts = [LabelledText("x", None, value, "a") for value in values]
    return labels_of(texts, kind_of(texts))


@pytest.mark.parametrize("values", [["1.0", "0.0"], [1.0, 0.0], [1, 0]])
def test_whole_numbers_are_classes_however_they_are_written(values: list[Any]) -> None:
    assert labels_from([values[n % 2] for n in range(10)]).names == ("0", "1")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["roads", "roads|water", "water", "water|parks", "parks"], ("parks", "roads", "water")),
        (["['a', 'b']", "['b']", "[]"], ("a", "b")),
        ([["a", ""], ["b"]], ("a", "b")),
    ],
)
def test_labels_that_are_joined_are_several(values: list[Any], names: tuple[str, ...]) -> None:
    labels = labels_from(values)
    assert labels.kind == "several" and labels.names == names
    expected = 2 if values[0] == "['a', 'b']" else 1
    encoded = encode_label(labels, LabelledText("x", None, values[0], "a"))
    assert encoded.sum() == expected  # type: ignore[union-attr]


def test_names_with_a_comma_that_come_as_they_are_stay_classes() -> None:
    labels = labels_from(["York, UK", "Paris", "Lyon, France"] * 4)
    assert labels.kind == "single" and len(labels.names) == 3


def test_fractions_are_amounts() -> None:
    assert labels_from(["1.5", "2.25", "3", "0.1"]).kind == "amount"


@pytest.mark.parametrize(("one", "other"), [("question", "sentence"), ("premise", "hypothesis")])
def test_pairs_are_known_by_their_usual_names(one: str, other: str) -> None:
    rows = [Record({one: "a", other: "b", "label": "c"}, "a.csv:2")]
    columns = find_columns(rows, TaskSettings(task="classify"), labelled=True)
    assert columns == Columns({"text": one, "pair": other}, ["label"], "label_column")
