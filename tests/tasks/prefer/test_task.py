"""Direct preference optimisation, beside transformers' log-probabilities and TRL's formula."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from support.prompts import as_records
from support.tasks import transformer

from nextword.errors import UserError
from nextword.hub.writing import save
from nextword.settings import FinetuneSettings, PredictSettings
from nextword.tasks.opening import open_task
from nextword.tasks.prefer.task import Prefer
from nextword.tokens.tokenizer_training import byte_tokenizer
from nextword.verbs.compare import compare
from nextword.verbs.evaluate import evaluate_task
from nextword.verbs.finetune import finetune
from nextword.verbs.predict import predict

ANIMALS = ("cow", "moo"), ("sheep", "baa"), ("duck", "quack"), ("cat", "meow"), ("dog", "woof")
ASKED = ("A {} says", "What says a {}?", "The {} goes", "Hear the {}:", "Sound of a {}")
ROWS = [
    {"prompt": words.format(animal), "chosen": f" {sound}.", "rejected": " nothing at all."}
    for words in ASKED
    for animal, sound in ANIMALS
]
OPTIONS: dict[str, Any] = {"task": "prefer", "precision": "fp32", "learning_rate": 3e-3, "seed": 3}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "model"
    save(path, transformer(), byte_tokenizer())
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return path


@pytest.fixture(scope="module")
def run(start: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    finetune(start, data, path, steps=12, beta=0.2, eval_every=6, **OPTIONS)
    return path


def log_probability(model: Any, prompt: list[int], answer: list[int]) -> float:
    """Of an answer after a prompt, by transformers, in fp64."""
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        logits = model(ids).logits[0, len(prompt) - 1 : -1].double()
    return float(logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None]).sum())


def margins(directory: Path) -> torch.Tensor:
    """log p(chosen) - log p(rejected) of each row, by transformers."""
    model = transformers.AutoModelForCausalLM.from_pretrained(directory).eval()
    tokenizer = byte_tokenizer()
    end, found = tokenizer.end_id, []
    for row in ROWS:
        prompt = [end, *tokenizer.encode(row["prompt"])]
        answers = [[*tokenizer.encode(row[name].strip()), end] for name in ("chosen", "rejected")]
        chosen, rejected = (log_probability(model, prompt, answer) for answer in answers)
        found.append(chosen - rejected)
    return torch.tensor(found, dtype=torch.float64)


def test_the_loss_is_trls_formula_on_transformers_log_probabilities(
    start: Path, run: Path, data: Path
) -> None:
    log_ratios = margins(run / "model") - margins(start)
    expected = -F.logsigmoid(0.2 * log_ratios)  # TRL's DPOTrainer, loss_type="sigmoid"
    task = open_task(run, PredictSettings(precision="fp32"))
    dataset = task.read_more(as_records(*ROWS), labelled=True)
    outputs = task.measure(task.encode(dataset), dataset)
    assert outputs.losses == pytest.approx(expected.numpy(), abs=1e-5)
    assert outputs.margins == pytest.approx((0.2 * log_ratios).numpy(), abs=1e-5)
    evaluation = evaluate_task(run, data, precision="fp32")
    accuracy = evaluation.metrics["preference accuracy"]
    assert accuracy.value == float((log_ratios > 0).double().mean())
    assert accuracy.interval is not None and evaluation.metrics["reward margin"].interval
    assert evaluation.metrics["loss"].value == pytest.approx(float(expected.mean()), abs=1e-5)


def test_a_training_loss_and_its_gradient_are_those_of_autograd_over_transformers(
    start: Path,
) -> None:
    settings = FinetuneSettings(task="prefer", beta=0.3)
    train = Prefer.read(as_records(*ROWS[:3]), settings)
    task = Prefer.start(str(start), train, settings)
    with torch.no_grad():  # away from the reference, where every loss is log 2
        for parameter in task.model.parameters():
            parameter.mul_(1.1)
    encoded = task.encode(train)
    reference = [-1.0, 0.0, 1.0]
    items = [
        replace(item, reference_margin=margin)
        for item, margin in zip(encoded.items, reference, strict=True)
    ]
    loss = task.loss(task.model, task.collate(items, []))
    loss.backward()
    ours = task.model.embedding.weight.grad.clone()
    task.model.zero_grad()
    total = torch.zeros(())
    for item, margin in zip(items, reference, strict=True):
        logs = []
        for example in (item.chosen, item.rejected):
            ids, scored = torch.from_numpy(example.ids), torch.from_numpy(example.scored)
            logits = task.model.logits(task.model(ids[None, :-1]))[0]
            each = logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0]
            logs.append(each[scored[1:]].sum())
        total = total - F.logsigmoid(0.3 * (logs[0] - logs[1] - margin))
    total.backward()
    assert float(loss.detach()) == pytest.approx(float(total.detach()), rel=1e-5)
    assert torch.allclose(ours, task.model.embedding.weight.grad, rtol=1e-4, atol=1e-5)


def test_it_is_learned_measured_and_used(run: Path, start: Path, data: Path) -> None:
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["metrics"]["preference accuracy"]["value"] == 1.0
    assert evaluation["metrics"]["reward margin"]["value"] > 0.2
    rows = [json.loads(line) for line in (run / "held_out.jsonl").read_text().splitlines()]
    assert rows and all(row["score"]["reward margin"] > 0 for row in rows)
    predictions = predict(run, data)
    assert len(predictions) == len(ROWS) and all("answer" in each for each in predictions)
    with pytest.raises(UserError, match="no model to compare it with"):
        evaluate_task(start, data, task="prefer")


def test_a_model_before_any_step_is_its_own_reference(start: Path) -> None:
    settings = FinetuneSettings(task="prefer")
    train = Prefer.read(as_records(*ROWS), settings)
    task = Prefer.start(str(start), train, settings)
    outputs = task.measure(task.encode(train), train)
    assert outputs.losses == pytest.approx(np.log(2)) and outputs.margins == pytest.approx(0)


def test_two_models_are_compared_by_what_they_prefer(
    run: Path, start: Path, data: Path, tmp_path: Path
) -> None:
    finetune(start, data, tmp_path / "short", steps=1, beta=0.2, **OPTIONS)
    comparison = compare(tmp_path / "short", run, data)
    assert comparison.better("reward margin") == 1 and comparison.better("loss") == 1


def test_low_rank_updates_start_from_the_reference_too(
    start: Path, data: Path, tmp_path: Path
) -> None:
    options = OPTIONS | {"learning_rate": 2e-2}
    done = finetune(start, data, tmp_path / "run", steps=10, lora=True, eval_every=5, **options)
    assert done.metrics["reward margin"] > 0 and (tmp_path / "run" / "adapter").is_dir()
