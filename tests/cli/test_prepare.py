from __future__ import annotations

import json
from pathlib import Path

import pytest

from nextword.cli.main import main
from nextword.tokens.store import Store


def test_it_makes_a_store_and_prints_its_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "a.txt"
    text.write_text(
        "".join(f"line {n} tells of {n * n:x} {n * n * n:x} {n**5:x}\n" for n in range(400))
    )
    out = tmp_path / "store"
    assert main(["prepare", str(text), "--out", str(out), "--vocab-size", "300", "--json"]) == 0
    printed = capsys.readouterr()
    manifest = json.loads(printed.out)
    assert manifest["tokenizer"]["vocab_size"] == Store.open(out).tokenizer.vocab_size == 300
    assert "training tokens" in printed.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.txt", "--out", "s"], "missing.txt: no such file or folder"),
        (["--out", "s"], "no DATA was given"),
        (["a.txt"], "no --out was given"),
        (["a.txt", "--out", "s", "--vocab-sise", "9"], "did you mean '--vocab-size'"),
        (["a.txt", "--out", "s", "--vocab-size", "9"], "expected at least 257"),
        (["a.txt", "--out", "s", "--vocab-size", "258"], "--vocab-size takes 260 or more"),
        (["a.txt", "--out", "s", "--tokenizer", "bytes", "--vocab-size", "300"], "not for 'bytes'"),
        (["a.txt", "--out", "s", "--languages", "english"], "no language 'english'; known are"),
        (["a.txt", "--out", "s", "--languages", "zh"], "(left out: 1 language en)"),
        (["a.txt", "--out", "a.txt/s"], "cannot be written (Not a directory)"),
        (["a.txt", "--out", "a.txt"], "exists and is not a token store"),
        (["*.pdf", "--out", "s"], "*.pdf: no file of text matches"),
        ([".", "--out", "a.txt", "--text-column", "x"], "exists and is not a token store"),
        (["a.txt", "--out", "s", "--tokenizer", "nobody/nothing"], "no tokenizer 'nobody/nothing'"),
    ],
)
def test_a_bad_command_gives_one_sentence(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("some text")
    assert main(["prepare", *arguments]) == 2
    printed = capsys.readouterr().err.strip()
    assert words in printed
    assert "Traceback" not in printed and printed.count("\n") == 0


def test_the_table_holds_what_was_found_left_out_repeated_and_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poem = "秦川雄帝宅，函谷壯皇居。綺殿千尋起，離宮百雉餘。連甍遙接漢，飛觀迥凌虛。"
    prose = "It was the {} of times, and the {} epoch of belief in {} and of the season {}. "
    lines = [
        {"text": (prose * 4).format(*(f"{n}x{k * n:x}" for k in range(16)))} for n in range(40)
    ]
    lines += [{"text": poem}, {"text": poem}, {"text": poem + "完"}, {"text": ""}]
    data = tmp_path / "notes.jsonl"
    data.write_text("\n".join(map(json.dumps, lines)) + "\n{broken\n")
    assert main(["prepare", str(data), "--out", str(tmp_path / "store"), "--skip-bad"]) == 0
    rows = [" ".join(line.split()) for line in capsys.readouterr().err.splitlines()]

    def row(start: str) -> str:
        return next(line for line in rows if line.startswith(start))

    assert row("documents found") == "documents found 45"
    assert row("left out: exact duplicate").startswith("left out: exact duplicate 1 …")
    assert row("left out: exact duplicate").endswith("notes.jsonl:42")
    assert row("left out: not JSON 1")
    assert row("left out: empty 1")
    assert row("of these unreadable") == "of these unreadable 1 see quarantine.jsonl"
    assert row("documents kept").startswith("documents kept 41")
    assert " en 9" in row("characters") and "zh" in row("characters")
    assert row("duplicates dropped") == "duplicates dropped 2 1 exact, 1 near"
    assert row("near-duplicate clusters").startswith("near-duplicate clusters 1 of 2 documents")
    for name in ("training tokens", "held-out tokens", "held-out text also trained on 0.00%"):
        assert row(name)
    assert "bpe, a vocabulary of" in row("bytes per token")
