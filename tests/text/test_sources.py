from __future__ import annotations

import errno
import gzip
import json
import os
import types
from pathlib import Path

import pytest
from samples import PARAGRAPHS, TEXT, all_kinds, jsonl

from nextword.errors import UserError
from nextword.text.document import ReadError, ReadStats, UnusedField
from nextword.text.sources import digest_contents, find_sources, fingerprint, read_documents


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in all_kinds().items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def names(data: list[str]) -> list[str]:
    return [Path(source.path).name for source in find_sources(data)]


def test_a_folder_is_read_with_all_inside_in_a_stable_order(folder: Path) -> None:
    (folder / "z" / "deeper").mkdir(parents=True)
    (folder / "z" / "deeper" / "b.txt").write_text("hello")
    assert names([str(folder)]) == [*sorted(all_kinds()), "b.txt"]


def test_hidden_files_binaries_and_caches_in_a_folder_are_passed_over(tmp_path: Path) -> None:
    for name in (".git/config", "__pycache__/a.txt", ".hidden.txt", "sub/program.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("import this\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    assert names([str(tmp_path)]) == ["program.py"]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    inside, beside = tmp_path / "safe", tmp_path / "safe_not"
    inside.mkdir(), beside.mkdir()
    (inside / "a.txt").write_text("a")
    (beside / "secret.txt").write_text("s")
    (inside / "link.txt").symlink_to(beside / "secret.txt")
    (inside / "folder").symlink_to(beside)
    assert names([str(inside)]) == ["a.txt"]


def test_patterns_are_expanded_and_each_file_is_read_once(folder: Path) -> None:
    assert names([f"{folder}/*.txt", f"{folder}/a.txt", f"{folder}/**/*.t*"]) == [
        "a.txt",
        "a.tsv",
        "a.txt.gz",
    ]


def test_a_file_with_a_pattern_in_its_name_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("x")
    assert names([str(tmp_path / "a[1].txt")]) == ["a[1].txt"]


@pytest.mark.parametrize("name", ["nothing.txt", "*.nothing", "", "a\0b", "~nobody/x", "x" * 5000])
def test_data_that_is_not_there_is_a_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        find_sources([str(tmp_path / name)])


def test_a_mistyped_name_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "novel.txt").write_text("x")
    with pytest.raises(UserError, match=r"did you mean .*novel\.txt"):
        find_sources([str(tmp_path / "novle.txt")])


def test_the_fingerprint_changes_with_the_data_only(folder: Path) -> None:
    before = fingerprint(find_sources([str(folder)]))
    assert fingerprint(find_sources([str(folder)])) == before
    os.utime(folder / "a.txt", ns=(0, 1))
    assert fingerprint(find_sources([str(folder)])) != before


def test_the_digest_changes_with_the_text_only(folder: Path) -> None:
    before = digest_contents(find_sources([str(folder)]))
    os.utime(folder / "a.txt", ns=(0, 1))
    assert digest_contents(find_sources([str(folder)])) == before
    (folder / "a.txt").write_text((folder / "a.txt").read_text().replace("bright", "bleak!"))
    assert digest_contents(find_sources([str(folder)])) != before


def test_json_lines_without_a_suffix_are_told_by_their_first_line(tmp_path: Path) -> None:
    page = {"id": "1", "url": "https://example.org", "title": "Mill", "text": "A mill grinds."}
    for name, line in (
        ("wiki_00", json.dumps(page)),
        ("code.c", "{ text }"),
        ("map.geojson", '{"type": "Feature", "name": "Mill"}'),
        ("notes.txt", json.dumps(page)),
    ):
        (tmp_path / name).write_text(f"{line}\n{line}\n")
    kinds = {Path(source.path).name: source.kind for source in find_sources([str(tmp_path)])}
    assert kinds.pop("wiki_00") == "jsonl" and set(kinds.values()) == {"text"}


