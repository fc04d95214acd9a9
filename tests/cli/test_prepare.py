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
        (["--out", "s"], "required: DATA"),
        (["a.txt"], "required: --out"),
        (["a.txt", "--out", "s", "--vocab-sise", "9"], "did you mean '--vocab-size'"),
        (["a.txt", "--out", "s", "--vocab-size", "9"], "greater than or equal to 257"),
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
