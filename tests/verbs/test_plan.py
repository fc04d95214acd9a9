"""A plan says what pretraining would do, and does nothing of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nextword as nw
from nextword.cli.main import main
from nextword.errors import UserError
from nextword.runs.record import read_object

SHAPE = {"layers": 2, "width": 32, "heads": 2, "context_length": 32, "batch_size": 4}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n\n".join(f"The cat number {n} sat on mat {n % 7}." for n in range(600)))
    return path


def test_what_is_planned_is_what_pretraining_then_does(text: Path, tmp_path: Path) -> None:
    given = {**SHAPE, "steps": 6, "tokenizer": "bytes", "workers": 1}
    planned = nw.plan(text, **given)
    nw.pretrain(text, tmp_path / "run", **given)
    found = read_object(tmp_path / "run" / "run.json")["plan"]
    for name in ("batch_size", "micro_batch", "learning_rate"):
        assert getattr(planned, name) == found[name]
    assert planned.steps == found["schedule"]["steps"]
    assert planned.warmup == found["schedule"]["warmup"]
    assert (planned.layers, planned.width) == (found["model"]["layers"], found["model"]["width"])
    assert planned.seen_tokens == 6 * 4 * 32
    assert planned.bits_per_byte is not None and 1 < planned.bits_per_byte < 6
    assert planned.memory > 0 and planned.tokens_per_second > 0


def test_the_command_prints_json_and_leaves_nothing_behind(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--budget", "5s", "--tokenizer", "bytes", "--workers", "1", "--json"]
    assert main(["plan", str(text), *flags]) == 0
    said = capsys.readouterr()
    planned = json.loads(said.out)
    assert planned["steps"] > 0 and planned["seconds"] <= 5
    assert "bits per byte" in said.err and "the plan" in said.err.lower()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_predicts_hidden_tokens_has_no_estimate(text: Path) -> None:
    given = {**SHAPE, "steps": 2, "tokenizer": "bytes", "workers": 1, "objective": "masked"}
    planned = nw.plan(text, **given)
    assert planned.bits_per_byte is None and planned.estimate.startswith("none")


def test_what_a_plan_cannot_use_is_refused(text: Path) -> None:
    with pytest.raises(UserError, match="--resume does nothing for a plan"):
        nw.plan(text, resume=True)
