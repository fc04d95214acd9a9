"""Names that may stand for no label at all."""

from __future__ import annotations

from typing import Any

import pytest

from nextword.errors import UserError
from nextword.hub.heads import OutputKind
from nextword.tasks.classify.formats import find_format, notes_of
from nextword.tasks.dataset import LeftOut


def placed(*values: Any) -> list[tuple[Any, str]]:
    return [(value, f"row {number}") for number, value in enumerate(values, start=1)]


@pytest.mark.parametrize("name", ["None", "null", "NULL", "N/A", "NA", "\\N", "?"])
def test_a_name_that_may_say_that_there_is_no_label_is_asked_about(name: str) -> None:
    labels = placed("good", "bad", name, "good", name)
    with pytest.raises(
        UserError, match=r"row 3: label .* may be a class, or say that .* \(2 of 5\)"
    ):
        find_format(labels, None)
    assert find_format(labels, "single").read(name, "row 3") == name
    with pytest.raises(UserError, match="say --labels several if it is a class"):
        find_format(placed(["good", name], ["bad"]), None)


def test_such_a_name_is_left_out_where_the_model_knows_no_such_class() -> None:
    labels, kind = placed("good", "bad", "None"), "single"
    with pytest.raises(LeftOut):
        find_format(labels, kind, classes=("bad", "good")).read("None", "row 3")
    assert find_format(labels, kind, classes=("None", "bad", "good")).read("None", "") == "None"


def test_none_in_lower_case_is_a_class_and_said_to_be() -> None:
    labels = placed("good", "none", "none")
    kind: OutputKind | None = None
    format_ = find_format(labels, kind)
    assert format_.read("none", "row 2") == "none"
    assert notes_of(format_, labels) == {"labels 'none', read as a class like the others": 2}


def test_lists_of_shares_do_not_say_what_they_stand_for() -> None:
    with pytest.raises(UserError, match="row 1: labels are lists of 2 shares"):
        find_format(placed([0.2, 0.8], [1.0, 0.0]), None)


def test_a_label_of_one_record_among_common_ones_is_said() -> None:
    labels = placed(*["good", "bad"] * 20, "40")
    note = "labels that stand in one record only (40)"
    assert notes_of(find_format(labels, None), labels) == {note: 1}
    assert not notes_of(find_format(labels[:-1], None), labels[:-1])