def test_every_kind_of_file_gives_its_text(folder: Path) -> None:
    tally = ReadStats()
    for source in find_sources([str(folder)]):
        text = "\n".join(document.text for document in read_documents(source, stats=tally))
        expected = "bright cold day" if source.kind == "pdf" else PARAGRAPHS[1]
        assert expected in text, source
    assert tally.accepted == tally.total and tally.rejected == 0


def test_a_document_says_where_it_comes_from(folder: Path) -> None:
    places = {
        source.path.split("/")[-1]: [
            d.source.split("/")[-1] for d in read_documents(source, stats=ReadStats())
        ]
        for source in find_sources([str(folder)])
    }
    assert places["a.txt"] == ["a.txt"]
    assert places["a.jsonl"][1] == "a.jsonl:2"
    assert places["a.json"][1] == "a.json:record 2"
    assert places["a.csv"][1] == "a.csv:3"
    assert places["a.parquet"][3] == "a.parquet:row 4"


def test_damage_is_an_error_unless_skipped_and_then_counted_and_quarantined(tmp_path: Path) -> None:
    lines = jsonl().decode().splitlines()
    lines[1] = lines[1][:-5]
    lines[2] = '{"id": 7, "text": 3}'
    lines += ['{"text": ""}', "", '{"other": "x"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    [source] = find_sources([str(tmp_path / "a.jsonl")])
    with pytest.raises(UserError, match=r"a\.jsonl:2: is not valid JSON .*--skip-bad"):
        list(read_documents(source, stats=ReadStats()))

    tally = ReadStats(quarantine=tmp_path / "quarantine.jsonl")
    documents = list(read_documents(source, skip_bad=True, stats=tally))
    assert [d.text for d in documents] == [PARAGRAPHS[0], PARAGRAPHS[3]]
    assert (tally.accepted, tally.skipped, tally.rejected, tally.total) == (2, 1, 3, 6)
    kept = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").open()]
    assert [item["source"].rpartition(":")[2] for item in kept] == ["2", "3", "7"]
    assert kept[1]["reason"] == "field 'text' is a number, expected text or a list of texts"
    assert kept[0]["content"].startswith(lines[1])


def test_a_truncated_archive_keeps_what_came_before(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"line {i} {os.urandom(30).hex()}"}) for i in range(20_000)]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode())[:-5000])
    [source] = find_sources([str(tmp_path / "a.jsonl.gz")])
    tally = ReadStats()
    documents = list(read_documents(source, skip_bad=True, stats=tally))
    assert 15_000 < len(documents) < 20_000
    assert tally.rejected == 1 and tally.accepted == len(documents)


def test_tallies_of_workers_add_up() -> None:
    total, worker = ReadStats(), ReadStats()
    for index in range(5):
        worker.accept()
        worker.reject(ReadError("not JSON", f"a:{index}", "x" * 200))
    worker.drop("duplicate", "b", "text\nof two lines")
    worker.leave("json", "summary", 192)
    total.merge(worker)
    total.merge(worker)
    assert (total.accepted, total.skipped, total.rejected, total.total) == (8, 2, 10, 20)
    assert total.reasons["not JSON"].count == 10
    assert total.unused == {"json": {"summary": UnusedField(records=2, characters=384)}}
    assert [len(text) for _, text in total.reasons["not JSON"].examples] == [80] * 3
    assert ReadStats.from_json(total.to_json()) == total
    assert total.reasons["duplicate"].examples[0] == ("b", "text of two lines")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """A stand-in for `datasets` that records how it is called."""
    calls: list[tuple[object, ...]] = []

    def load_dataset(name: str, config: str | None, *, split: str, streaming: bool) -> object:
        calls.append((name, config, split, streaming))
        if name == "nobody/nothing":
            raise ConnectionError("cannot reach the Hub")
        return iter([{"label": 0, "text": PARAGRAPHS[0], "summary": "Cold."}])

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "datasets", module)
    return calls


