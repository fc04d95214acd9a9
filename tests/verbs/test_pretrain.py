"""The evaluation a run ends with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nextword.hub.writing import save
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.runs.record import read_run
from nextword.settings import ModelSettings
from nextword.tokens.prepare import prepare
from nextword.tokens.tokenizer_training import byte_tokenizer
from nextword.verbs.evaluate import evaluate
from nextword.verbs.pretrain import FEWEST_TOKENS, measure


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose held-out text ends otherwise than it begins."""
    torch.set_num_threads(1)
    begins = "".join(f"It was night {n}, and the lamp burned low.\n" for n in range(1500))
    ends = "".join(f"{n * n * n}\n" for n in range(5000))
    (tmp_path / "text.txt").write_text("x" * 1000 + "\n" + begins + ends, encoding="utf-8")
    settings = {"split": "position", "val_fraction": 0.98, "tokenizer": "bytes", "workers": 1}
    prepare([str(tmp_path / "text.txt")], tmp_path / "store", **settings)
    size = ModelSettings(layers=1, width=32, heads=2, context_length=64)
    tokenizer = byte_tokenizer()
    model = Transformer(config_for(size, tokenizer.vocab_size), seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    save(tmp_path / "model", model, tokenizer)
    (tmp_path / "run.json").write_text(json.dumps({"store": "store", "data": ["text.txt"]}))
    return tmp_path


def trained(run: Path, seconds: float) -> None:
    records: list[dict[str, Any]] = [
        {"kind": "train", "step": 9, "loss": 3.0, "tokens_per_second": 1e4, "seconds": seconds},
        {"kind": "validation", "step": 9, "loss": 3.0, "seconds": seconds},
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_long_run_is_measured_on_all_it_held_out(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(run, 3600)
    measure(read_run(run))
    evaluation, whole = json.loads((run / "evaluation.json").read_text()), evaluate(run).to_json()
    whole |= {"seconds": evaluation["seconds"], "model": evaluation["model"]}
    assert evaluation == {"step": 9, "held_out_tokens": evaluation["tokens"]} | whole
    assert "longer than" not in capsys.readouterr().err


def test_a_short_run_is_measured_on_a_fair_part_of_it(run: Path) -> None:
    trained(run, 1)
    measure(read_run(run))
    evaluation, whole = json.loads((run / "evaluation.json").read_text()), evaluate(run)
    assert 0.9 * FEWEST_TOKENS < evaluation["tokens"] <= FEWEST_TOKENS < whole.tokens / 10
    assert evaluation["held_out_tokens"] == whole.tokens
    low, high = evaluation["bits_per_byte_interval"]
    assert low < whole.bits_per_byte < high
    (run / "start.txt").write_text((run / "text.txt").read_text(encoding="utf-8")[2000:6000])
    first = evaluate(run, run / "start.txt").bits_per_byte
    assert not low < first < high, "the beginning alone would have done"


def test_a_run_that_kept_no_model_is_not_measured(run: Path) -> None:
    measure(read_run(run))  # without a validation
    assert not (run / "evaluation.json").exists()
