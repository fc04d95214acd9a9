"""An encoder from raw text, by masked words: trained, stopped, resumed, used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from nextword.cli.main import main
from nextword.errors import UserError
from nextword.evaluation.masked import HiddenEvaluation
from nextword.inference.masked_model import load_masked_model
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.objectives import language_modeling
from nextword.runs.record import read_run
from nextword.settings import EvaluateSettings, MaskSettings, ModelSettings
from nextword.tokens.loader import IGNORE_INDEX
from nextword.tokens.masking import MaskedLoader, masking_for
from nextword.tokens.prepare import prepare
from nextword.tokens.store import Store
from nextword.training import loop
from nextword.training.masked_validator import MaskedValidator
from nextword.training.optimizers import Optimizers
from nextword.training.parallel import Group, Interrupt
from nextword.training.sharding import LossModule
from nextword.verbs import pretrain as reports
from nextword.verbs.evaluate import evaluate
from nextword.verbs.pretrain import RunSummary, run_pretraining

READER = Path(__file__).parents[2] / "examples" / "data" / "reader.txt"
SMALL: dict[str, Any] = {
    **{"objective": "masked", "layers": 2, "width": 32, "heads": 2, "context_length": 32},
    **{"batch_size": 8, "micro_batch": 4, "steps": 8, "eval_every": 4, "save_every": 4},
    **{"precision": "fp32", "eval_tokens": 512, "seed": 5},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "masked"
    prepare(READER, path, objective="masked", vocab_size=400, workers=1)
    return path


def train(data: Path, run: Path, **more: Any) -> RunSummary:
    return run_pretraining(data, run, **{**SMALL, **more})


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def test_validations_measure_accuracy_on_the_same_masks_and_samples_show_what_is_filled_in(
    store: Path, tmp_path: Path
) -> None:
    train(store, tmp_path / "run", learning_rate=1e-12, sample_every=4)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    found = [r for r in records if r["kind"] == "validation"]
    assert len(found) == 2 and found[0]["loss"] == pytest.approx(found[1]["loss"], abs=1e-6)
    assert 0 <= found[0]["masked_accuracy"] <= 1 and "bits_per_byte" not in found[0]
    (first, *_) = [r for r in records if r["kind"] == "sample"]
    assert "[MASK]" in first["prompt"] and "[MASK]" not in first["text"]
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "nats a hidden token; it finds" in card


def test_how_a_step_is_cut_up_does_not_matter(store: Path, tmp_path: Path) -> None:
    losses = []
    for micro in (8, 3):
        run = tmp_path / str(micro)
        train(store, run, micro_batch=micro, optimizer="sgd", log_to=[])
        records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        losses.append([r["loss"] for r in records if r["kind"] == "train"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_store_prepared_for_another_objective_is_refused_with_what_mends_it(
    tmp_path: Path,
) -> None:
    store = prepare(READER, tmp_path / "causal", tokenizer="bytes", workers=1)
    assert isinstance(store, Store)
    with pytest.raises(
        UserError, match=r"has no cls_token.*prepare the text again with --objective"
    ):
        train(store.path, tmp_path / "run")
    with pytest.raises(UserError, match="does not train qwen3; --family takes modernbert"):
        train(store.path, tmp_path / "run", family="qwen3")


def test_fill_answers_in_json_and_in_words(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    assert main(["pretrain", str(store), "--out", str(tmp_path / "run"), *flags]) == 0
    assert "of hidden tokens found, 95% interval" in capsys.readouterr().err
    report = (tmp_path / "run" / "report.html").read_text()
    assert "of hidden tokens found" in report and "nextword fill" in report
    assert "nextword generate" not in report and "What it fills in" in report
    prompt = "The [MASK] sat on the [MASK]."
    assert main(["fill", str(tmp_path / "run"), prompt, "--json", "--top-k", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["prompt"] == prompt and [len(gap) for gap in found["gaps"]] == [3, 3]
    assert main(["fill", str(tmp_path / "run"), prompt]) == 0
    assert found["text"] in capsys.readouterr().out
    assert main(["fill", str(tmp_path / "run"), "no gap"]) == 2
    assert main(["generate", str(tmp_path / "run"), "The cat"]) == 2
    assert "nextword fill" in capsys.readouterr().err


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (0, 2, 3, 4))]
)
def test_an_encoder_trained_on_a_first_reader_knows_where_the_cat_sat(
    seed: int, tmp_path: Path
) -> None:
    shape = {"layers": 2, "width": 64, "context_length": 32, "batch_size": 16, "precision": "fp32"}
    often = {"steps": 600, "vocab_size": 1024, "eval_every": 600, "sample_every": 0}
    rate = {"learning_rate": 0.01, "seed": seed}
    run_pretraining(READER, tmp_path / "run", objective="masked", **shape, **often, **rate)
    (gap,) = load_masked_model(tmp_path / "run").fill("The cat sat on the [MASK].").gaps
    assert gap[0].word == "mat"


@pytest.mark.parametrize("family", ["modernbert", "bert"])
def test_evaluate_finds_what_transformers_finds_at_the_same_places(
    family: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForMaskedLM

    run = tmp_path / "run"
    train(store, run, family=family)
    assert main(["evaluate", str(run), "--json", "--mask-rate", "0.2"]) == 0
    found = json.loads(capsys.readouterr().out)
    opened = Store.open(store)
    masking = masking_for(opened.tokenizer, MaskSettings(mask_rate=0.2))
    rows = MaskedValidator(
        opened.val,
        opened.tokenizer,
        masking,
        context_length=32,
        batch_size=1,
        max_tokens=10**6,
        seed=EvaluateSettings().seed,
    )
    theirs = AutoModelForMaskedLM.from_pretrained(run / "model")
    nats, right = [], []
    for batch in rows.batches():
        own = torch.ones(1, 32) if batch.documents is None else batch.documents
        for number in own.unique():
            here = own == number
            tokens, targets = batch.tokens[here][None], batch.targets[here]
            with torch.no_grad():
                logits = theirs(tokens).logits[0][targets != IGNORE_INDEX]
            wanted = targets[targets != IGNORE_INDEX]
            nats += F.cross_entropy(logits, wanted, reduction="none").tolist()
            right += (logits.argmax(-1) == wanted).tolist()
    assert found["hidden_tokens"] == len(right) > 50
    assert found["masked_accuracy"] == pytest.approx(sum(right) / len(right), abs=1e-5)
    assert found["loss"] == pytest.approx(sum(nats) / len(nats), abs=1e-4)
    low, high = found["masked_accuracy_interval"]
    assert low <= found["masked_accuracy"] <= high


def test_a_run_that_learned_whole_words_is_measured_on_whole_words(
    store: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    trained = train(store, run, whole_words=True, eval_tokens=10**6, seed=1337)
    reports.measure(read_run(run))
    measured = json.loads((run / "evaluation.json").read_text())
    assert measured["loss"] == pytest.approx(trained.loss, rel=1e-5)
    assert measured["loss"] != pytest.approx(evaluate(run).loss, rel=1e-5)


def test_rows_in_which_nothing_can_be_hidden_count_for_nothing(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(store, run)
    alone, together = (evaluate(run, context_length=3, batch_size=size) for size in (1, 64))
    assert isinstance(alone, HiddenEvaluation) and isinstance(together, HiddenEvaluation)
    val = Store.open(store).val
    texts = len(val) - (len(val.starts) - 1)  # all places but the two ends of each document
    assert alone.hidden_tokens == together.hidden_tokens == texts < alone.rows == together.rows
    assert alone.loss == pytest.approx(together.loss, rel=1e-5)
    assert alone.loss_interval == pytest.approx(together.loss_interval, rel=1e-5)
    assert alone.masked_accuracy == pytest.approx(together.masked_accuracy)
    model = load_masked_model(run).transformer
    split = Store.open(store)
    limits: dict[str, int] = {"context_length": 3, "batch_size": 1, "max_tokens": 10**6}
    masking = masking_for(split.tokenizer, MaskSettings())
    rows = MaskedValidator(val, split.tokenizer, masking, seed=1337, **limits)
    nats = [language_modeling.score_hidden_tokens(model, batch)[0] for batch in rows.batches()]
    assert alone.loss == pytest.approx(float(torch.cat(nats).mean()), rel=1e-5)
    measured = rows.measure(model, Group(), Interrupt())
    assert measured is not None and measured.loss == pytest.approx(alone.loss, rel=1e-5)
    with pytest.raises(UserError, match=r"2 tokens at once leave no room.*at least 3"):
        evaluate(run, context_length=2)


def test_a_step_without_anything_to_predict_changes_nothing(store: Path, tmp_path: Path) -> None:
    """Texts that the tokenizer does not know: all of their tokens are its unknown one."""
    unknown = Store.open(store)
    ids = unknown.val.tokens.copy()
    ids[:] = unknown.tokenizer.pad_id
    split = replace(unknown.val, tokens=ids)
    masking = masking_for(unknown.tokenizer, MaskSettings())
    batch = MaskedLoader(split, 32, 1, masking).batch(0, 2)
    assert batch.target_count == 0
    shape = ModelSettings(family="modernbert", layers=1, width=32, heads=2, context_length=32)
    config = config_for(shape, unknown.tokenizer.vocab_size)
    model = Transformer(config, seed=1)
    before = [p.clone() for p in model.parameters()]
    learned = list(model.parameters())
    parts = Optimizers({"adamw": torch.optim.AdamW(learned, lr=1.0, fused=True)}, learned)
    objective = LossModule(model, language_modeling.loss)
    done = loop.train_step(objective, parts, [batch], 1.0, 1.0, Group()).read()
    assert done.targets == 0
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    limits: dict[str, int] = {"context_length": 32, "batch_size": 4, "max_tokens": 999, "seed": 1}
    rows = MaskedValidator(split, unknown.tokenizer, masking, **limits)
    with pytest.raises(UserError, match="no held-out token can be hidden"):
        rows.measure(model, Group(), Interrupt())
