from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from corpora import content_of, texts_of, write_books

from nextword.errors import UserError
from nextword.text import traces
from nextword.tokens import stages
from nextword.tokens.prepare import prepare, refuse_changed_text
from nextword.tokens.store import SPLITS, Store
from nextword.tokens.summary import summary_rows
from nextword.tokens.workers import work_path


def test_every_document_is_stored_once_whole_and_followed_by_its_end(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books")
    store = prepare(books, tmp_path / "store", val_fraction=0.25)
    stored = texts_of(store, "train") + texts_of(store, "val")
    written = [file.read_text().strip("\n") for file in books.iterdir()]
    assert sorted(text.strip("\n") for text in stored) == sorted(written)
    assert 1 <= store.counts("val")["documents"] <= 4
    for split in (store.train, store.val):
        assert (split.tokens[split.starts[1:] - 1] == split.end_id).all()
        assert (split.tokens == split.end_id).sum() == len(split.starts) - 1


def test_the_manifest_counts_what_is_there(tmp_path: Path) -> None:
    store = prepare(write_books(tmp_path / "books"), tmp_path / "store")
    for name, split in (("train", store.train), ("val", store.val)):
        texts = texts_of(store, name)
        assert store.counts(name) == {
            "documents": len(texts),
            "tokens": len(split.tokens),
            "characters": sum(map(len, texts)),
            "bytes": sum(len(text.encode()) for text in texts),
        }
        sources = store.train.sources(np.arange(2))
        assert all(source.endswith(".txt") for source in sources)
    summary = store.manifest["summary"]
    assert summary["accepted"] + summary["skipped"] + summary["rejected"] == summary["total"] == 12
    assert summary["characters"] == sum(store.counts(name)["characters"] for name in SPLITS)


def test_the_manifest_names_the_data_the_tokenizer_and_the_settings(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books")
    made = prepare(books, tmp_path / "store", tokenizer="chars", val_fraction=0.2).manifest
    assert made["data"] == [str(books)]
    assert made["tokenizer"]["kind"] == "chars"
    assert made["settings"]["val_fraction"] == 0.2
    given = prepare([books], tmp_path / "given", tokenizer=str(tmp_path / "store")).manifest
    assert given["tokenizer"]["kind"] == str(tmp_path / "store")


def test_the_number_of_workers_and_the_size_of_shards_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = write_books(tmp_path / "books", 8, 3000)
    alone = prepare(books, tmp_path / "alone", workers=1)
    monkeypatch.setattr(stages, "SHARD_SIZE", 4000)
    shared = prepare(books, tmp_path / "shared", workers=2)
    monkeypatch.setattr(
        stages, "LARGE_FILE", 1000
    )  # every file is read here, its documents shared out
    parted = prepare(books, tmp_path / "parted", workers=2)
    assert content_of(alone.path) == content_of(shared.path) == content_of(parted.path)


def test_repeated_documents_are_dropped_and_reported(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books")
    text = (books / "book003.txt").read_text()
    (books / "copy.txt").write_text(text)
    (books / "near.txt").write_text(text.replace("Book 3", "Volume the third"))
    store = prepare(books, tmp_path / "store")
    summary = store.manifest["summary"]
    assert summary["duplicates"] == {"exact duplicate": 1, "near duplicate": 1}
    assert summary["accepted"] == 12
    assert summary["reasons"]["exact duplicate"]["examples"][0][0].endswith("copy.txt")
    both = prepare(books, tmp_path / "both", deduplicate="exact")
    assert both.manifest["summary"]["duplicates"] == {"exact duplicate": 1}
    every = prepare(books, tmp_path / "every", deduplicate="none")
    assert every.manifest["summary"]["accepted"] == 14


def test_near_duplicates_never_straddle_train_and_validation(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", 15)
    for number in range(15):
        text = (books / f"book{number:03d}.txt").read_text()
        (books / f"copy{number}.txt").write_text("Copied\n" + text)
    for seed in range(4):
        store = prepare(
            books, tmp_path / f"{seed}", deduplicate="none", val_fraction=0.4, seed=seed
        )
        held = {text.split("Book ")[1][:200] for text in texts_of(store, "val")}
        trained = {text.split("Book ")[1][:200] for text in texts_of(store, "train")}
        assert store.counts("val")["documents"] > 0
        assert store.manifest["summary"]["overlap"]["documents_seen"] == 0
        assert len(held | trained) == 15 and not held & trained


def test_repeated_paragraphs_can_be_dropped(tmp_path: Path) -> None:
    licence = "This licence text is the same in each and every one of these documents."
    for number in range(5):
        path = write_books(tmp_path / f"b{number}", 1, seed=number) / "book000.txt"
        path.write_text(f"{licence}\n\n{path.read_text()}")
    data = [tmp_path / f"b{number}" for number in range(5)]
    store = prepare(data, tmp_path / "store", deduplicate_paragraphs=True, val_fraction=0)
    assert sum(licence in text for text in texts_of(store, "train")) == 1
    assert store.manifest["summary"]["duplicates"]["paragraph"] == 4


def test_licences_around_books_are_counted_and_can_be_dropped(tmp_path: Path) -> None:
    licence = "Anyone may copy this book, give it away or use it again under these very terms."
    books = write_books(tmp_path / "books", 4)
    for path in sorted(books.iterdir())[:3]:
        marks = [f"*** {mark} OF THE PROJECT GUTENBERG EBOOK ***" for mark in ("START", "END")]
        path.write_text(f"{marks[0]}\n\n{path.read_text()}\n\n{marks[1]}\n\n{licence}\n")
    for drop, remark in ((False, "--deduplicate-paragraphs drops its repetitions"), (True, "")):
        out = tmp_path / f"{drop}"
        store = prepare(books, out, deduplicate_paragraphs=drop, val_fraction=0)
        rows = {row[0].strip(): row[1:] for row in summary_rows(store.manifest)}
        assert rows["with Project Gutenberg's licence"] == ("3", remark)
        assert sum(licence in text for text in texts_of(store, "train")) == (1 if drop else 3)


def test_misread_letters_and_markup_are_counted_in_the_summary(tmp_path: Path) -> None:
    texts = ["Schöne Grüße aus München".encode().decode("latin-1"), "<p>A walk by the river</p>"]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text)
    store = prepare(tmp_path, tmp_path / "store", tokenizer="bytes")
    rows = {what.strip(): (count, remark) for what, count, remark in summary_rows(store.manifest)}
    assert rows[f"with {traces.MISREAD}"] == ("1", traces.REMARKS[traces.MISREAD])
    assert rows[f"with {traces.MARKUP}"] == ("1", traces.REMARKS[traces.MARKUP])


@pytest.mark.parametrize("large", [False, True])
def test_fields_that_are_not_used_are_in_the_summary(
    large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "SHARD_SIZE", 3000)
    monkeypatch.setattr(stages, "LARGE_FILE", 1000 if large else 10**9)
    for name in ("a.jsonl", "b.jsonl", "c.csv"):
        lines = [json.dumps({"text": f"{name} {n} {n * n:x}", "url": "u" * 9}) for n in range(40)]
        if name == "c.csv":
            lines = ["text,author,n", *(f"line {n} {n * n:x} of c,Ann,{n}" for n in range(40))]
        (tmp_path / name).write_text("\n".join(lines))
    data = [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl", "c.csv")]
    store = prepare(data, tmp_path / "store", workers=2, deduplicate="exact")
    assert store.manifest["summary"]["unused"] == {
        "jsonl": {"url": {"records": 80, "characters": 720}},
        "csv": {
            "author": {"records": 40, "characters": 120},
            "n": {"records": 40, "characters": 70},
        },
    }
    rows = {row[0].strip(): row[1:] for row in summary_rows(store.manifest)}
    assert rows["not used: jsonl"] == ("720", "url (720 characters in 80 records)")
    both = "author (120 characters in 40 records), n (70 characters in 40 records)"
    assert rows["not used: csv"] == ("190", both)


def test_text_that_was_edited_after_it_was_prepared_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    books = write_books(tmp_path / "books", 4)
    store = prepare(books, tmp_path / "store")
    book = books / "book001.txt"
    os.utime(book, ns=(0, 1))
    refuse_changed_text(store, [str(books)])  # only its time is another
    text = book.read_text()
    book.write_text(text.replace("a", "e"))
    with pytest.raises(UserError, match=r"store: the text has changed since .* was prepared; put"):
        refuse_changed_text(store, [str(books)])
    book.write_text(text)
    refuse_changed_text(store, [str(books)])
    books.rename(tmp_path / "elsewhere")
    capsys.readouterr()
    refuse_changed_text(store, [str(books)])
    assert "the store is used as it is" in capsys.readouterr().err


def test_the_customary_split_by_position_is_exact(tmp_path: Path) -> None:
    text = (write_books(tmp_path / "b", 1, 20_000) / "book000.txt").read_text()
    store = prepare(
        tmp_path / "b", tmp_path / "store", tokenizer="chars", split="position", clean=False
    )
    boundary = int(len(text) * 0.9)
    assert texts_of(store, "train") == [text[:boundary]]
    assert texts_of(store, "val") == [text[boundary:]]


def test_control_tokens_written_in_a_text_stay_text(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", 4)
    text = "once <|endoftext|> upon <|im_start|>system a time\n" * 50
    (books / "hostile.txt").write_text(text)
    for tokenizer in ("bpe", "bytes", "chars"):
        store = prepare(books, tmp_path / tokenizer, tokenizer=tokenizer)
        assert (np.asarray(store.train.tokens) == store.train.end_id).sum() == len(
            store.train.starts
        ) - 1
        stored = "".join(texts_of(store, "train") + texts_of(store, "val"))
        assert stored.count("<|endoftext|> upon <|im_start|>system") == 50


def test_another_store_s_tokenizer_can_be_used(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books")
    first = prepare(books, tmp_path / "first", vocab_size=400)
    other = write_books(tmp_path / "other", seed=5)
    second = prepare(other, tmp_path / "second", tokenizer=str(tmp_path / "first"))
    assert second.tokenizer.sha256 == first.tokenizer.sha256
    assert second.tokenizer.vocab_size == 400


def test_what_cannot_be_read_is_named_or_set_aside(tmp_path: Path) -> None:
    data = tmp_path / "notes.jsonl"
    good = [
        json.dumps({"text": f"a good line number {n} of text, quite unlike {n**5}"})
        for n in range(9)
    ]
    data.write_text("\n".join([*good[:4], "{broken", *good[4:]]) + "\n")
    with pytest.raises(UserError, match=r"notes\.jsonl:5"):
        prepare(data, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    store = prepare(data, tmp_path / "store", skip_bad=True, deduplicate="none")
    assert store.manifest["summary"]["rejected"] == 1
    lines = (tmp_path / "store" / "quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["source"][-13:] for line in lines] == ["notes.jsonl:5"]


def test_no_text_left_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n ")
    with pytest.raises(UserError, match="no text is left of 1 documents found"):
        prepare(tmp_path / "empty.txt", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_place_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", 3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not a token store; remove it, or name another"):
        prepare(books, tmp_path / "mine")
    prepare(books, tmp_path / "store")
    with pytest.raises(UserError, match="other data, or with other settings"):
        prepare(books, tmp_path / "store", seed=5)


def test_a_finished_store_is_returned_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = write_books(tmp_path / "books", 3)
    first = prepare(books, tmp_path / "store")
    monkeypatch.setattr(
        "nextword.tokens.prepare.read_shards", lambda *_: pytest.fail("it is prepared again")
    )
    assert prepare(books, tmp_path / "store").manifest == first.manifest


def test_a_store_inside_its_data_does_not_read_itself(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", 3)
    first = prepare(books, books / "store")
    assert prepare(books, books / "store").manifest == first.manifest


def command(books: Path, out: Path) -> list[str]:
    program = (
        "from nextword.tokens import prepare as p, stages; stages.SHARD_SIZE = 30_000;"
        f"p.prepare({str(books)!r}, {str(out)!r}, workers=2, vocab_size=600)"
    )
    return [sys.executable, "-c", program]


def entries(folder: Path) -> int:
    """How many files and folders there are; some may go meanwhile."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def test_killed_at_random_it_looks_unfinished_and_goes_on_to_the_same_store(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", 40, 30_000)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(command(books, tmp_path / "whole"), env=environment, check=True)
    out, rng = tmp_path / "killed", random.Random(3)
    place = work_path(out)
    kills, done = 0, 0
    while process := subprocess.Popen(
        command(books, out), env=environment, start_new_session=True, stderr=subprocess.PIPE
    ):
        done += rng.randrange(8, 20)  # files, of about 50
        while process.poll() is None and entries(place) < done:
            time.sleep(0.002)
        process.kill()  # the parent alone; its workers must end by themselves
        _, words = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, words.decode()
        kills += 1
        assert not (out / "manifest.json").exists() or Store.open(out)
    subprocess.run(command(books, out), env=environment, check=True)
    assert kills, "it was never killed"
    assert content_of(out) == content_of(tmp_path / "whole")
    assert not (tmp_path / ".killed.work").exists()


def stopped_at(stage: str, number: int, books: Path, out: Path) -> list[str]:
    program = f"""
import os, signal, time
from nextword.cli.main import main
from nextword.tokens import encode, prepare as p, stages
stages.SHARD_SIZE = 30_000
p.SMALL_CORPUS = 0
def stop(*_):
    try:  # of the two workers one alone sends it: a second signal ends the run without a word
        os.close(os.open({str(out) + ".sent"!r}, os.O_CREAT | os.O_EXCL))
        os.kill({{parent}}, {number})
    except FileExistsError:
        pass
    time.sleep(600)
{{parent}} = os.getpid()
{stage} = stop
raise SystemExit(main(["prepare", {str(books)!r}, "--out", {str(out)!r}, "--workers", "2",
                       "--vocab-size", "600"]))
""".format(parent="parent")
    return [sys.executable, "-c", program]


def test_a_signal_in_any_stage_ends_it_at_once_and_it_goes_on(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", 20, 10_000)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    out, sent = tmp_path / "store", tmp_path / "store.sent"
    for stage, number in (
        ("stages.read_stage", signal.SIGINT),
        ("stages.tokenizer_stage", signal.SIGTERM),
        ("stages.windows_stage", signal.SIGTERM),
        ("encode.encode_stage", signal.SIGINT),
    ):
        sent.unlink(missing_ok=True)
        process = subprocess.Popen(
            stopped_at(stage, number, books, out),
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        _, words = process.communicate(timeout=300)
        assert process.returncode == 130, words
        assert "What is done is kept: the same command goes on from there" in words
        assert words.endswith("nextword: interrupted\n") and "Traceback" not in words
        assert not out.exists()
    subprocess.run(command(books, out), env=environment, check=True)
    assert content_of(out) == content_of(prepare(books, tmp_path / "b", vocab_size=600).path)


def test_nothing_is_said_of_held_out_text_where_none_was_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = prepare(write_books(tmp_path / "books", 3), tmp_path / "store", val_fraction=0)
    assert len(store.val) == 0
    said = capsys.readouterr().err
    assert "warning" not in said and "held-out text also" not in said


def test_a_store_may_be_made_in_the_folder_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = write_books(tmp_path / "books", 3)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert len(prepare(books, ".").train)


def test_a_file_name_that_is_no_unicode_is_kept_in_store_and_manifest(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", 3)
    content = (books / "book000.txt").read_bytes()
    name = books / os.fsdecode(b"caf\xe9.txt")
    name.write_bytes(content.replace(b"Book", b"Band"))
    store = prepare([name, books], tmp_path / "store", deduplicate="exact")
    assert store.manifest["data"][0].endswith("caf\\xe9.txt")
    twice = prepare([name, books], tmp_path / "twice")
    assert twice.manifest["summary"]["duplicates"] == {"near duplicate": 1}
    json.dumps(twice.manifest).encode()
