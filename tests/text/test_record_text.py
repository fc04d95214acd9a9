from __future__ import annotations

import json
from typing import Any

import pytest
from samples import ReadBytes

from nextword.errors import UserError

LONG = "The river ran past the mill and under the bridge, number {}, as it had always done. "
PIECES = ["see ", {"type": "link", "text": "https://example.org"}, " for more of it"]


def prose(number: int, sentences: int = 5) -> str:
    return "".join(LONG.format(f"{number}.{n}") for n in range(sentences)).strip()


def lines(records: list[Any]) -> str:
    return "\n".join(map(json.dumps, records))


def unused(tally: Any, kind: str = "json") -> dict[str, tuple[int, int]]:
    return {n: (f.records, f.characters) for n, f in tally.unused.get(kind, {}).items()}


@pytest.mark.parametrize(
    "chapters",
    [
        [{"heading": "One", "text": prose(1)}, {"heading": "Two", "text": prose(2)}],
        [{"heading": "One", "prose": prose(1)}, {"heading": "Two", "prose": prose(2)}],
        {"Chapter 1": prose(1), "Chapter 2": prose(2)},
        {"one": {"text": prose(1)}, "two": {"text": prose(2)}},
        {"parts": [[{"text": prose(1)}], [{"text": prose(2)}]]},
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_short_summary_does_not_hide_the_chapters(
    chapters: Any, name: str, read_bytes: ReadBytes
) -> None:
    book = {"title": "A book", "summary": "A short blurb.", "chapters": chapters}
    documents, tally = read_bytes(name, json.dumps([book]) if name == "a.json" else lines([book]))
    assert [d.text for d in documents] == [prose(1), prose(2)]
    beside = unused(tally, name.split(".")[1])
    assert beside["summary"] == (1, 14) and beside["title"] == (1, 6)


def test_chapters_in_a_list_are_one_text(read_bytes: ReadBytes) -> None:
    books = [{"summary": "Of books.", "chapters": [prose(n), prose(n + 50)]} for n in range(4)]
    documents, _ = read_bytes("a.jsonl", lines(books))
    assert [d.text for d in documents] == [f"{prose(n)}\n{prose(n + 50)}" for n in range(4)]


def test_a_longer_field_beside_a_summary_is_the_text(read_bytes: ReadBytes) -> None:
    reviews = [{"summary": "Good", "reviewText": prose(n), "asin": f"B00{n}"} for n in range(9)]
    documents, tally = read_bytes("a.jsonl", lines(reviews))
    assert [d.text for d in documents] == [prose(n) for n in range(9)]
    assert unused(tally, "jsonl") == {"summary": (9, 36), "asin": (9, 36)}


@pytest.mark.parametrize(
    ("column", "beside"),
    [
        ("chapters", [{"body": prose(1)}, {"body": prose(2)}]),
        ("notes", prose(1)),
        ("sections", {"First part": prose(1), "Second part": prose(2)}),
        ("answer", [prose(1), prose(2)]),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_more_text_beside_the_text_is_asked_about(
    column: str, beside: Any, name: str, read_bytes: ReadBytes
) -> None:
    records = [{"text": prose(3, 3), column: beside} for _ in range(3)]
    content = json.dumps(records) if name == "a.json" else lines(records)
    with pytest.raises(UserError, match=rf"{column} [\d,]+, text 762\); name it with --text-"):
        read_bytes(name, content)
    documents, tally = read_bytes(name, content, text_column="text")
    assert [d.text for d in documents] == [prose(3, 3)] * 3
    assert list(unused(tally, name.split(".")[1])) == [column]
    documents, tally = read_bytes(name, content, text_column=column)
    assert prose(1) in "\n".join(d.text for d in documents)
    assert unused(tally, name.split(".")[1]) == {"text": (3, 3 * len(prose(3, 3)))}


def test_a_table_with_a_longer_column_is_asked_about(read_bytes: ReadBytes) -> None:
    rows = [f'{n},short note {n},"{prose(n)}"' for n in range(5)]
    with pytest.raises(UserError, match=r"answer 2,\d+, text 60.*--text-column"):
        read_bytes("a.csv", "\n".join(["id,text,answer", *rows]))


def test_names_addresses_and_repetitions_beside_a_text_are_not_asked_about(
    read_bytes: ReadBytes,
) -> None:
    message = {
        "content": "So it goes, said the gardener.",
        "content_html": '<p class="a first message">So it <b>goes</b>, said the gardener.</p>',
        "entities": [{"type": "plain", "text": "So it goes, said the gardener."}],
        "author": {"name": "Someone", "avatarUrl": "https://cdn.example.org/" + "a1b2" * 50},
        "nonce": "0123456789abcdef" * 20,
        "date": "2020-01-01T00:00:00.000+00:00",
    }
    for name, content in (("a.json", json.dumps([message] * 9)), ("a.jsonl", lines([message] * 9))):
        documents, tally = read_bytes(name, content)
        assert [d.text for d in documents] == [message["content"]] * 9
        assert unused(tally, name.split(".")[1])["author"] == (9, 9 * (7 + 24 + 200))


def test_titles_with_their_texts_are_a_document_each(read_bytes: ReadBytes) -> None:
    texts = {f"Chapter {n}": prose(n, 2 + 20 * (n == 5)) for n in range(6)}
    plain = {f"part{n}": prose(n, 4 + 20 * (n == 5)) for n in range(6)}
    numbered = {str(n): text for n, text in enumerate(texts.values())}
    for value in (
        texts,
        {"year": 1900, "read": None} | texts,
        plain,
        numbered,
        [texts],
        {"book": texts},
        {"title": "B", "chapters": texts},
    ):
        documents, tally = read_bytes("a.json", json.dumps(value))
        expected = plain if value is plain else texts
        assert [d.text for d in documents] == list(expected.values())
        assert tally.total == 6
    documents, _ = read_bytes("a.jsonl", lines([{title: text} for title, text in texts.items()]))
    assert [d.text for d in documents] == list(texts.values())


def test_lists_of_lists_of_texts_are_read(read_bytes: ReadBytes) -> None:
    documents, _ = read_bytes("a.json", json.dumps([["one", "two"], [["three"]]]))
    assert [d.text for d in documents] == ["one", "two", "three"]
    documents, _ = read_bytes("a.jsonl", lines([["one", "two"], ["three"]]))
    assert [d.text for d in documents] == ["one\ntwo", "three"]


def test_stanzas_are_one_text(read_bytes: ReadBytes) -> None:
    poems = [{"title": "Mill", "text": [["one", "two"], ["three"]]} for _ in range(2)]
    for name, content in (("a.json", json.dumps(poems)), ("a.jsonl", lines(poems))):
        documents, tally = read_bytes(name, content)
        assert [d.text for d in documents] == ["one\ntwo\n\nthree"] * 2
        assert unused(tally, name.split(".")[1]) == {"title": (2, 8)}


def test_chapters_nearly_as_long_as_their_summary_are_asked_about(read_bytes: ReadBytes) -> None:
    book = {"abstract": prose(1), "sections": [{"text": prose(2, 4)}]}
    with pytest.raises(UserError, match=r"abstract \d+, sections \d+\); name it"):
        read_bytes("a.json", json.dumps([book]))
    beside = {"caption": prose(1), "alt": prose(2, 4)}  # in the same object: it is named
    documents, tally = read_bytes("a.json", json.dumps([beside]))
    assert [d.text for d in documents] == [prose(1)] and "alt" in unused(tally)


def test_a_record_is_no_list_of_titles(read_bytes: ReadBytes) -> None:
    record = {"name": "A rather long name for a thing such as this", "story": prose(1, 9)}
    documents, tally = read_bytes("a.json", json.dumps(record))
    assert [d.text for d in documents] == [prose(1, 9)]
    assert unused(tally) == {"name": (1, 43)}
    pairs = [{"en": prose(n), "de": prose(n + 9)} for n in range(3)]
    for name, content in (("a.json", json.dumps(pairs)), ("a.jsonl", lines(pairs))):
        with pytest.raises(UserError, match=r"en 1,\d+.*--text-column"):
            read_bytes(name, content)


def test_a_message_in_pieces_is_one_document(read_bytes: ReadBytes) -> None:
    messages = [{"id": n, "from": "Me", "text": PIECES if n % 2 else f"as {n}"} for n in range(60)]
    messages += [{"id": 60, "text": [{"type": "bold", "text": "all bold"}]}, {"id": 61, "text": ""}]
    chat = {"name": "A friend", "type": "personal_chat", "messages": messages}
    documents, tally = read_bytes("result.json", json.dumps(chat))
    whole = "see https://example.org for more of it"
    expected = [whole if n % 2 else f"as {n}" for n in range(60)]
    assert [d.text for d in documents] == [*expected, "all bold"]
    assert tally.reasons["empty"].count == 1
    assert unused(tally)["text.type"] == (31, 30 * 4 + 4)
    documents, _ = read_bytes("a.jsonl", lines(messages))
    assert [d.text for d in documents] == [*expected, "all bold"]
    untyped = ["see ", {"text": "a link", "href": "https://example.org"}]
    documents, tally = read_bytes("a.jsonl", lines([{"text": untyped}]))
    assert [d.text for d in documents] == ["see a link"]
    assert unused(tally, "jsonl") == {"text.href": (1, 19)}


def test_what_surrounds_the_records_is_no_record(read_bytes: ReadBytes) -> None:
    export = {
        "guild": {"id": "1", "name": "Garden"},
        "channel": {"topic": "all about gardens", "kinds": [{"id": 1}]},
        "messages": [
            {"content": f"message {n}" if n % 10 else "", "attachments": [{"url": "a.png"}]}
            for n in range(100)
        ],
    }
    documents, tally = read_bytes("a.json", json.dumps(export))
    assert len(documents) == 90 and tally.reasons["empty"].count == 10 and not tally.rejected
    assert unused(tally) == {"guild": (1, 7), "channel": (1, 17), "attachments": (100, 500)}


def test_answers_within_answers_are_documents_too(read_bytes: ReadBytes) -> None:
    reply = {"author": "b", "body": prose(2), "replies": [{"author": "c", "body": prose(3)}]}
    thread = {"title": "On mills", "body": prose(1), "comments": [reply, {"body": prose(4)}]}
    for name, content in (("a.json", json.dumps([thread])), ("a.jsonl", lines([thread]))):
        documents, tally = read_bytes(name, content)
        assert [d.text for d in documents] == [prose(n) for n in (1, 2, 3, 4)]
        assert unused(tally, name.split(".")[1]) == {"title": (1, 8), "author": (2, 2)}


def test_papers_give_their_abstract_and_all_paragraphs(read_bytes: ReadBytes) -> None:
    paper = {
        "paper_id": "a1",
        "metadata": {"title": "Of mills", "authors": [{"first": "A", "last": "B"}]},
        "abstract": [{"text": prose(0, 2), "section": "Abstract"}],
        "body_text": [
            {"text": prose(n), "cite_spans": [{"text": "number 1.1"}], "section": "Results"}
            for n in range(1, 5)
        ],
        "bib_entries": {"BIBREF0": {"title": "Mills", "authors": [{"first": "C"}]}},
    }
    for name, content in (("a.json", json.dumps(paper)), ("a.jsonl", lines([paper] * 2))):
        documents, tally = read_bytes(name, content)
        assert [d.text for d in documents][:5] == [prose(0, 2), *(prose(n) for n in range(1, 5))]
        assert tally.rejected == 0 and "bib_entries" in unused(tally, name.split(".")[1])


def test_the_items_of_a_feed_are_documents(read_bytes: ReadBytes) -> None:
    for field in ("content_text", "content_html"):
        items = [{"id": str(n), "url": "u", "title": "T", field: prose(n)} for n in range(3)]
        feed = {"version": "1.1", "title": "Feed", "description": "Of mills.", "items": items}
        documents, _ = read_bytes("feed.json", json.dumps(feed))
        assert [d.text for d in documents] == [prose(n) for n in range(3)]


def test_lists_printed_into_cells_are_read(read_bytes: ReadBytes) -> None:
    link = "[{'type': 'link', 'text': 'La'}, 'st.']"
    cells = ["['It was.', \"It's not.\"]", "['One.' 'Two.']", "[]", link]
    documents, tally = read_bytes("a.jsonl", lines([{"text": cell} for cell in cells]))
    assert [d.text for d in documents] == ["It was.\nIt's not.", "One.\nTwo.", "Last."]
    assert tally.reasons["empty"].count == 1
    content = lines([{"text": cell} for cell in [*cells, "['it's', 'b']"]])
    with pytest.raises(UserError, match=r"a\.jsonl:5: looks like a list .*JSON"):
        read_bytes("a.jsonl", content)


@pytest.mark.parametrize("text", ["[Applause] Thank you. [laughs]", '{"a": 1}', "[1, 2]", "[x]"])
def test_brackets_in_prose_and_programs_stay(text: str, read_bytes: ReadBytes) -> None:
    documents, _ = read_bytes("a.jsonl", lines([{"text": text}, {"text": "['a', 'b']"}]))
    assert [d.text for d in documents] == [text, "['a', 'b']"]


def test_what_is_not_used_is_counted_by_kind_and_name(read_bytes: ReadBytes) -> None:
    records = [{"text": f"text {n}", "url": "u" * n, "n": n, "none": None} for n in range(4)]
    _, tally = read_bytes("a.jsonl", lines(records))
    assert unused(tally, "jsonl") == {"url": (3, 6), "n": (4, 0)}
    many = [{"text": "a", **{f"key{n}": "x"}} for n in range(1000)]
    _, tally = read_bytes("a.jsonl", lines(many))
    assert len(tally.unused["jsonl"]) <= 101
    assert sum(f.characters for f in tally.unused["jsonl"].values()) == 1000


def test_a_field_that_outgrows_the_text_after_the_first_records_stops(
    read_bytes: ReadBytes,
) -> None:
    records = [{"title": f"A walk to the river, {n}"} for n in range(60)]
    records += [{"title": f"A walk home, {n}", "text": prose(n)} for n in range(60)]
    with pytest.raises(UserError, match=r"field 'text' holds .* 'title'.*--text-column"):
        read_bytes("a.jsonl", lines(records))
    documents, _ = read_bytes("a.jsonl", lines(records[60:] + records[:60]), skip_bad=True)
    assert len(documents) == 60
