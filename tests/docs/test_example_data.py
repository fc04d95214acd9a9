"""The small data sets that the documentation's commands run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextword.settings import TaskSettings
from nextword.tasks.classify.data import labels_of
from nextword.tasks.classify.task import Classify
from nextword.tasks.records import read_records
from nextword.tasks.tag.task import Tag

DATA = Path(__file__).parents[2] / "examples" / "data"
FILES = sorted(path.name for path in DATA.iterdir() if path.suffix != ".md")
LINES = ("translate.en", "translate.zh")
PROSE = ("reader.txt",)


@pytest.mark.parametrize("file", [file for file in FILES if file not in PROSE])
def test_rows_are_distinct_and_neither_few_nor_many(file: str) -> None:
    if file in LINES:
        rows = (DATA / file).read_text(encoding="utf-8").splitlines()
    else:
        text_files = Tag.text_files if file.endswith(".conll") else None
        rows = [str(record.values) for record in read_records([str(DATA / file)], text_files)]
    assert 20 <= len(rows) == len(set(rows)) <= 200


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_every_file_is_described(page: str) -> None:
    text = (DATA / page).read_text(encoding="utf-8")
    assert not [name for name in FILES if f"`{name}`" not in text]


@pytest.mark.parametrize(
    ("file", "kind", "names"),
    [
        ("classify.csv", "single", ("complaint", "notice", "praise")),
        ("classify.zh.csv", "single", ("好评", "差评")),
        ("pairs.csv", "single", ("different", "same")),
        ("topics.jsonl", "several", ("market", "roads", "school", "water")),
        ("amounts.csv", "amount", ("amount",)),
    ],
)
def test_columns_and_kinds_of_labels_are_found_without_being_named(
    file: str, kind: str, names: tuple[str, ...]
) -> None:
    dataset = Classify.read(read_records([str(DATA / file)]), TaskSettings(task="classify"))
    labels = labels_of(dataset.examples)
    assert (labels.kind, labels.names) == (kind, names)
    assert ("pair" in dataset.columns.inputs) == (file == "pairs.csv")
