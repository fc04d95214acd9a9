from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from nextword.cli.main import main
from nextword.hub.writing import save
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tokens.prepare import prepare
from nextword.tokens.store import Store
from nextword.tokens.tokenizer_training import byte_tokenizer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pretrain leaves, but for the training."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    text = folder / "text.jsonl"
    documents = [f"Document {n} tells of {n * 7} lamps in house {n % 13}." for n in range(300)]
    text.write_text("\n".join(json.dumps({"text": document}) for document in documents))
    prepare([str(text)], folder / "store", tokenizer="bytes", deduplicate="none", workers=1)
    size = ModelSettings(layers=1, width=32, heads=2, context_length=64)
    tokenizer = byte_tokenizer()
    save(folder / "model", Transformer(config_for(size, tokenizer.vocab_size), seed=0), tokenizer)
    (folder / "run.json").write_text(json.dumps({"store": "store", "data": [str(text)]}))
    return folder


def test_a_run_is_evaluated_on_what_it_held_out(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    counts = Store.open(run / "store").manifest["splits"]["val"]
    assert result["tokens"] == counts["tokens"] > 0
    assert result["bytes"] == counts["bytes"]
    low, high = result["bits_per_byte_interval"]
    assert low < result["bits_per_byte"] < high
    assert "bits per byte" in captured.err and "95% interval" in captured.err


def test_a_run_its_model_and_its_store_give_the_same(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = []
    for arguments in ([run], [run / "model"], [run / "model", run / "store"]):
        assert main(["evaluate", *map(str, arguments), "--json"]) == 0
        figures.append(json.loads(capsys.readouterr().out)["loss"])
    assert figures[0] == figures[1] == figures[2]


def test_without_json_nothing_is_on_standard_output(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), "--max-tokens", "200"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and "perplexity" in captured.err


def test_documents_longer_than_the_context_are_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "long.txt").write_text("The lamp burned low, and nobody slept for nights. " * 3)
    assert main(["evaluate", str(run), str(tmp_path / "long.txt")]) == 0
    expected = "1 of 1 documents are longer than the context of 64 tokens"
    assert expected in capsys.readouterr().err
    assert main(["evaluate", str(run), str(tmp_path / "long.txt"), "--stride", "8"]) == 0
    assert expected not in capsys.readouterr().err


def test_a_store_of_another_tokenizer_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare([str(run / "text.jsonl")], tmp_path / "store", tokenizer="chars", workers=1)
    capsys.readouterr()
    assert main(["evaluate", str(run), str(tmp_path / "store")]) == 2
    assert "another tokenizer" in capsys.readouterr().err


def test_a_run_whose_store_is_gone_still_scores_text_that_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("store"))
    assert main(["evaluate", str(tmp_path / "run"), str(run / "text.jsonl"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents_seen"] is None
    assert main(["evaluate", str(tmp_path / "run")]) == 2
    assert "store" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["RUN", "missing.txt"], "missing.txt: no such file"),
        (["RUN", "--stride", "65"], "at most 64"),
        (["RUN", "--batchsize", "3"], "did you mean '--batch-size'"),
        (["RUN", "--context-length", "1"], "--context-length"),
        (["nowhere/at/all"], "nowhere/at/all"),
    ],
)
def test_bad_input_gets_one_sentence(
    run: Path, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *(str(run) if word == "RUN" else word for word in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and expected in captured.err and captured.err.count("\n") == 1
