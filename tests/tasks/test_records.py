from __future__ import annotations

from pathlib import Path

import pytest

from nextword.errors import UserError
from nextword.tasks.generate.chat import Continue
from nextword.tasks.generate.task import Summarize
from nextword.tasks.records import PASSAGE, read_records, whole


def test_a_book_to_go_on_reading_is_passages_with_their_lines(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    paragraph = "word " * 100
    book.write_text("\n\n".join(f"{number} {paragraph}" for number in range(20)))
    found = read_records([str(book)], Continue.text_files)
    texts = [str(record["text"]) for record in found]
    assert "".join("".join(texts).split()) == "".join(book.read_text().split())
    assert all(PASSAGE <= len(text) < 2 * PASSAGE for text in texts[:-1])
    lines = book.read_text().split("\n")
    for record, text in zip(found, texts, strict=True):
        path, line = record.place.rsplit(":", 1)
        assert path == str(book) and text.startswith(lines[int(line) - 1])


def test_a_book_is_no_table_of_examples(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("A book.")
    with pytest.raises(UserError, match="is not a table of examples"):
        read_records([str(tmp_path / "book.txt")], Summarize.text_files)


def test_a_page_is_read_as_its_text(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    words = "<p>" + "The mill stands by the river and has stood there for long. " * 9 + "</p>"
    page.write_text(f"<html><body><main>{words}<script>x()</script></main></body></html>")
    (found,) = read_records([str(page)], Continue.text_files)
    assert "The mill stands" in found["text"] and "x()" not in found["text"]


def test_how_a_file_was_read_is_said_unless_it_is_not_the_persons_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "a.csv"
    rows = "".join(f"房间很干净，服务也好，下次还来{number}。,好评\n" for number in range(20))
    table.write_bytes(f"text,label\n{rows}".encode("gb18030"))
    quiet = read_records([str(table)], says=False)
    assert len(quiet) == 20 and capsys.readouterr().err == ""
    assert read_records([str(table)]) == quiet
    assert capsys.readouterr().err == "  read: 1 in GB18030\n"


@pytest.mark.parametrize("name", ["photo.csv", "photo.tsv", "photo.jsonl", "photo.json"])
@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"one,\x81two\r\n\xff,\x8d\n"]
)
def test_a_file_that_is_no_text_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}"):
        whole(read_records([str(tmp_path / name)]))


def test_of_aligned_texts_the_one_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.\n")
    (tmp_path / "b.txt").write_bytes(b"Un.\n" * 20 + b"\0\n")
    with pytest.raises(UserError, match=r"b\.txt: holds a NUL at byte 80"):
        read_records([str(tmp_path / "a.txt"), str(tmp_path / "b.txt")], "pairs")
