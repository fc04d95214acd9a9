"""The comparison of two checkouts' results finds what moved, and follows what was renamed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.support import result_compare
from tests.support.result_cases import CASES
from tests.support.result_compare import Comparison, renamed_command


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """A table of new names for one test."""
    table: dict[str, dict[str, str]] = {"files": {}, "keys": {}, "values": {}, "flags": {}}
    monkeypatch.setattr(result_compare, "RENAMED", table)
    return table


def compared(tmp_path: Path, before: Any, after: Any, new_name: str = "out.json") -> Comparison:
    for side, name, tree in (("before", "out.json", before), ("after", new_name, after)):
        (tmp_path / side / "run").mkdir(parents=True)
        (tmp_path / side / "run" / name).write_text(json.dumps(tree), "utf-8")
    found = Comparison()
    found.add_files("run/out.json", tmp_path / "before", tmp_path / "after")
    return found


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        ({"loss": 0.1}, {"loss": math.nextafter(0.1, 1)}, "run/out.json.loss"),
        ({"loss": 1}, {"loss": 1.0}, "run/out.json.loss"),
        ({"loss": 1}, {}, "run/out.json.loss"),
        ({}, {"loss": 1}, "run/out.json.loss"),
        ({"seeds": {}}, {}, "run/out.json.seeds"),
        ({"runs": [{"f1": [1, 2]}]}, {"runs": [{"f1": [1, 3]}]}, "run/out.json.runs[0].f1[1]"),
        ([1, 2], [1], "run/out.json[1]"),
        ({"loss": "1"}, {"loss": 1}, "run/out.json.loss"),
    ],
)
def test_whatever_moved_is_found(tmp_path: Path, before: Any, after: Any, path: str) -> None:
    assert [where for where, _, _ in compared(tmp_path, before, after).differences] == [path]


def test_equal_trees_are_equal_whatever_the_order_of_their_keys_and_their_times(
    tmp_path: Path,
) -> None:
    before = {"a": [1, 0.1, None, math.nan], "b": {"seconds": 3.1, "c": "d"}}
    after = {"b": {"c": "d", "seconds": 2.7}, "a": [1, 0.1, None, math.nan]}
    found = compared(tmp_path, before, after)
    assert (found.values, found.differences) == (5, [])


def test_a_file_that_only_one_side_wrote_is_a_difference(tmp_path: Path) -> None:
    found = compared(tmp_path, {"a": 1}, {"a": 1}, new_name="other.json")
    assert [path for path, _, _ in found.differences] == ["run/out.json"]
    with pytest.raises(ValueError, match="no command wrote run/none"):
        found.add_files("run/none", tmp_path / "before", tmp_path / "after")


def test_renamed_files_keys_and_values_must_hold_the_same(
    tmp_path: Path, renamed: dict[str, dict[str, str]]
) -> None:
    renamed["files"] = {"out.json": "predictions.json"}
    renamed["keys"] = {"twin": "seen", "out.json:loss": "nats", "seconds": "duration"}
    renamed["values"] = {"labels=several": "multi"}
    before = {"twin": 1, "loss": 2, "labels": "several", "text": "several", "seconds": 1}
    after = {"seen": 1, "nats": 3, "labels": "multi", "text": "several", "duration": 2}
    found = compared(tmp_path, before, after, "predictions.json")
    assert found.differences == [("run/predictions.json.nats", "2", "3")]


def test_two_keys_that_become_one_are_refused(
    tmp_path: Path, renamed: dict[str, dict[str, str]]
) -> None:
    renamed["keys"] = {"twin": "seen"}
    with pytest.raises(ValueError, match=r"two keys of out\.json"):
        compared(tmp_path, {"twin": 1, "seen": 2}, {"seen": 2})


def test_commands_are_said_in_the_new_words(renamed: dict[str, dict[str, str]]) -> None:
    renamed["flags"] = {"--beams": "--num-beams", "--extract": "", "--lora": "--adapter lora"}
    renamed["values"] = {"labels=several": "multi"}
    words = [
        "finetune",
        "several",
        "--labels",
        "several",
        "--num-beams",
        "3",
        "--extract",
        "--lora",
    ]
    new = ["finetune", "several", "--labels", "multi", "--num-beams", "3", "--adapter", "lora"]
    assert renamed_command(words) == new


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
