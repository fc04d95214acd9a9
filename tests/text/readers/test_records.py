from __future__ import annotations

import json

import pytest
from samples import ReadBytes

from nextword.errors import UserError


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
    with pytest.raises(UserError, match=r"fields: left, right\); name it with --text-column"):
        read_bytes("a.jsonl", json.dumps(record))


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
