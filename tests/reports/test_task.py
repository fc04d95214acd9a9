"""The report of a fine-tuned run, made up by hand as `finetune` leaves it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

import nextword as nw
from nextword.errors import UserError
from nextword.reports.examples import MOST_ROWS, class_rows, present_examples
from nextword.reports.plots import plots
from nextword.runs.record import read_run

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
            validation = {"kind": "validation", "step": step, "loss": 0.5 + (step > 80), **best}
            records.append(validation | {"train_loss": 10 / step, "seconds": float(step)})
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (run / "metrics.jsonl").write_text(lines)
    if over:
        metrics = {"accuracy": {"value": 0.7, "interval": [0.4, 0.95]}, "loss": {"value": 0.83}}
        evaluation = {"step": 80, "task": name, "examples": 10, "metrics": metrics}
        (run / "evaluation.json").write_text(json.dumps(evaluation))
    if examples is not None:
        lines = "".join(json.dumps(record) + "\n" for record in examples)
        (run / "held_out.jsonl").write_text(lines, encoding="utf-8")
    return run


def test_a_report_holds_the_tasks_figures_curves_classes_and_failures(tmp_path: Path) -> None:
    run = finetuned(tmp_path / "reviews", examples=held_out())
    page = Text(nw.report(run).read_text(encoding="utf-8"))
    for words in (
        "A text classifier",
        "95% interval 0.400 – 0.950",
        "the best model (step 80)",
        "Held-out loss has started to rise",
        "macro F1",
        "examples per second",
        "loss per example",
        f"nextword finetune gpt2 train.csv --task classify --out {run} --resume",
        "text number 9",
        "test.csv:11",
    ):
        assert words in page.words, words
    assert page.tags.count("svg") == 1 + 2 + 2 + 1, "loss; two metrics; rate, speed; calibration"
    assert "script" not in page.tags and "bits per byte" not in page.words


def test_the_class_table_is_scikit_learns() -> None:
    rows = class_rows(held_out())
    assert [row.name for row in rows] == NAMES
    counts = confusion_matrix(TRUTH, GUESS)
    known = precision_recall_fscore_support(TRUTH, GUESS)
    for number, row in enumerate(rows):
        assert row.cells == [*(f"{known[i][number]:.3f}" for i in range(3)), str(known[3][number])]
        assert [int(count) for count, _ in row.predicted_as] == counts[number].tolist()
        assert sum(share for _, share in row.predicted_as) == pytest.approx(1)


def test_the_examples_of_the_highest_loss_come_first() -> None:
    shown = present_examples(held_out())
    assert [example.text[-1] for example in shown.suspicious] == ["9", "5", "2"], "only the wrong"
    worst = shown.suspicious[0]
    assert (worst.target, worst.prediction, worst.confidence) == ("good", "fair", "80%")
    losses = [float(row.loss) for row in shown.rows]
    assert len(losses) == 10 and losses == sorted(losses, reverse=True)


def test_answers_amounts_and_several_labels_are_shown_without_a_class_table() -> None:
    answer = {"text": "Who?", "references": ["Ada", "A. T."], "prediction": "Bo", "loss": 3}
    number = {"text": "x", "label": 2.5, "prediction": 9.25, "loss": 45.6}
    several = {"text": "x", "label": ["a", "b"], "prediction": [], "loss": 1.0}
    assert [class_rows([record]) for record in (answer, number, several)] == [[], [], []]
    worst = [present_examples([record]).suspicious[0] for record in (answer, number, several)]
    assert worst[0].target == "Ada · A. T."
    assert [example.prediction for example in worst] == ["Bo", "9.25", "(none)"]


def test_a_run_without_held_out_examples_or_an_end_gives_a_report(tmp_path: Path) -> None:
    page = Text(nw.report(finetuned(tmp_path / "young", over=False)).read_text(encoding="utf-8"))
    assert "All predictions" not in page.words and "during training" in page.words
    assert "best validation so far" in page.words
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_text("{}")
    (tmp_path / "begun" / "task.json").write_text('{"task": "qa"}')
    page = Text(nw.report(tmp_path / "begun").read_text(encoding="utf-8"))
    assert "A model that answers questions" in page.words


def test_text_from_the_data_is_escaped_and_long_text_cut(tmp_path: Path) -> None:
    records = held_out()
    hostile = "<script>alert(1)</script>"
    twin = {"place": hostile, "text": hostile, "alike": 0.9}
    records[9] |= {"text": hostile + "x" * 1000, "place": hostile, "twin": twin}
    for example in records:
        example["probabilities"] = {hostile: 0.1} | example["probabilities"]
    html = nw.report(finetuned(tmp_path / "run", examples=records)).read_text(encoding="utf-8")
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


def test_the_calibration_plot_has_a_dot_for_each_bin_of_scikit_learns(tmp_path: Path) -> None:
    chance = np.random.default_rng(6)
    sure = chance.uniform(0.5, 1, 400)
    right = chance.random(400) < sure**2
    records = [
        {"text": "x", "label": "a", "prediction": "a" if hit else "b", "loss": 1.0}
        | {"probabilities": {"a": p if hit else 1 - p, "b": 1 - p if hit else p}}
        for p, hit in zip(sure.tolist(), right.tolist(), strict=True)
    ]
    (plot,) = plots("classify", records)
    accuracy, confidence = calibration_curve(right, sure, n_bins=15)
    dots = circles(str(plot.svg))
    assert len(dots) == len(accuracy)
    for axis, known, sign in (("cx", confidence, 1), ("cy", accuracy, -1)):
        drawn = np.array([sign * dot[axis] for dot in dots])
        assert np.corrcoef(drawn, known)[0, 1] > 0.9999, "on a linear scale"
    gap = sure.mean() - right.mean()
    assert f"overconfident by {gap:.0%}" in plot.note


def test_lengths_and_amounts_are_drawn_against_what_is_right() -> None:
    pairs = [(3, 6), (6, 3), (5, 5)]  # words in the reference, words written
    records = [
        {"text": "x", "references": ["word " * a], "prediction": "word " * b, "loss": 1.0}
        for a, b in pairs
    ]
    (plot,) = plots("translate", records)
    first, second, equal = circles(str(plot.svg))
    assert first["cx"] < equal["cx"] < second["cx"], "the reference to the right"
    assert first["cy"] < equal["cy"] < second["cy"], "more written is higher up"
    assert "1.00 are written for each one" in plot.note
    amounts = [{"text": "x", "label": float(a), "prediction": b, "loss": 1} for a, b in pairs]
    assert [plot.title for plot in plots("classify", amounts)] == ["Predicted numbers"]
    assert plots("chat", records) == plots("translate", []) == []


def circles(svg: str) -> list[dict[str, float]]:
    dots = [e.attrib for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("circle")]
    return [{name: float(each[name]) for name in ("cx", "cy")} for each in dots]


def test_what_the_training_data_holds_too_is_shown_beside_it(tmp_path: Path) -> None:
    records = [example | {"twin": None} for example in held_out()]
    assert present_examples(records).overlap.startswith("None of the 10 held-out examples")
    assert present_examples(held_out()).overlap == "", "of an older run nobody knows"
    records[3]["twin"] = {"place": "data/train.csv:7", "text": "Text number 3", "alike": 1.0}
    records[4]["twin"] = {"place": "data/train.csv:8", "text": "text number 5", "alike": 0.85}
    page = Text(
        nw.report(finetuned(tmp_path / "run", examples=records)).read_text(encoding="utf-8")
    )
    assert (
        "Of the 10 held-out examples, 1 are in the training data too and 1 nearly are" in page.words
    )
    for words in ("Text number 3", "train.csv:7", "the same", "85% alike", "seen in training only"):
        assert words in page.words, words
    assert [row.is_seen for row in present_examples(records).rows].count(True) == 2


def test_thousands_of_predictions_leave_the_page_light(tmp_path: Path) -> None:
    records = [
        held_out()[n % 10] | {"text": f"number {n} " + "long text " * 200, "loss": n / 1000}
        for n in range(3000)
    ]
    html = nw.report(finetuned(tmp_path / "run", examples=records)).read_text(encoding="utf-8")
    assert "number 2999" in html and f"number {2999 - MOST_ROWS} " not in html
    assert "the other 2,500 are in held_out.jsonl" in html and len(html) < 500_000


def test_of_a_long_question_its_end_is_shown_too() -> None:
    answers = [{"text": "context " * 100 + "Who came?", "references": ["Ada"], "loss": 1.0}]
    (row,) = present_examples([answers[0] | {"prediction": "Bo", "score": {"F1": 0.0}}]).rows
    assert row.text.startswith("context") and row.text.endswith("Who came?") and row.is_wrong
    assert len(row.text) < 310 and row.confidence == "0"