def test_a_data_set_of_the_hub_is_streamed(hub: list[tuple[object, ...]]) -> None:
    for name, text in (
        ("hf://owner/name", PARAGRAPHS[0]),
        ("hf://owner/name/small:test:summary", "Cold."),
    ):
        [source] = find_sources([name])
        [document] = read_documents(source, stats=ReadStats())
        assert document.text == text
    assert hub == [("owner/name", None, "train", True), ("owner/name", "small", "test", True)]


def test_what_the_hub_refuses_is_a_sentence(hub: list[tuple[object, ...]]) -> None:
    with pytest.raises(UserError, match="cannot reach the Hub"):
        list(read_documents(find_sources(["hf://nobody/nothing"])[0], stats=ReadStats()))
    for name in ("hf://", "hf://name", "hf://a/b:c:d:e"):
        with pytest.raises(UserError, match="not the name of a data set"):
            find_sources([name])


def test_a_long_text_comes_in_parts_that_add_up_to_it(tmp_path: Path) -> None:
    text = TEXT * 50_000
    (tmp_path / "long.txt").write_text(text)
    documents = list(
        read_documents(find_sources([str(tmp_path / "long.txt")])[0], stats=ReadStats())
    )
    assert len(documents) > 1 and "".join(d.text for d in documents) == text
    assert all(d.text.endswith("\n\n") for d in documents[:-1])
    place = int(documents[1].source.rpartition("byte ")[2])
    assert text.encode()[place:].startswith(documents[1].text[:50].encode())


def test_the_published_text_is_read(shared_data: Path) -> None:
    tally = ReadStats()
    counts = {
        folder: sum(
            1
            for source in find_sources([str(shared_data / folder)])
            for _ in read_documents(source, stats=tally)
        )
        for folder in ("novels", "sst2", "dialogsum", "cmrc2018", "tinyshakespeare.txt")
    }
    assert counts["novels"] == 30 and counts["tinyshakespeare.txt"] == 1
    assert counts["sst2"] == 6920 + 872 + 1821 and counts["dialogsum"] == 1000
    assert tally.rejected == 0
    [source] = find_sources([str(shared_data / "poetry-zh" / "poet.tang.0.json")])
    documents = list(read_documents(source, stats=ReadStats()))
    poems = json.loads(Path(source.path).read_text())
    assert [d.text for d in documents] == ["\n".join(poem["paragraphs"]) for poem in poems]


def test_a_column_in_a_data_set_s_name_comes_before_the_flag(hub: list[tuple[object, ...]]) -> None:
    [source] = find_sources(["hf://owner/name:test:summary"])
    documents = list(read_documents(source, text_column="text", stats=ReadStats()))
    assert documents[0].text == "Cold."


def test_what_is_passed_over_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (folder / "empty.log").touch()
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (folder / "link").symlink_to(elsewhere)
    assert names([str(folder)]) == sorted(all_kinds())
    said = capsys.readouterr().err
    assert "passed over as no text: 1 file (picture.png)" in said
    assert f"{folder}/link is passed over: it links to a folder" in said


def test_what_a_pattern_matches_is_read_as_a_folder_s_content_is(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "b.txt").write_text("b")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    assert names([f"{folder}/*"]) == names([f"{folder}/**"]) == [*sorted(all_kinds()), "b.txt"]


