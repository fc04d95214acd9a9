"""An encoder–decoder from raw text, by hidden spans: trained, stopped, resumed, opened."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from nextword.cli.main import main
from nextword.evaluation.masked import HiddenEvaluation
from nextword.models.config import parameter_count
from nextword.models.sizes import config_for, flops_per_pair, flops_per_token
from nextword.reports.report import report
from nextword.runs.record import read_run
from nextword.settings import MaskSettings, ModelSettings
from nextword.tokens.loader import derive_key
from nextword.tokens.prepare import prepare
from nextword.tokens.span_corruption import DenoisingLoader, span_corruption_for
from nextword.tokens.store import Store
from nextword.training.validators import fill
from nextword.verbs import pretrain as reports
from nextword.verbs.evaluate import evaluate
from nextword.verbs.pretrain import RunSummary, run_pretraining

READER = Path(__file__).parents[2] / "examples" / "data" / "reader.txt"
SMALL: dict[str, Any] = {
    **{"objective": "denoise", "layers": 2, "width": 32, "heads": 2, "context_length": 32},
    **{"batch_size": 8, "micro_batch": 4, "steps": 8, "eval_every": 4, "save_every": 4},
    **{"precision": "fp32", "eval_tokens": 512, "seed": 5},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "denoise"
    prepare(READER, path, objective="denoise", vocab_size=500, workers=1)
    return path


def train(data: Path, run: Path, **more: Any) -> RunSummary:
    return run_pretraining(data, run, **{**SMALL, **more})


def test_the_held_out_loss_is_that_of_transformers_on_the_same_spans(
    store: Path, tmp_path: Path
) -> None:
    """A row here is several documents; there each stands alone, padded."""
    run = train(store, tmp_path / "run", steps=40, eval_every=40, sample_every=40)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run" / "model").eval()
    opened = Store.open(store)
    corruption = span_corruption_for(opened.tokenizer, MaskSettings())
    assert model.config.decoder_start_token_id == corruption.start_id == opened.tokenizer.pad_id
    rows = DenoisingLoader(opened.val, 32, 5, corruption)
    blocks = len(opened.val) // rows.length
    wanted = min(blocks, 512 // rows.length)
    starts = [n * blocks // wanted * rows.length for n in range(wanted)]
    keys = [derive_key(5, start, "held out") for start in starts]
    batch = rows.rows(np.array(starts), np.zeros(wanted, np.int64), keys, [])
    nats, targets = 0.0, 0
    for row in range(wanted):
        for document in range(1, int(batch.documents[row].max()) + 1):
            source = batch.source[row][batch.source_documents[row] == document]
            labels = batch.targets[row][batch.documents[row] == document]
            with torch.no_grad():
                loss = model(input_ids=source[None], labels=labels[None]).loss
            nats, targets = nats + float(loss) * len(labels), targets + len(labels)
    assert run.loss == pytest.approx(nats / targets, rel=1e-5)
    assert targets == batch.target_count
    measured = evaluate(tmp_path / "run", max_tokens=512, seed=5, batch_size=3)
    assert isinstance(measured, HiddenEvaluation) and measured.masked_accuracy is None
    assert measured.loss == pytest.approx(nats / targets, rel=1e-5)
    assert measured.hidden_tokens == targets and measured.loss_interval is not None
    assert measured.loss_interval[0] < measured.loss < measured.loss_interval[1]
    records = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    records = list(records)
    (sample,) = [r for r in records if r["kind"] == "sample"]
    assert "<extra_id_0>" in sample["prompt"]
    losses = [r["loss"] for r in records if r["kind"] == "train"]
    assert losses[-1] < losses[0] - 0.5
    assert "nats a token to write" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_a_run_ends_with_its_loss_on_held_out_text(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--objective", "denoise", "--layers", "1", "--width", "32", "--heads", "2"]
    words += ["--context-length", "32", "--steps", "4", "--out", str(tmp_path / "run")]
    assert main(["pretrain", str(store), *words]) == 0
    told = capsys.readouterr()
    measured = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert f"{measured['perplexity']:.4f} perplexity of hidden words" in told.err
    assert "warning" not in told.err
    assert main(["evaluate", str(tmp_path / "run"), "--mask-rate", "0.15"]) == 0
    assert "loss, nats per hidden token" in capsys.readouterr().err


def test_a_run_is_measured_on_spans_of_its_own_length(store: Path, tmp_path: Path) -> None:
    run, span = tmp_path / "run", {"span_length": 8.0, "mask_rate": 0.3}
    trained = train(store, run, **span, eval_tokens=10**6)
    reports.measure(read_run(run))
    measured = json.loads((run / "evaluation.json").read_text())
    assert measured == measured | {
        name: value
        for name, value in evaluate(run, seed=1337, **span).to_json().items()
        if name not in ("seconds", "model")
    }
    of_run = evaluate(run, seed=5, **span)
    assert of_run.loss == pytest.approx(trained.loss, rel=1e-5)
    usual = evaluate(run, mask_rate=0.3)
    assert isinstance(usual, HiddenEvaluation)
    assert usual.hidden_tokens > measured["hidden_tokens"], "shorter spans have more sentinels"


def test_it_is_measured_on_rows_longer_than_it_was_trained_on(store: Path, tmp_path: Path) -> None:
    train(store, tmp_path / "run")
    found = evaluate(tmp_path / "run", context_length=80)
    assert isinstance(found, HiddenEvaluation) and found.context_length == 80


def test_what_a_report_and_a_card_say_to_do_with_it_works(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(store, run, context_length=256, steps=2)
    page = report(run).read_text(encoding="utf-8")
    uses = re.findall(r"<h3>([^<]+)</h3>\n<pre>([^<]+)</pre>", page)
    shown = {title: html.unescape(code) for title, code in uses}
    assert not any("CausalLM" in code or "--max-new-tokens" in code for code in shown.values())
    exec(shown["In transformers"], {})
    assert "<extra_id_0>" in shown["In transformers"] and capsys.readouterr().out
    lines = (READER.parent / "summaries.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "data.jsonl").write_text("\n".join(lines[:12]) + "\n", encoding="utf-8")
    place = {"DATA": str(tmp_path / "data.jsonl"), "OUT": str(tmp_path / "out")}
    words = [place.get(word, word) for word in shlex.split(shown["Teach it a task"])]
    assert main([*words[1:], "--steps", "1"]) == 0
    card = (run / "model" / "README.md").read_text(encoding="utf-8")
    assert "nextword finetune PATH" in card and "nextword predict PATH" not in card
    taught = (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")
    assert "nextword predict PATH" in taught


def test_how_a_step_is_cut_up_does_not_matter(store: Path, tmp_path: Path) -> None:
    losses = []
    for micro in (8, 3):
        run = tmp_path / str(micro)
        train(store, run, micro_batch=micro, optimizer="sgd")
        records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        losses.append([r["loss"] for r in records if r["kind"] == "train"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_size_is_chosen_for_a_budget(tmp_path: Path) -> None:
    run = run_pretraining(READER, tmp_path / "run", objective="denoise", budget="2s", workers=1)
    assert run.finished
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["num_layers"] == config["num_decoder_layers"]
    assert config["feed_forward_proj"] == "gated-gelu"


def test_spans_are_put_where_their_sentinels_stand() -> None:
    sentinels = frozenset({90, 91, 92})
    assert fill([1, 90, 2, 91, 3], [90, 7, 8, 91, 9], sentinels) == [1, 7, 8, 2, 9, 3]
    assert fill([1, 90, 2, 91], [91, 5, 90], sentinels) == [1, 90, 2, 5]
    assert fill([90], [4, 4], sentinels) == [90]


@pytest.mark.parametrize("name", ["2m", "10m", "50m", "200m"])
def test_a_size_has_about_as_many_parameters_as_its_name_says(name: str) -> None:
    config = config_for(ModelSettings(size=name, family="t5"), 4096 if name < "3" else 16384)
    assert config.decoder_layers == config.layers
    body = parameter_count(config) - 2 * config.vocab_size * config.width * (not config.tied)
    assert 0.6 < body / (float(name[:-1]) * 1e6) < 1.6


def test_work_of_a_pair_is_that_of_its_products() -> None:
    config = config_for(ModelSettings(layers=2, width=64, heads=4, family="t5"), 100)
    inner, width = config.mlp_width, 64
    read = 2 * (4 * width**2 + 3 * width * inner) + 2 * 2 * width**2
    written = 2 * (6 * width**2 + 3 * width * inner) + 100 * width
    scores = 2 * 12 * width * (30 * 30 + 10 * (10 / 2 + 30))
    assert flops_per_pair(config, 30, 10) == 6 * (30 * read + 10 * written) + scores
    assert flops_per_token(config, 30, 1 / 3) == pytest.approx(flops_per_pair(config, 30, 10) / 30)
