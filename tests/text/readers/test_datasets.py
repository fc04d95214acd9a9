from __future__ import annotations

import io
from pathlib import Path

import pytest
from samples import PARAGRAPHS, ReadBytes

from nextword.errors import UserError
from nextword.tasks.records import read_records


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


def test_text_nested_in_columns_is_not_passed_over(read_bytes: ReadBytes) -> None:
    chapters = [[{"heading": "h", "text": p}, {"heading": "h", "text": p[:50]}] for p in PARAGRAPHS]
    columns = {"summary": ["short"] * 4, "chapters": chapters, "year": [1, 2, 3, 4]}
    documents, tally = read_bytes("a.parquet", parquet(columns))
    assert [d.text for d in documents] == [text for p in PARAGRAPHS for text in (p, p[:50])]
    unused = tally.unused["parquet"]
    assert (unused["summary"].characters, unused["heading"].characters) == (20, 8)
    assert unused["year"].records == 4


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


def test_numbers_of_classes_have_the_names_that_datasets_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    named = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": named, "tags": datasets.Sequence(named)}
    )
    rows = {"text": ["a", "b", "c"], "label": [1, 0, -1], "tags": [[0, 1], [], [1]]}
    made = datasets.Dataset.from_dict(rows, features=features)
    made.to_parquet(tmp_path / "a.parquet")
    read = [record.values for record in read_records([str(tmp_path / "a.parquet")])]
    assert [row["label"] for row in read] == ["pos", "neg", -1]
    assert [row["tags"] for row in read] == [["neg", "pos"], [], ["pos"]]

    def load(*names: object, **more: object) -> datasets.IterableDataset:
        return made.to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert [record.values for record in read_records(["hf://owner/reviews"])] == read