@pytest.mark.parametrize(
    ("start", "what"), [(b"PK\x03\x04\x14", "zip archive"), (b"{\\rtf1", "rich text")]
)
def test_what_only_holds_text_is_named(start: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(start + bytes(range(256)))
    with pytest.raises(UserError, match=rf"a\.docx: is .*{what}.*; unpack it, or save it as text"):
        list(read_documents(find_sources([str(tmp_path / "a.docx")])[0], stats=ReadStats()))


def test_a_file_name_that_is_no_unicode_can_be_reported(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9\n.txt")).write_text(" ")
    tally = ReadStats()
    assert not list(read_documents(find_sources([str(tmp_path)])[0], stats=tally))
    (source, _), *_ = tally.reasons["empty"].examples
    assert source.encode().endswith("caf··.txt".encode())


def test_a_lone_surrogate_out_of_any_reader_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.html").write_text("<p>page</p>")
    monkeypatch.setattr("nextword.text.readers.documents.main_text", lambda html: "ab\udc80")
    with pytest.raises(UserError, match=r"a\.html: has a lone surrogate U\+DC80 at character 2"):
        list(read_documents(find_sources([str(tmp_path / "a.html")])[0], stats=ReadStats()))


def test_a_damaged_line_of_utf_16_is_named_by_its_byte(tmp_path: Path) -> None:
    lines = "\ufeff" + '{"text": "one"}\n{"text": "zwei"}\n' * 3
    content = lines.encode("utf-16-le")
    (tmp_path / "a.jsonl").write_bytes(content)
    documents = list(
        read_documents(find_sources([str(tmp_path / "a.jsonl")])[0], stats=ReadStats())
    )
    assert [d.text for d in documents] == ["one", "zwei"] * 3
    assert documents[-1].source.endswith("a.jsonl:6")
    (tmp_path / "a.jsonl").write_bytes(content + b"\x00\xdc" + "}".encode("utf-16-le"))
    with pytest.raises(UserError, match=rf"a\.jsonl: is not UTF-16: .* at byte {len(content)}"):
        list(read_documents(find_sources([str(tmp_path / "a.jsonl")])[0], stats=ReadStats()))


def test_a_folder_that_cannot_be_looked_into_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.txt").write_text("It was a dark night.")
    look = os.scandir

    def refused(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", refused)  # tests may run as root, who may look anywhere
    with pytest.raises(UserError, match="closed: cannot be looked into"):
        find_sources([str(tmp_path)])


@pytest.mark.parametrize("name", ["RS_2012-01", "a.log"])
def test_json_lines_with_a_sentence_in_any_field_are_told(name: str, tmp_path: Path) -> None:
    line = '{"selftext": "A walk along the old river and home again.", "url": "https://a.b"}\n'
    path = tmp_path / name
    path.write_text(line * 3)
    assert [source.kind for source in find_sources([str(path)])] == ["jsonl"]
    path.write_text("{braces} of a poem\n" * 3)
    assert [source.kind for source in find_sources([str(path)])] == ["text"]


def test_posts_that_were_deleted_are_counted_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    texts = ["A walk along the old river.", "[deleted]", "[removed]"]
    path.write_text("".join(json.dumps({"body": text}) + "\n" for text in texts))
    [source], stats = find_sources([str(path)]), ReadStats()
    assert [document.text for document in read_documents(source, stats=stats)] == texts[:1]
    assert stats.reasons["deleted before it was saved"].count == 2


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.json"])
def test_packed_files_under_another_name_are_told(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"A walk along the old river."))
    [source] = find_sources([str(path)])
    with pytest.raises(UserError, match="is packed by gzip"):
        list(read_documents(source, stats=ReadStats()))


def test_texts_that_parquet_holds_as_bytes_or_maps_are_not_passed_over(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, text = tmp_path / "a.parquet", "A walk along the old river."
    pq.write_table(pa.table({"id": ["one"], "text": [text.encode()]}), path)
    [source] = find_sources([str(path)])
    assert [d.text for d in read_documents(source, stats=ReadStats())] == [text]
    pairs = pa.array(
        [[("en", text), ("de", "Ein Weg am alten Fluss.")]], pa.map_("string", "string")
    )
    pq.write_table(pa.table({"id": ["one"], "text": pairs}), path)
    with pytest.raises(UserError, match="no field is clearly the text"):
        list(read_documents(source, stats=ReadStats()))
