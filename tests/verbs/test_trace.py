"""A text is found in what a run learned from, also after fine-tuning."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import nextword as nw
from nextword.cli.main import main
from nextword.errors import UserError
from nextword.runs.training_text import find_store

SENTENCE = "The old lamp number 17 burned low while nobody came home to see it.\n"
SMALL: dict[str, Any] = {
    **{"layers": 1, "width": 16, "heads": 2, "context_length": 32, "precision": "fp32"},
    **{"batch_size": 4, "steps": 2, "eval_every": 2, "sample_every": 0, "workers": 1},
    **{"tokenizer": "bpe", "vocab_size": 400, "deduplicate": "none"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in `base`, one fine-tuned from it in `tuned`, one of two seeds in `seeds`."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    (folder / "texts").mkdir()
    for number in range(40):
        lines = [SENTENCE.replace("17", str(number * 40 + line)) for line in range(20)]
        (folder / "texts" / f"{number}.txt").write_text("".join(lines))
    nw.pretrain(folder / "texts", folder / "base", **SMALL)
    rows = [{"text": f"lamp {n}", "label": "low" if n % 2 else "high"} for n in range(24)]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    small = {"task": "classify", "steps": 2, "precision": "fp32"}
    nw.finetune(folder / "base", folder / "rows.jsonl", folder / "tuned", **small)
    nw.finetune(folder / "tuned", folder / "rows.jsonl", folder / "seeds", **small, seeds=2)
    return folder


@pytest.mark.parametrize("name", ["base", "base/model", "tuned", "tuned/model", "seeds"])
def test_a_text_is_found_in_what_a_run_was_pretrained_on(made: Path, name: str) -> None:
    assert find_store(made / name).samefile(made / "base" / "store")
    line = SENTENCE.replace("17", "402")
    found = nw.trace(made / name, line)
    assert found["verbatim_share"] == 1
    (passage,) = found["passages"]
    (place,) = passage["places"]
    assert place["source"] == str(made / "texts" / "10.txt") and place["line"] == 3
    assert Path(place["source"]).read_bytes()[place["byte"] :].startswith(line.encode())


def test_the_index_is_built_once(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "base", tmp_path / "run", ignore=shutil.ignore_patterns("source-index"))
    assert nw.trace(tmp_path / "run", SENTENCE)["built_seconds"] is not None
    assert nw.trace(tmp_path / "run", SENTENCE)["built_seconds"] is None


def test_runs_that_move_together_find_each_other(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "moved")
    for name in ("base", "tuned", "seeds"):
        store = find_store(tmp_path / "moved" / name)
        assert store.samefile(tmp_path / "moved" / "base" / "store")


def test_a_store_that_is_gone_or_another_is_named(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved" / "base" / "store")
    for name in ("base", "tuned", "seeds"):
        with pytest.raises(UserError, match=r"is gone.*store.*nextword trace STORE TEXT"):
            nw.trace(tmp_path / "moved" / name, SENTENCE)
    shutil.copytree(made / "texts", tmp_path / "texts")
    (tmp_path / "texts" / "0.txt").write_text("another text " * 50)
    nw.prepare(tmp_path / "texts", tmp_path / "moved" / "base" / "store", workers=1)
    with pytest.raises(UserError, match="another text than this run learned from"):
        nw.trace(tmp_path / "moved" / "base", SENTENCE)


def test_a_run_whose_text_is_not_known_says_so(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "base" / "model", tmp_path / "alone")
    with pytest.raises(UserError, match="is no run or store: what it learned from is not known"):
        nw.trace(tmp_path / "alone", SENTENCE)
    with pytest.raises(UserError, match="no such run or store"):
        nw.trace(tmp_path / "nothing", SENTENCE)
    small = {"task": "classify", "steps": 2, "precision": "fp32"}
    nw.finetune(tmp_path / "alone", made / "rows.jsonl", tmp_path / "tuned", **small)
    with pytest.raises(UserError, match="is no run or store"):
        nw.trace(tmp_path / "tuned", SENTENCE)


def test_a_run_of_before_finds_the_text_of_the_run_it_began_from(
    made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made / "tuned", tmp_path / "tuned")
    decided = json.loads((tmp_path / "tuned" / "run.json").read_text())
    del decided["pretrained_on"]
    (tmp_path / "tuned" / "run.json").write_text(json.dumps(decided))
    assert find_store(tmp_path / "tuned").samefile(made / "base" / "store")


def test_the_command_shows_passages_for_people_and_for_programs(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "Yesterday the old lamp number 402 burned low while nobody laughed."
    assert main(["trace", str(made / "base"), text, "--json", "--places", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == nw.trace(made / "base", text, places=1)
    assert main(["trace", str(made / "base"), text, "--places", "1"]) == 0
    shown = capsys.readouterr().out
    assert f"{found['verbatim_share']:.1%} of these {len(text)} bytes" in shown
    assert f"“{found['passages'][0]['text']}”" in shown
    assert "10.txt, line 3: …" in shown and "402" in shown
    assert main(["trace", str(made / "base"), "Zebras!"]) == 0
    assert capsys.readouterr().out.startswith("Not in the training text: the longest match has")
    assert main(["trace", str(made / "nothing"), "Zebras!"]) == 2
    assert "Traceback" not in capsys.readouterr().err
