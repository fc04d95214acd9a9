"""Which texts a record holds for `--task text`, in all the shapes that `prepare` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.prompts import as_records, read

from nextword.errors import UserError
from nextword.tasks.dataset import Dataset
from nextword.tasks.records import read_records

TEXTS = [f"The widow saw smoke above the wood. It was day {day}." for day in range(4)]


def read_file(path: Path, value: Any, **settings: Any) -> Dataset[str]:
    path.write_text(json.dumps(value), encoding="utf-8")
    return read("text", read_records([str(path)], "passages"), **settings)


@pytest.mark.parametrize("key", ["text", "content", "content_text"])
def test_messages_within_a_record_are_texts_and_empty_ones_are_counted(
    tmp_path: Path, key: str
) -> None:
    items = [{"id": number, key: text} for number, text in enumerate([*TEXTS, ""])]
    dataset = read_file(tmp_path / "a.json", {"name": "Friends", "messages": items})
    assert dataset.examples == TEXTS
    assert dataset.report.left_out_lines() == ["1 of 5 records left out: without text"]
    assert dataset.report.unused == {"name": 1, "id": 5}
    assert dataset.columns.settings == {"text_column": key}


def test_chapters_are_the_text_where_a_summary_stands_beside_them(tmp_path: Path) -> None:
    book = {"title": "B", "summary": "A blurb.", "chapters": [{"text": text} for text in TEXTS]}
    dataset = read_file(tmp_path / "a.json", [book, book])
    assert dataset.examples == TEXTS * 2 and set(dataset.report.unused) == {"title", "summary"}
    assert read_file(tmp_path / "a.json", [book], text_column="summary").examples == ["A blurb."]


def test_each_of_several_titles_is_a_text(tmp_path: Path) -> None:
    dataset = read_file(tmp_path / "a.json", {f"Chapter {n}": t for n, t in enumerate(TEXTS)})
    assert dataset.examples == TEXTS


def test_a_later_field_with_more_text_is_asked_about() -> None:
    rows = [{"text": "Short.", "notes": ""}] * 60 + [{"text": "Short.", "notes": TEXTS[0] * 9}] * 60
    with pytest.raises(UserError, match=r"no field is clearly the text .*notes"):
        read("text", as_records(*rows))
    dataset = read("text", as_records(*rows), text_column="text")
    assert dataset.examples == ["Short."] * 120 and dataset.report.unused == {"notes": 60}


def test_a_text_that_was_deleted_is_left_out_and_counted() -> None:
    dataset = read("text", as_records({"text": TEXTS[0]}, {"text": "[deleted]"}))
    assert dataset.examples == TEXTS[:1] and len(dataset.report.left_out) == 1
