from __future__ import annotations

import json
from pathlib import Path

import pytest
from samples import ReadBytes

from nextword.errors import UserError
from nextword.tasks.records import read_records, whole
from nextword.text.document import ReadStats
from nextword.text.sources import find_sources, iter_records


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ([{"text": "a"}, {"text": "b"}], ["a", "b"]),
        ([[{"text": "a"}], [[{"text": "b"}]]], ["a", "b"]),
        (
            {"version": 1, "data": [{"title": "t", "paragraphs": [{"context": "c", "qas": []}]}]},
            ["c"],
        ),
        ([{"title": "t", "paragraphs": ["one", "two"]}], ["one\ntwo"]),
        (["one", "two"], ["one", "two"]),
        ({"poems": ["one", "two"]}, ["one", "two"]),
        ({"text": "only"}, ["only"]),
        ([{"body": "b", "Text": "preferred"}], ["preferred"]),
        ([{"id": "x1", "tweet": "much longer than the other"}], ["much longer than the other"]),
        ([], []),
    ],
)
def test_the_text_is_found_however_it_is_nested(
    value: object, texts: list[str], read_bytes: ReadBytes
) -> None:
    for indent in (None, 2):
        documents, tally = read_bytes("a.json", json.dumps(value, indent=indent))
        assert [d.text for d in documents] == texts == texts[: tally.total]


def test_a_named_field_is_used_wherever_it_is(read_bytes: ReadBytes) -> None:
    records = [{"text": "no", "message": {"content": "yes"}}]
    for name in ("a.json", "a.jsonl"):
        documents, _ = read_bytes(name, json.dumps(records[0]), text_column="message.content")
        assert [d.text for d in documents] == ["yes"]
    with pytest.raises(UserError, match=r"has no field 'txt'; did you mean 'text'\?"):
        read_bytes("a.jsonl", json.dumps(records[0]), text_column="txt")


def test_an_unclear_field_is_asked_for(read_bytes: ReadBytes) -> None:
    record = {"left": "about as long", "right": "as the other one"}
    sizes = r"right 16, left 13\); name it with --text-column"
    with pytest.raises(UserError, match=sizes):
        read_bytes("a.jsonl", json.dumps(record))
    with pytest.raises(UserError, match=r"fields: a, b\); name it with --text-column"):
        read_bytes("a.jsonl", '{"a": 1, "b": {}}')


def test_a_long_list_is_parsed_piece_by_piece_like_the_whole(read_bytes: ReadBytes) -> None:
    records = [{"n": n, "text": f'{n} "quoted" 中文 \\ \n' * (n % 50 + 1)} for n in range(5000)]
    content = json.dumps(records, ensure_ascii=False)
    assert len(content) > 3 * 2**20  # several blocks
    documents, _ = read_bytes("a.json", content)
    assert [d.text for d in documents] == [record["text"] for record in records]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('[\n{"text": "a"},\n{"text": oops},\n{"text": "b"}]', 3),
        ('[\n{"text": "a"}\n{"text": "b"}]', 3),
        ('[\n{"text": "a"},\n{"text": "b"', 3),
        ('[{"text": "a"}]\n\n]', 3),
        ('{"text": "a"}\n{"text": b}', 2),
        ("", 1),
        ("[" * 500_000, 1),
        ('{"a":' * 500_000, 1),
        ('[{"text": ' + "9" * 10_000 + "}]", 1),
    ],
)
def test_damaged_json_is_named_by_its_line(content: str, line: int, read_bytes: ReadBytes) -> None:
    with pytest.raises(UserError, match=rf"a\.json:{line}: is not valid JSON"):
        read_bytes("a.json", content)


def test_lone_surrogates_are_named(read_bytes: ReadBytes) -> None:
    content = '{"text": "ab\\ud800c"}\n{"text": "\\ud83d\\ude00"}\n'
    with pytest.raises(UserError, match=r"a\.jsonl:1: .*lone surrogate U\+D800 at character 2"):
        read_bytes("a.jsonl", content)
    documents, tally = read_bytes("a.jsonl", content, skip_bad=True)
    assert [d.text for d in documents] == ["😀"] and tally.rejected == 1


def test_json_lines_are_read_whatever_the_file_is_called(read_bytes: ReadBytes) -> None:
    documents, _ = read_bytes("a.json", '{"text": "one"}\n{"text": "two"}\n\n{"text": "three"}\n')
    assert [document.text for document in documents] == ["one", "two", "three"]
    with pytest.raises(UserError, match=r"a\.json:2: is not valid JSON"):
        read_bytes("a.json", '{"text": "one"}\n{"text": two"}\n')


def test_a_table_that_pandas_wrote_by_columns_is_read_row_by_row(read_bytes: ReadBytes) -> None:
    rows = [{"text": text, "label": n} for n, text in enumerate(["one", "two", "three"])]
    columns = {name: {str(n): row[name] for n, row in enumerate(rows)} for name in rows[0]}
    data = [list(row.values()) for row in rows]
    index = {str(n): row for n, row in enumerate(rows)}
    split = {"columns": ["text", "label"], "index": [0, 1, 2], "data": data}
    schema = {"fields": [{"name": name, "type": "string"} for name in columns]}
    for value in (columns, rows, index, split, {"schema": schema, "data": rows}):
        documents, tally = read_bytes("a.json", json.dumps(value))
        assert [d.text for d in documents] == ["one", "two", "three"], value
        assert tally.unused["json"]["label"].records == 3
    ragged = {"text": {"0": "one", "1": "two"}, "label": {"0": 1}}
    with pytest.raises(UserError, match="no field is clearly the text"):
        read_bytes("a.json", json.dumps(ragged))


def test_labelled_rows_that_pandas_wrote_by_columns_are_records(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"text": {"0": "x", "1": "y"}, "label": {"0": 5, "1": 6}}')
    [source] = find_sources([str(tmp_path / "a.json")])
    values = [value for _, value in iter_records(source, ReadStats())]
    assert values == [{"text": "x", "label": 5}, {"text": "y", "label": 6}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_key_that_stands_twice_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text('{"text": "a", "label": "b"}\n{"text": "a", "label": "b", "label": "c"}\n')
    with pytest.raises(UserError, match=r":2: .*the key 'label' stands twice"):
        whole(read_records([str(path)]))
