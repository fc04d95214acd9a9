"""Text as programs export it: chats, feeds, papers, encyclopedias; and where an export is cut."""

from __future__ import annotations

import json

import pytest
from samples import ReadBytes

from nextword.errors import UserError

PROSE = "The widow saw smoke above the wood and was never quite the same again. "


def lines(count: int = 3) -> list[str]:
    return [f"{PROSE}It was day {number}." for number in range(count)]


def messages(key: str, **more: object) -> str:
    """A chat of messages, one with no text, whose text stands under `key`."""
    said = [{"id": number, key: text} | more for number, text in enumerate([*lines(), ""])]
    return json.dumps({"name": "Friends", "messages": said}, indent=1)


@pytest.mark.parametrize(
    ("key", "beside"),
    [  # Telegram Desktop, DiscordChatExporter
        ("text", {"type": "message", "from": "Ada", "date": "2024-05-01T10:00:00"}),
        ("content", {"author": {"name": "Ada"}, "embeds": [{"description": "A page."}]}),
    ],
)
def test_each_message_of_a_chat_is_a_document_and_empty_ones_are_counted(
    key: str, beside: dict[str, object], read_bytes: ReadBytes
) -> None:
    documents, stats = read_bytes("result.json", messages(key, **beside))
    assert [document.text for document in documents] == lines()
    assert stats.reasons["empty"].count == 1
    assert set(beside) <= set(stats.unused["json"])


def test_an_export_that_is_cut_is_named_by_its_line(read_bytes: ReadBytes) -> None:
    whole = messages("text")
    with pytest.raises(UserError, match=r"result\.json:10: is not valid JSON"):
        read_bytes("result.json", whole[: whole.index("It was day 1")])


def test_a_chat_in_plain_text_is_one_text_with_its_names_and_times(read_bytes: ReadBytes) -> None:
    chat = "".join(f"01/05/2024, 10:0{n} - Ada: {text}\n" for n, text in enumerate(lines()))
    chat += "01/05/2024, 10:09 - Tom: <Media omitted>\n"
    documents, _ = read_bytes("chat.txt", chat)
    assert [document.text for document in documents] == [chat]


def test_pages_of_an_encyclopedia_are_documents_where_each_is_a_record(
    read_bytes: ReadBytes,
) -> None:
    pages = [{"id": "1", "url": "u", "title": "T", "text": text} for text in lines()]
    documents, stats = read_bytes("wiki_00", "".join(json.dumps(page) + "\n" for page in pages))
    assert [document.text for document in documents] == lines()
    assert set(stats.unused["jsonl"]) == {"id", "url", "title"}
    marked = "".join(f'<doc id="1" url="u" title="T">\nT\n\n{text}\n</doc>\n' for text in lines())
    (document,), _ = read_bytes("wiki_00", marked)
    assert document.text == marked, "without --json it is one text, marks and all"
