from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import transformers

from nextword.cli.main import main
from nextword.hub.writing import save
from nextword.models.sizes import SIZES, config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tokens.prepare import prepare
from nextword.tokens.tokenizer_training import byte_tokenizer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "text.txt").write_text("It was a dark night, and the lamp burned low.\n" * 400)
    prepare([str(folder / "text.txt")], folder / "store", tokenizer="bytes", workers=1)
    tokenizer = byte_tokenizer()
    size = ModelSettings(family="llama", layers=2, width=32, heads=4, kv_heads=2, context_length=64)
    save(folder / "model", Transformer(config_for(size, tokenizer.vocab_size)), tokenizer)
    (folder / "checkpoints" / "step-00000020").mkdir(parents=True)
    saved = {"store": "store", "data": ["text.txt"], "plan": {"schedule": {"steps": 50}}}
    (folder / "run.json").write_text(json.dumps(saved))
    lines = [
        {"kind": "train", "step": 10, "loss": 3.0, "tokens": 640, "seconds": 1.5},
        {"kind": "validation", "step": 10, "loss": 2.5, "bits_per_byte": 3.6, "perplexity": 12.2},
        {"kind": "validation", "step": 20, "loss": 2.75, "bits_per_byte": 3.9, "perplexity": 15.6},
        {"kind": "event", "step": 20, "event": "overfitting", "message": "overfitting: rising"},
        {"kind": "sample", "step": 20, "prompt": "", "text": "the dark the"},
    ]
    metrics = "\n".join(map(json.dumps, lines)) + '\n{"kind": "train", "st'
    (folder / "metrics.jsonl").write_text(metrics)
    return folder


def described(path: Path | str, capsys: pytest.CaptureFixture[str]) -> tuple[dict, str]:
    assert main(["info", str(path), "--json"]) == 0
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) <= 45, "more than a screen"
    return json.loads(captured.out), captured.err


def test_a_run_tells_its_best_model_whatever_a_crash_cut_off(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    description, shown = described(run, capsys)
    assert description["kind"] == "run" and description["best"]["step"] == 10
    assert description["steps"] == {"taken": 20, "planned": 50}
    assert description["checkpoints"] == ["step-00000020"]
    assert description["store"]["kind"] == "store" and description["model"]["kind"] == "model"
    assert "2.5000 at step 10" in shown and "overfitting: rising" in shown and "the dark" in shown


def test_a_store_tells_its_splits(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    description, shown = described(run / "store", capsys)
    assert description["kind"] == "store" and description["splits"]["train"]["tokens"] > 0
    assert "train" in shown and "val" in shown and "bytes" in shown


def test_a_store_tells_what_it_was_made_from_and_what_was_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        f"The {n}th lamp was lit at nightfall, and burned until the morning." for n in range(9)
    ]
    records = "".join(json.dumps({"text": line}) + "\n" for line in [*lines, lines[0], ""])
    (tmp_path / "text.jsonl").write_text(records)
    prepare([str(tmp_path / "text.jsonl")], tmp_path / "store", tokenizer="chars", workers=1)
    capsys.readouterr()
    description, shown = described(tmp_path / "store", capsys)
    assert description["data"] == [str(tmp_path / "text.jsonl")]
    assert description["documents"]["total"] == 11 and sum(description["left_out"].values()) >= 2
    assert description["tokenizer"]["kind"] == "chars" and list(description["languages"]) == ["en"]
    for words in ("text.jsonl", "chars, ", "left out: exact duplicate", "en 100%", "%"):
        assert words in shown


def test_a_model_has_the_parameters_transformers_counts(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    description, shown = described(run / "model", capsys)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(run / "model")
    assert description["parameters"] == theirs.num_parameters()
    assert (description["family"], description["heads"], description["kv_heads"]) == ("llama", 4, 2)
    assert description["context_length"] == 64 and "2 × 32" in shown


def test_a_gpt2_model_of_transformers_is_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = transformers.GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=50, n_positions=32)
    theirs = transformers.GPT2LMHeadModel(config)
    theirs.save_pretrained(tmp_path, max_shard_size="4KB")
    capsys.readouterr()
    description, _ = described(tmp_path, capsys)
    assert description["parameters"] == theirs.num_parameters()
    assert (description["layers"], description["width"], description["tied"]) == (2, 16, True)


def test_sizes_are_listed_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    description, _ = described("sizes", capsys)
    assert [size["name"] for size in description["sizes"]] == list(SIZES)
    gpt2 = next(size for size in description["sizes"] if size["name"] == "gpt2")
    assert 124e6 < gpt2["parameters"] < 125e6


def test_torch_is_not_needed_to_describe(run: Path) -> None:
    code = (
        "import sys; from nextword.cli.main import main;"
        f"assert main(['info', {str(run)!r}]) == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_what_is_neither_is_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(tmp_path)]) == 2
    assert "is not a store" in capsys.readouterr().err
    assert main(["info", str(tmp_path / "no")]) == 2
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{")
    assert main(["info", str(tmp_path)]) == 2
    assert "config.json:1: is not valid JSON" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 100)
    assert main(["info", str(tmp_path)]) == 2
    assert "model.safetensors" in capsys.readouterr().err


def test_a_run_of_many_files_names_some_and_counts_the_others(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = json.loads((run / "run.json").read_text())
    saved |= {"data": [f"poems/{n}.json" for n in range(300)], "store": str(run / "store")}
    (tmp_path / "run.json").write_text(json.dumps(saved))
    description, shown = described(tmp_path, capsys)
    assert len(description["data"]) == 300
    assert "poems/2.json" in shown and "poems/3.json" not in shown and "and 297 more" in shown
