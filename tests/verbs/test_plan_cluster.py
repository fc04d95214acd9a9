"""What a run would be on GPUs that are not here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nextword.cli.main import main
from nextword.errors import UserError
from nextword.verbs.plan_cluster import plan_cluster


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n\n".join(f"The cat number {n} sat on mat {n % 7}." for n in range(600)))
    return path


COMMON = {"tokenizer": "bytes", "workers": 1, "context_length": 1024}


def test_a_size_that_is_asked_for_is_planned(text: Path) -> None:
    found = plan_cluster(text, "8xH100", 2.0, size="gpt2", epochs=2, **COMMON)
    assert (found.layers, found.width) == (12, 768)
    assert found.seen_tokens == 2 * found.text_tokens
    assert found.cost == pytest.approx(2.0 * 8 * found.seconds / 3600)
    assert found.sharding == "none" and found.memory < found.gpu_memory
    assert 2e6 < found.tokens_per_second < 5e6


def test_a_budget_chooses_the_size(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = plan_cluster(text, "8xH100", budget="24h", **COMMON)
    assert found.seconds == 24 * 3600 and found.cost is None
    assert found.bits_per_byte is not None and found.bits_per_byte > 0
    assert "the text is too little for this: it would be read " in capsys.readouterr().err


def test_a_model_too_large_for_a_gpu_is_spread(text: Path) -> None:
    given = {"layers": 32, "width": 4096, "heads": 32, "steps": 10}
    assert plan_cluster(text, "8xH100", **given, **COMMON).sharding == "all"
    assert plan_cluster(text, "64xH100", **given, **COMMON).sharding == "node"
    with pytest.raises(UserError, match="does not fit 1 × H100"):
        plan_cluster(text, "H100", **given, **COMMON)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--gpus", "8xH10"], "not known"),
        (["--gpus", "8xH100", "--price", "much"], "a price such as"),
        (["--price", "2"], "nothing without --gpus"),
        (["--gpus", "H100", "--steps", "10"], "give --size"),
        (["--gpus", "H100", "--objective", "masked"], "leave --gpus out"),
    ],
)
def test_what_cannot_be_planned_is_a_sentence(
    flags: list[str], said: str, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(text), "--tokenizer", "bytes", "--workers", "1", *flags]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_command_prints_each_figure_and_its_source(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--tokenizer", "bytes", "--workers", "1", "--budget", "1h", "--price", "2.5", "--json"]
    assert main(["plan", str(text), "--gpus", "8xH100", *flags]) == 0
    printed = capsys.readouterr()
    planned = json.loads(printed.out)
    assert planned["cost"] == pytest.approx(20.0) and planned["sources"]["loss"]
    assert "memory a GPU" in printed.err and "estimated" in printed.err
