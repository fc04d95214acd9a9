"""Every task from data to a model, its figures and its predictions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from small_models import ARGUMENTS, DATA, ours, some, their_encoder, theirs

from nextword.cli.main import main
from nextword.files import sha256
from nextword.inference.language_model import load_language_model
from nextword.models.config import ENCODERS
from nextword.runs.record import read_run
from nextword.tasks.opening import task_class
from nextword.tasks.records import read_records
from nextword.verbs.evaluate import evaluate_task
from nextword.verbs.finetune import Finetuned, finetune
from nextword.verbs.predict import predict

QUICK: dict[str, Any] = {"precision": "fp32", "learning_rate": 2e-3}
FEW: dict[str, Any] = {**QUICK, "steps": 6, "batch_size": 4, "eval_every": 3, "save_every": 2}
PAIR = ("text_a", "text_b")
CLASSIFY: dict[str, Any] = {**FEW, "task": "classify"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ours(tmp_path_factory.mktemp("model") / "ours")


def data_of(name: str) -> list[Path]:
    return [DATA / file for file in ARGUMENTS[name][0]]


def weights(run: Path, step: int) -> dict[str, str]:
    folder = run / "checkpoints" / f"step-{step:08d}"
    return {n: sha256(folder / f"{n}.safetensors") for n in ("model", "optimizer")}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_task_is_learned_measured_and_used(name: str, model: Path, tmp_path: Path) -> None:
    data, settings = data_of(name), ARGUMENTS[name][1]
    finished = finetune(model, data, tmp_path / "run", **(FEW | settings))
    assert finished.steps == 6 and finished.finished and finished.best_step in (3, 6)
    assert finished.loss is not None and np.isfinite(finished.loss)
    run = read_run(tmp_path / "run")
    assert run.task == settings["task"] and run.best is not None
    assert run.best["step"] == finished.best_step == run.evaluation["step"]
    kept = tmp_path / "run" / "held_out.jsonl"
    assert kept.exists() is (settings["task"] != "text")
    if kept.exists():
        rows = [json.loads(line) for line in kept.read_text().splitlines()]
        assert len(rows) == run.evaluation["examples"] and all("twin" in row for row in rows)
        if settings["task"] == "classify":  # the mean of their losses is the one validated
            mean = np.mean([row["loss"] for row in rows])
            assert mean == pytest.approx(finished.loss, rel=1e-4)
    evaluation = evaluate_task(tmp_path / "run", data)
    count = len(read_records([*map(str, data)], task_class(settings["task"]).text_files))
    assert evaluation.seen == evaluation.examples == count
    assert set(finished.metrics) <= set(evaluation.metrics)
    for label, metric in evaluation.metrics.items():
        if settings["task"] != "text":  # its examples are passages, and its own verb has intervals
            assert metric.interval is not None, label
            assert metric.interval[0] <= metric.value <= metric.interval[1], label
    if settings["task"] != "text":
        out = tmp_path / "predictions.jsonl"
        predictions = predict(tmp_path / "run", data, out)
        assert len(predictions) == evaluation.examples
        written = [json.loads(line)["prediction"] for line in out.read_text().splitlines()]
        assert written == predictions


def overfit(name: str, model: Path, folder: Path, **more: Any) -> tuple[list[Path], Finetuned]:
    data, settings = some(name, folder / "ten", 10), ARGUMENTS[name][1]
    settings = settings | {"val": [str(path) for path in data]} | QUICK | more
    schedule: dict[str, Any] = {
        "batch_size": 10,
        "steps": 1000,
        "eval_every": 25,
        "schedule": "constant",
    }
    return data, finetune(model, data, folder / "run", **(schedule | settings))


def right_answers(name: str, data: list[Path]) -> list[Any]:
    records = read_records([*map(str, data)], task_class(ARGUMENTS[name][1]["task"]).text_files)
    if name == "chat":
        return [record["messages"][-1]["content"] for record in records]
    columns = {
        "qa": "answers",
        "qa in Chinese": "answers",
        "qa, pointed at": "answers",
        "qa in Chinese, pointed at": "answers",
        "tag": "tags",
        "tag in Chinese": "entities",
        "summarize": "summary",
        "translate": "de",
        "aligned files": "target",
        "instructions": "output",
        "several": "labels",
        "amount": "score",
    }
    return [record[columns.get(name, "label")] for record in records]


SLOW = ("qa", "qa in Chinese", "summarize", "aligned files", "chat", "instructions", "pair")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name in ARGUMENTS
        if name != "text"
    ],
)
def test_ten_examples_are_learned_by_heart_and_then_it_stops(
    name: str, model: Path, tmp_path: Path
) -> None:
    data, finished = overfit(name, model, tmp_path)
    assert "nothing is left to learn" in finished.finished and finished.steps < 1000
    predictions = predict(tmp_path / "run", data)
    wanted = right_answers(name, data)
    assert len(predictions) == len(wanted) == 10
    for found, right in zip(predictions, wanted, strict=True):
        if name == "amount":
            assert found["amount"] == pytest.approx(float(right), abs=0.5)
        elif name == "several":
            assert sorted(found["labels"]) == sorted(right)
        elif name == "tag":
            assert found["tags"] == right
        elif name == "tag in Chinese":
            kept = [{n: e[n] for n in ("start", "end", "label")} for e in found["entities"]]
            assert kept == right
        elif name.startswith("qa"):
            assert found["answer"] in right or (not right and not found["answer"])
        else:
            assert found.get("answer", found.get("label")) == right


def test_texts_are_learned_by_heart(model: Path, tmp_path: Path) -> None:
    data, _ = overfit("text", model, tmp_path, steps=150)
    text = read_records([str(data[0])])[0]["text"]
    half = text.rsplit(" ", 5)[0]
    assert half + load_language_model(tmp_path / "run").generate(half, temperature=0) == text


@pytest.mark.parametrize(
    ("family", "name"),
    [(family, "single") for family in ("gpt2", "llama", "qwen3", *ENCODERS)]
    + [(family, "pair") for family in ENCODERS],
)
def test_a_classifier_from_transformers_model_opens_in_transformers_with_the_same_probabilities(
    family: str, name: str, tmp_path: Path
) -> None:
    """An encoder reads a pair of texts as its tokenizer there sets it."""
    base = (their_encoder if family in ENCODERS else theirs)(tmp_path / "base", family)
    data = data_of(name)[0]
    finetune(base, data, tmp_path / "run", **CLASSIFY, dropout=0.1)
    predictions = predict(tmp_path / "run", data, precision="fp32")
    kept = tmp_path / "run" / "model"
    theirs_now = transformers.AutoModelForSequenceClassification.from_pretrained(kept).eval()
    names = theirs_now.config.id2label
    records = read_records([str(data)])
    assert set(names.values()) == {record["label"] for record in records}
    tokenizer = transformers.AutoTokenizer.from_pretrained(kept)
    columns = ("text",) if name == "single" else PAIR
    texts = [[record[column] for record in records] for column in columns]
    with torch.no_grad():
        batch = tokenizer(*texts, padding=True, truncation=True, return_tensors="pt")
        logits = theirs_now(**batch).logits
    for row, found in zip(logits.softmax(1).tolist(), predictions, strict=True):
        for number, share in enumerate(row):
            assert found["probabilities"][names[number]] == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize(
    ("family", "name"),
    [("gpt2", "single"), ("llama", "translate"), *((family, "single") for family in ENCODERS)],
)
def test_low_rank_updates_open_with_peft_and_merged_in_transformers(
    family: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = (their_encoder if family in ENCODERS else theirs)(tmp_path / "base", family)
    data, settings = ARGUMENTS[name]
    own = {**FEW, **settings, "lora": True, "lora_rank": 4, "eval_every": 1}
    finetune(base, DATA / data[0], tmp_path / "run", **own)
    assert " learn (" in capsys.readouterr().err
    kind: Any = transformers.AutoModelForCausalLM
    changes = {}
    if name == "single":
        kind = transformers.AutoModelForSequenceClassification
        pad = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["pad_token_id"]
        changes = {"num_labels": 3, "pad_token_id": pad}
    begun = kind.from_pretrained(base, **changes)
    adapted = peft.PeftModel.from_pretrained(begun, tmp_path / "run" / "adapter").eval()
    merged = kind.from_pretrained(tmp_path / "run" / "model").eval()
    ids = torch.randint(3, 300, (2, 12), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one, other = adapted(ids).logits, merged(ids).logits
        assert not torch.allclose(merged(ids).logits, begun.eval()(ids).logits * 0)
    assert (one - other).abs().max() < 1e-4


def test_an_adapter_is_that_of_the_best_model(model: Path, tmp_path: Path) -> None:
    own = {**CLASSIFY, "lora": True, "learning_rate": 0.3, "eval_every": 1, "metric": "loss"}
    finished = finetune(model, DATA / "classify.csv", tmp_path / "run", **own)
    assert finished.best_step < finished.steps  # such a rate makes it worse again
    begun = transformers.AutoModelForSequenceClassification.from_pretrained(model, num_labels=3)
    adapted = peft.PeftModel.from_pretrained(begun, tmp_path / "run" / "adapter")
    merged = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "run" / "model"
    )
    for mine, other in zip(
        adapted.merge_and_unload().parameters(), merged.parameters(), strict=True
    ):
        assert torch.allclose(mine, other, atol=1e-5)


@pytest.mark.parametrize("name", ["several", "qa"])
def test_with_from_scratch_nothing_of_the_models_own_is_left(
    name: str, model: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(model, tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    save_file({n: t.flip(0).contiguous() for n, t in tensors.items()}, other / "model.safetensors")
    own = {**FEW, **ARGUMENTS[name][1], "from_scratch": True}
    kept = []
    for begun, seed in ((model, 5), (other, 5), (model, 6)):
        run = tmp_path / f"run{len(kept)}"
        finetune(begun, data_of(name), run, seed=seed, val=[*map(str, data_of(name))], **own)
        kept.append(weights(run, 6)["model"])
    assert kept[0] == kept[1] != kept[2]
    assert f"weights drawn anew from seed {seed}" in (run / "model" / "README.md").read_text()
    assert json.loads((run / "run.json").read_text())["settings"]["from_scratch"] is True


def test_how_a_step_is_cut_up_changes_nothing(model: Path, tmp_path: Path) -> None:
    for name in ("single", "qa"):
        kept = []
        for micro in (1, 3, 4):
            own = {**FEW, **ARGUMENTS[name][1], "steps": 3, "micro_batch": micro}
            run = tmp_path / f"{name}{micro}"
            own |= {"optimizer": "sgd", "learning_rate": 0.1}
            finetune(model, data_of(name), run, **own)
            kept.append(load_file(run / "checkpoints/step-00000003/model.safetensors"))
        for key, tensor in kept[0].items():
            for other in kept[1:]:
                assert torch.allclose(tensor, other[key], atol=2e-6), (name, key)


@pytest.mark.parametrize("name", ["single", "translate"])
def test_predictions_do_not_depend_on_batch_or_order(
    name: str, model: Path, tmp_path: Path
) -> None:
    data, settings = some(name, tmp_path / "some", 12), ARGUMENTS[name][1]
    finetune(model, data, tmp_path / "run", **(FEW | settings))
    found = predict(tmp_path / "run", data, precision="fp32")
    alone = predict(tmp_path / "run", data, precision="fp32", batch_size=1)
    lines = data[0].read_text().splitlines()
    data[0].write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    backwards = predict(tmp_path / "run", data, precision="fp32")[::-1]
    for one, *others in zip(found, alone, backwards, strict=True):
        for other in others:
            assert one.get("answer") == other.get("answer")
            assert one.get("label") == other.get("label")
            for label, share in one.get("probabilities", {}).items():
                assert other["probabilities"][label] == pytest.approx(share, abs=1e-5)


def changed(model: Path, run: Path, **more: Any) -> dict[str, bool]:
    """Which parts of the body training has moved."""
    finetune(model, DATA / "classify.csv", run, **CLASSIFY, **more)
    before, after = (
        load_file(model / "model.safetensors"),
        load_file(run / "model/model.safetensors"),
    )
    return {n: not torch.equal(t, after[n]) for n, t in before.items() if n in after}


def test_frozen_layers_stay_as_they_are(model: Path, tmp_path: Path) -> None:
    moved = changed(model, tmp_path / "run", freeze=1)
    for name, has in moved.items():
        assert has is not ("embed" in name or ".layers.0." in name), name
    moved = changed(model, tmp_path / "updates", freeze=1, lora=True)
    for name, has in moved.items():
        assert has is (".layers.1." in name and "proj" in name), name


def test_lower_layers_learn_slower_with_layer_decay(model: Path, tmp_path: Path) -> None:
    finetune(
        model,
        DATA / "classify.csv",
        tmp_path / "run",
        **{**CLASSIFY, "steps": 1, "warmup": 0, "weight_decay": 0},
        layer_decay=0.1,
    )
    before = load_file(model / "model.safetensors")
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    moves = [
        float((after[name] - before[name]).abs().max())
        for name in (f"model.layers.{n}.mlp.down_proj.weight" for n in (0, 1))
    ]
    assert moves[0] == pytest.approx(0.1 * moves[1], rel=0.01)  # AdamW's first step is the rate


def test_balanced_classes_weigh_as_much_as_they_are_rare(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["text,label", *(f"a word,{'rare' if n % 10 == 0 else 'usual'}" for n in range(40))]
    (tmp_path / "data.csv").write_text("\n".join(lines))
    found = []
    for kind in ("none", "balanced"):
        own = {
            **CLASSIFY,
            "steps": 60,
            "learning_rate": 5e-4,
            "class_weights": kind,
            "batch_size": 10,
        }
        finetune(model, tmp_path / "data.csv", tmp_path / kind, **own, val_fraction=0)
        predictions = predict(tmp_path / kind, tmp_path / "data.csv")
        found.append(np.mean([p["probabilities"]["rare"] for p in predictions]))
    assert found[0] < 0.25 and 0.3 < found[1] < 0.7
    assert "one class is most of the data" in capsys.readouterr().err


def test_patience_ends_a_run_that_gets_no_better(model: Path, tmp_path: Path) -> None:
    own = {**CLASSIFY, "steps": 40, "eval_every": 2, "patience": 2, "learning_rate": 1e-30}
    finished = finetune(model, DATA / "classify.csv", tmp_path / "run", **own)
    assert finished.steps <= 8 and "has not improved for 2" in finished.finished


@pytest.mark.parametrize("name", ["single", "translate", "text", "tag"])
def test_a_run_is_shown_reported_and_evaluated_from_the_command_line(
    name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data = str(tmp_path / "run"), [str(path) for path in data_of(name)]
    task = ARGUMENTS[name][1]["task"]
    flags = ["--steps", "2", "--batch-size", "4", "--precision", "fp32", "--task", task]
    assert main(["finetune", str(model), *data, "--out", run, *flags, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2
    assert main(["info", run]) == 0
    assert task in capsys.readouterr().err
    assert main(["report", run]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "bits per byte" not in page and "Traceback" not in page
    capsys.readouterr()
    assert main(["evaluate", run, *data, "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert "bits_per_byte" in found if name == "text" else found["seen"] == found["examples"]
    if name != "text":
        assert "are in the data that the model was fine-tuned with" in captured.err
        assert main(["predict", run, *data, "--out", str(tmp_path / "out.jsonl")]) == 0
        assert len((tmp_path / "out.jsonl").read_text().splitlines()) == found["examples"]
    assert main(["evaluate", run]) == 2
    assert "test set" in (said := capsys.readouterr().err) or "name some" in said
    assert "Traceback" not in said
