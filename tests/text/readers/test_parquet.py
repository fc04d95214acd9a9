from __future__ import annotations

import io

import pytest
from samples import PARAGRAPHS, ReadBytes

from nextword.errors import UserError


def parquet(columns: dict[str, object]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, row_group_size=2, use_dictionary=False)
    return file.getvalue()


def test_lists_and_nested_fields_are_read(read_bytes: ReadBytes) -> None:
    documents, _ = read_bytes("a.parquet", parquet({"paragraphs": [["a", "b"], None, ["c"]]}))
    assert [d.text for d in documents] == ["a\nb", "c"]
    nested = parquet({"message": [{"role": "user", "content": "hello"}], "text": ["no"]})
    documents, _ = read_bytes("a.parquet", nested, text_column="message.content")
    assert [d.text for d in documents] == ["hello"]


def test_invalid_utf8_is_named_by_its_row(read_bytes: ReadBytes) -> None:
    content = parquet({"text": PARAGRAPHS})
    damaged = content.replace(b"unantastbar", b"unantast\xffar")
    with pytest.raises(UserError, match=r"a\.parquet:row 3: is not UTF-8: found 0xff at byte 36"):
        read_bytes("a.parquet", damaged)
    documents, tally = read_bytes("a.parquet", damaged, skip_bad=True)
    assert len(documents) == 3 and tally.rejected == 1


def test_a_table_without_text_is_a_sentence(read_bytes: ReadBytes) -> None:
    with pytest.raises(UserError, match=r"no column of text \(columns: a, b\)"):
        read_bytes("a.parquet", parquet({"a": [1], "b": [2.0]}))
