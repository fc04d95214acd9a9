"""The evaluation harness, lm-eval, asking over HTTP and asking transformers directly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.servers import served

CHOICES = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {file}
test_split: train
output_type: multiple_choice
doc_to_text: "{{{{question}}}} ->"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
  - metric: acc_norm
"""
ROLLING = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {file}
test_split: train
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{question}}}}"
metric_list:
  - metric: word_perplexity
  - metric: byte_perplexity
"""


@pytest.mark.slow
def test_lm_eval_finds_the_same_over_http_as_with_transformers(
    writer: Path, tmp_path: Path
) -> None:
    lm_eval = pytest.importorskip("lm_eval", reason="needs lm-eval")
    pytest.importorskip("tenacity", reason="needs lm-eval[api]")
    from lm_eval.tasks import TaskManager

    words = ["water", "stone", "bridge", "night", "lamp", "book", "cat", "sea"] * 4
    rows = [
        {
            "question": f"The mill of number {n} stood by the {word} 河边的磨坊",
            "choices": [" river", " old road to the town", "石桥", " cat"],
            "answer": n % 4,
        }
        for n, word in enumerate(words)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    for name, task in (("choices", CHOICES), ("rolling", ROLLING)):
        (tmp_path / f"{name}.yaml").write_text(task.format(name=name, file=file))

    def evaluate(model: str, arguments: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = lm_eval.simple_evaluate(
            model=model,
            model_args=arguments,
            tasks=["choices", "rolling"],
            task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
            device="cpu",
            batch_size=4,
            log_samples=True,
            bootstrap_iters=0,
        )
        return found

    theirs = evaluate("hf", {"pretrained": str(writer), "dtype": "float32", "max_length": 255})
    with served(writer) as at:
        ours = evaluate(
            "local-completions",
            {
                "model": "tiny",
                "base_url": f"{at}/v1/completions",
                "tokenizer": str(writer),
                "tokenized_requests": True,
                "max_length": 256,
            },
        )
    for task in ("choices", "rolling"):
        for name, value in theirs["results"][task].items():
            if isinstance(value, float):
                assert ours["results"][task][name] == pytest.approx(value, rel=1e-4), (task, name)
        for one, other in zip(ours["samples"][task], theirs["samples"][task], strict=True):
            for own, their in zip(one["resps"], other["resps"], strict=True):
                assert numbers(own) == pytest.approx(numbers(their), abs=1e-4)


def numbers(answer: Any) -> list[float]:
    """The log-likelihoods of an answer, and whether it was the likeliest text."""
    parts = answer if isinstance(answer, list | tuple) else [answer]
    return [
        number
        for part in parts
        for number in (numbers(part) if isinstance(part, list | tuple) else [float(part)])
    ]
