from __future__ import annotations

import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import ReadBytes

from nextword.errors import UserError
from nextword.text.readers.delimited import has_names


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)))
def test_what_a_csv_writer_wrote_is_read_back(read_bytes: ReadBytes, texts: list[str]) -> None:
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerow(["id", "text"])
    writer.writerows(enumerate(texts))
    documents, tally = read_bytes("a.csv", file.getvalue())
    assert [d.text for d in documents] == [t for t in texts if not t.isspace()]
    assert tally.total == len(texts)


LONG = "a film that nobody who was there that evening will forget for as long as they live"


@pytest.mark.parametrize(
    ("row", "below", "named"),
    [
        (["id", "text"], ["1", "a"], True),
        (["label", "tweet"], ["0", "a"], True),
        (["Review Text", "Rating"], [LONG, "4"], True),
        (["Review Text", "Stars (1-5)"], ["so so", "4"], True),
        (["", "premise", "hypothesis", "label"], ["0", "a", "b", "no"], True),
        (["2nd reading", "verdict"], [LONG, "good"], True),
        (["Quality", "#1 ID", "#1 String"], ["1", "702876", "so so"], True),
        (["one long string of cliches", "0"], ["another one", "1"], False),
        (["no movement , no yuks", "0"], ["none", "0"], False),
        (["Good film", "positive"], [LONG, "positive"], False),
        (["good day", "guten Tag"], ["good night", "gute Nacht"], False),
        (["Go.", "Geh."], ["Stop.", "Halt."], False),
        (["a", "a"], ["a", "b"], False),
        (["3", "4"], ["5", "6"], False),
    ],
)
def test_a_line_of_names_is_told_from_one_of_values(
    row: list[str], below: list[str], named: bool
) -> None:
    assert has_names(row, [below], None) == named


def test_a_column_of_row_numbers_needs_no_name(read_bytes: ReadBytes) -> None:
    documents, _ = read_bytes("a.csv", ",review,stars\n0,fine,4\n1,dull,2\n")
    assert [d.text for d in documents] == ["fine", "dull"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str, read_bytes: ReadBytes) -> None:
    documents, _ = read_bytes("a.csv", delimiter.join(["id", "text"]) + "\n" + f"1{delimiter}hello")
    assert [d.text for d in documents] == ["hello"]


def test_quotes_in_tab_separated_values_are_characters(read_bytes: ReadBytes) -> None:
    content = 'text\tlabel\n"Quite," he said\t1\n"a ""b"" c"\t0\n5" wide\t1\n'
    documents, _ = read_bytes("a.tsv", content)
    assert [d.text for d in documents] == ['"Quite," he said', 'a "b" c', '5" wide']


def test_a_row_of_another_width_is_named_by_its_line(read_bytes: ReadBytes) -> None:
    content = 'id,text\n1,"two\nlines"\n2,a,b\n3,fine\n'
    with pytest.raises(UserError, match=r"a\.csv:4: has 3 fields, expected 2"):
        read_bytes("a.csv", content)
    documents, tally = read_bytes("a.csv", content, skip_bad=True)
    assert [d.text for d in documents] == ["two\nlines", "fine"] and tally.rejected == 1


def test_columns_without_names_have_numbers(read_bytes: ReadBytes) -> None:
    content = "what a fine film\t1\nwhat a bore\t0\n"
    documents, _ = read_bytes("a.tsv", content)
    assert [d.text for d in documents] == ["what a fine film", "what a bore"]
    documents, _ = read_bytes("a.tsv", content, text_column="2")
    assert [d.text for d in documents] == ["1", "0"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('1,"a; b; c; and so on at length"\n2,"d; e; f and so on at length too"\n', "a; b; c; and"),
        ("id,said by <|im_start|>\n1,hello there and a good day\n", "hello"),
        ("id;text\n1;one, two, three\n2;four\n", "one, two, three"),
        ("id|text\n1|a;b,c\n2|d,e\n", "a;b,c"),
        ('id,text\n1,"several\nlines, of text"\n', "several\nlines, of text"),
        ("text\nonly, this\n", "only, this"),
    ],
)
def test_the_delimiter_is_told_by_several_lines(
    content: str, text: str, read_bytes: ReadBytes
) -> None:
    column = "said by <|im_start|>" if "said by" in content else None
    if content.startswith("text"):
        with pytest.raises(UserError, match="has 2 fields, expected 1"):
            read_bytes("a.csv", content)
    else:
        documents, _ = read_bytes("a.csv", content, text_column=column)
        assert documents[0].text.startswith(text)
