"""Benchmarks, compared with what lm-eval's own class for transformers models measures."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import nextword as nw
from nextword.cli.main import main
from nextword.errors import UserError
from nextword.hub.writing import save
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tokens.tokenizer_training import byte_tokenizer

# Not among the tests' packages: some that lm-eval needs are under the LGPL.
pytest.importorskip("lm_eval", reason="lm-eval is not installed (the extra `benchmarks`)")

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from nextword.evaluation.harness import HarnessModel

CHOICE = """task: where_is_it
output_type: multiple_choice
dataset_path: json
dataset_kwargs: {data_files: {test: DATA/choice.jsonl}}
test_split: test
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: label
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
ROLLING = """task: whole_texts
output_type: loglikelihood_rolling
dataset_path: json
dataset_kwargs: {data_files: {test: DATA/texts.jsonl}}
test_split: test
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}, {metric: word_perplexity}]
"""
WRITTEN = """task: written_answers
output_type: generate_until
dataset_path: json
dataset_kwargs: {data_files: {test: DATA/choice.jsonl}}
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["e", "zz"], max_gen_toks: 12}
metric_list: [{metric: exact_match}]
"""
TEXT = "the dark lamp burned low upon a table of old letters and the night went on"
WORDS = TEXT.split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    rows = []
    for n in range(24):
        choices = [WORDS[(n + k) % len(WORDS)] for k in range(4)]
        question = " ".join(WORDS[n % 9 : n % 9 + 3 + n % 5])
        rows.append({"question": question, "choices": choices, "label": n % 4, "answer": "x"})
    (folder / "choice.jsonl").write_text("\n".join(map(json.dumps, rows)))
    # Up to five windows each, none twice.
    draws = random.Random(0)
    texts = [{"text": " ".join(draws.choices(WORDS, k=16 * (1 + n % 4)))} for n in range(6)]
    (folder / "texts.jsonl").write_text("\n".join(map(json.dumps, texts)))
    for name, task in (("choice", CHOICE), ("rolling", ROLLING), ("written", WRITTEN)):
        (folder / f"{name}.yaml").write_text(task.replace("DATA", str(folder)))
    tokenizer = byte_tokenizer()
    size = ModelSettings(family="llama", layers=2, width=32, heads=4, kv_heads=2, context_length=64)
    torch.manual_seed(0)
    model = Transformer(config_for(size, tokenizer.vocab_size))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # so that answers differ
    save(folder / "model", model, tokenizer)
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Any]:
    theirs = HFLM(pretrained=str(folder / "model"), dtype="float32", device="cpu", batch_size=5)
    manager = TaskManager(include_path=str(folder))
    names = ["where_is_it", "whole_texts", "written_answers"]
    return simple_evaluate(model=theirs, tasks=names, task_manager=manager)


def test_scores_are_those_of_lm_eval_on_transformers(
    folder: Path, expected: dict[str, Any]
) -> None:
    files = ",".join(str(folder / f"{name}.yaml") for name in ("choice", "rolling", "written"))
    result = nw.benchmark(folder / "model", files, batch_size=7)
    scores = {(score.task, score.name): score for score in result.scores}
    assert len(scores) == 5
    for (task, name), score in scores.items():
        values = expected["results"][task]
        assert score.value == pytest.approx(values[f"{name},none"], rel=1e-6), (task, name)
    choice = scores["where_is_it", "acc"]
    error = expected["results"]["where_is_it"]["acc_stderr,none"]
    assert choice.interval == pytest.approx(
        (choice.value - 1.96 * error, choice.value + 1.96 * error)
    )
    assert choice.examples == 24


def test_every_answer_is_that_of_transformers(folder: Path) -> None:
    theirs = HFLM(pretrained=str(folder / "model"), dtype="float32", device="cpu", batch_size=4)
    ours = HarnessModel(nw.load(folder / "model", precision="fp32"), 4)
    pairs = [("the lamp ", "burned"), ("", "low"), ("night " * 30, "went on"), ("a", "\nb")]
    asked = [Instance("loglikelihood", {}, pair, n) for n, pair in enumerate(pairs)]
    for one, other in zip(ours.loglikelihood(asked), theirs.loglikelihood(asked), strict=True):
        assert one[0] == pytest.approx(other[0], abs=1e-4) and one[1] == other[1]
    options = {"until": ["e"], "max_gen_toks": 20, "do_sample": False}
    prompts = ["the old", "a table of " * 12, "Low"]
    asked = [Instance("generate_until", {}, (text, options), n) for n, text in enumerate(prompts)]
    assert ours.generate_until(asked) == theirs.generate_until(asked)


def test_the_command_prints_a_table_and_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(folder / "model"), "--benchmark", str(folder / "choice.yaml")]
    assert main([*words, "--max-examples", "5", "--json"]) == 0
    captured = capsys.readouterr()
    scores = json.loads(captured.out)["scores"]
    assert {score["examples"] for score in scores} == {5}
    assert "where_is_it" in captured.err and "acc_norm" in captured.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--benchmark", "helaswag"], "no task 'helaswag'"),
        (["--benchmark", "nowhere.yaml"], "cannot be read"),
        (["--benchmark", "hellaswag", "--stride", "8"], "--stride does nothing with"),
        (["--shots", "2"], "--shots does nothing without"),
    ],
)
def test_what_cannot_be_measured_is_said(
    folder: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(folder / "model"), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_a_task_file_without_a_name_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("output_type: multiple_choice\n")
    with pytest.raises(UserError, match="has no `task:`"):
        nw.benchmark(folder / "model", str(tmp_path / "task.yaml"))
    (tmp_path / "task.yaml").write_text("task: [")
    with pytest.raises(UserError, match="is not YAML"):
        nw.benchmark(folder / "model", str(tmp_path / "task.yaml"))


def test_data_that_cannot_be_had_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(CHOICE.replace("DATA", str(tmp_path / "gone")))
    with pytest.raises(UserError, match="cannot be measured"):
        nw.benchmark(folder / "model", str(tmp_path / "task.yaml"))
