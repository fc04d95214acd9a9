"""The report of a fine-tuned run, made up by hand as `finetune` leaves it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

import nextword as nw
from nextword.errors import UserError
from nextword.reports import task
from nextword.tasks.run import read_run

NAMES = ["bad", "fair", "good"]
TRUTH = [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
GUESS = [0, 0, 2, 1, 1, 0, 1, 2, 2, 1]


class Text(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += " " + data


def held_out() -> list[dict[str, Any]]:
    return [
        {
            "place": f"test.csv:{n + 2}",
            "text": f"text number {n}",
            "label": NAMES[truth],
            "prediction": NAMES[guess],
            "probabilities": {m: 0.8 if m == NAMES[guess] else 0.1 for m in NAMES},
            "loss": 0.22 if truth == guess else 2.3 + n / 100,
        }
        for n, (truth, guess) in enumerate(zip(TRUTH, GUESS, strict=True))
    ]


def finetuned(run: Path, name: str = "classify", examples: Any = None, over: bool = True) -> Path:
    run.mkdir()
    (run / "task.json").write_text(json.dumps({"task": name}))
    (run / "config.yaml").write_text("model: gpt2\nlearning_rate: 0.001\n")
    (run / "run.json").write_text(json.dumps({"data": ["train.csv"], "settings": {}, "plan": {}}))
    records = []
    for step in range(10, 110, 10):
        record = {"kind": "train", "step": step, "loss": 10 / step, "examples_per_second": 20.0}
        records.append(record | {"learning_rate": 1e-5, "seconds": float(step)})
        if step % 20 == 0:
            best = {"accuracy": step / 200, "macro_F1": step / 250, "best": step <= 80}
            found = {"kind": "validation", "step": step, "loss": 0.5 + (step > 80), **best}
            records.append(found | {"train_loss": 10 / step, "seconds": float(step)})
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (run / "metrics.jsonl").write_text(lines)
    if over:
        metrics = {"accuracy": {"value": 0.7, "interval": [0.4, 0.95]}, "loss": {"value": 0.83}}
        found = {"step": 80, "task": name, "examples": 10, "metrics": metrics}
        (run / "evaluation.json").write_text(json.dumps(found))
    if examples is not None:
        lines = "".join(json.dumps(record) + "\n" for record in examples)
        (run / "held_out.jsonl").write_text(lines, encoding="utf-8")
    return run


def test_a_report_holds_the_tasks_figures_curves_classes_and_failures(tmp_path: Path) -> None:
    run = finetuned(tmp_path / "reviews", examples=held_out())
    page = Text(nw.report(run).read_text(encoding="utf-8"))
    for words in (
        "A classifier of texts",
        "95% interval 0.400 – 0.950",
        "Of the model of step 80",
        "Held-out loss has turned upwards",
        "macro F1",
        "examples a second",
        "loss per example",
        f"nextword finetune gpt2 train.csv --task classify --out {run} --resume",
        "text number 9",
        "test.csv:11",
    ):
        assert words in page.words, words
    assert page.tags.count("svg") == 1 + 2 + 2, "loss; accuracy, macro F1; learning rate, speed"
    assert "script" not in page.tags and "bits for a byte" not in page.words


def test_the_class_table_is_scikit_learns() -> None:
    rows = task.classes(held_out())
    assert [row.name for row in rows] == NAMES
    counts = confusion_matrix(TRUTH, GUESS)
    known = precision_recall_fscore_support(TRUTH, GUESS)
    for number, row in enumerate(rows):
        assert row.cells == [*(f"{known[i][number]:.3f}" for i in range(3)), str(known[3][number])]
        assert [int(count) for count, _ in row.taken_for] == counts[number].tolist()
        assert sum(share for _, share in row.taken_for) == pytest.approx(1)


def test_the_examples_of_the_highest_loss_come_first() -> None:
    found = task.worst(held_out())
    assert [example.text[-1] for example in found[:3]] == ["9", "5", "2"]
    assert (found[0].wanted, found[0].said, found[0].sure) == ("good", "fair", "80%")


def test_answers_amounts_and_several_labels_are_shown_without_a_class_table() -> None:
    answers = [{"text": "Who?", "references": ["Ada", "A. T."], "prediction": "Bo", "loss": 3}]
    assert task.classes(answers) == []
    assert task.worst(answers)[0].wanted == "Ada · A. T."
    amounts = [{"text": "x", "label": 2.5, "prediction": 9.25, "loss": 45.6}]
    assert task.classes(amounts) == [] and task.worst(amounts)[0].said == "9.25"
    several = [{"text": "x", "label": ["a", "b"], "prediction": [], "loss": 1.0}]
    assert task.classes(several) == [] and task.worst(several)[0].said == "(none)"


def test_a_run_without_held_out_examples_or_an_end_gives_a_report(tmp_path: Path) -> None:
    page = Text(nw.report(finetuned(tmp_path / "young", over=False)).read_text(encoding="utf-8"))
    assert "Where it fails most" not in page.words and "during training" in page.words
    assert "best validation so far" in page.words
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_text("{}")
    (tmp_path / "begun" / "task.json").write_text('{"task": "qa"}')
    page = Text(nw.report(tmp_path / "begun").read_text(encoding="utf-8"))
    assert "A model that answers questions" in page.words


def test_text_from_the_data_is_escaped_and_long_text_cut(tmp_path: Path) -> None:
    examples = held_out()
    hostile = "<script>alert(1)</script>"
    examples[9] |= {"text": hostile + "x" * 1000, "place": hostile}
    for example in examples:
        example["probabilities"] = {hostile: 0.1} | example["probabilities"]
    html = nw.report(finetuned(tmp_path / "run", examples=examples)).read_text(encoding="utf-8")
    assert hostile not in html and html.count("&lt;script&gt;") >= 4
    assert not re.search("x{301}", html)


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"text": "x"}', '{"text": "x", "prediction": 1, "loss": "?"}']
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    run = finetuned(tmp_path / "run", examples=held_out())
    with open(run / "held_out.jsonl", "a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=r"held_out.jsonl:11: is no held-out example"):
        nw.report(run)


def test_the_best_by_the_metric_is_the_one_reported(tmp_path: Path) -> None:
    run = read_run(finetuned(tmp_path / "run"))
    assert run.best is not None and run.best["step"] == 80
