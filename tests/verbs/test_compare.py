from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
import torch
from numpy.typing import ArrayLike
from scipy import stats
from support.tasks import classifier, transformer, writer

from nextword.errors import UserError
from nextword.hub.heads import Outputs
from nextword.tasks.classify.data import LabelledText
from nextword.tasks.classify.task import Classify, LabelledExample, LabelOutputs
from nextword.tasks.dataset import Dataset, Encoded
from nextword.tasks.generate.task import Generate
from nextword.tasks.records import read_records
from nextword.tokens.tokenizer_training import character_tokenizer
from nextword.verbs.compare import compare, outcome_of
from nextword.verbs.evaluate import evaluate_task


@dataclass
class Known(Classify):
    """A classifier whose scores are known beforehand."""

    scores: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))

    def predict(
        self, encoded: Encoded[LabelledExample], dataset: Dataset[LabelledText]
    ) -> LabelOutputs:
        outputs = super().predict(encoded, dataset)
        assert self.scores.shape == outputs.scores.shape
        return LabelOutputs(outputs.predictions, outputs.losses, outputs.targets, self.scores)


def labelling(
    scores: ArrayLike, place: str = "A", labels: Outputs | None = None, **columns: Any
) -> Known:
    model = classifier(labels or Outputs("single", ("no", "yes")), place, Known, **columns)
    model.scores = np.asarray(scores, np.float64)
    return model


def writing(task: str, answers: Sequence[str], place: str = "A", seed: int = 1) -> Generate[Any]:
    return writer(task, lambda _: answers, place, seed)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    rows = [{"text": f"text {n}", "label": ("no", "yes")[n % 2]} for n in range(60)]
    return write(tmp_path / "test.jsonl", rows)


def guesses(right: Sequence[bool]) -> np.ndarray:
    truth = np.arange(len(right)) % 2
    guess = np.where(right, truth, 1 - truth)
    return np.eye(2)[guess] * 0.6 + 0.2


def test_accuracies_are_compared_by_mcnemars_exact_test(labelled: Path) -> None:
    first, second = np.arange(60) < 40, (np.arange(60) >= 8) & (np.arange(60) < 59)
    comparison = compare(labelling(guesses(first)), labelling(guesses(second), "B"), labelled)
    accuracy = comparison.metrics["accuracy"]
    assert (accuracy.first, accuracy.second) == pytest.approx((40 / 60, 51 / 60))
    assert accuracy.discordant == (8, 19)
    assert (
        accuracy.p == pytest.approx(stats.binomtest(8, 27).pvalue)
        and accuracy.test[:7] == "McNemar"
    )
    assert comparison.metrics["macro F1"].test == "paired bootstrap"
    assert comparison.better("accuracy") is None, "8 against 19 may be chance"
    low, high = accuracy.interval
    spread = 1.96 * np.std(second.astype(float) - first) / np.sqrt(60)
    assert (low, high) == pytest.approx((11 / 60 - spread, 11 / 60 + spread), abs=0.025)


def test_the_better_model_is_named_whichever_comes_first(labelled: Path) -> None:
    good, bad = labelling(guesses(np.arange(60) < 55)), labelling(guesses(np.arange(60) < 30))
    assert compare(good, bad, labelled).better("accuracy") == 0
    assert compare(bad, good, labelled).better("accuracy") == 1


def test_where_less_is_better_the_lower_figure_wins(labelled: Path) -> None:
    right = guesses(np.arange(60) < 60)
    sure, unsure = labelling(np.round(right)), labelling(right)
    comparison = compare(sure, unsure, labelled)
    assert comparison.metrics["calibration error"].difference == pytest.approx(0.2)
    assert comparison.better("calibration error") == 0
    assert comparison.better("accuracy") is None


def test_models_may_number_the_same_labels_differently(labelled: Path) -> None:
    right = guesses(np.arange(60) < 40)
    turned = labelling(right[:, ::-1], labels=Outputs("single", ("yes", "no")))
    accuracy = compare(labelling(right), turned, labelled).metrics["accuracy"]
    assert accuracy.difference == 0 and accuracy.discordant == (0, 0) and accuracy.p == 1


def test_the_data_is_read_once_for_both_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"text,label\n{'河边的灯很亮。' * 9},no", *(f"第{n}盏灯,yes" for n in range(59))]
    (tmp_path / "lamps.csv").write_bytes("\n".join(lines).encode("gb18030"))
    right = guesses(np.arange(60) < 40)
    compare(labelling(right), labelling(right, "B"), tmp_path / "lamps.csv")
    assert capsys.readouterr().err.count("in GB18030") == 1


def test_models_that_take_different_columns_for_the_truth_are_not_compared(tmp_path: Path) -> None:
    rows = [
        {"text": str(n), "label": ("no", "yes")[n % 2], "other": ("no", "yes")[n // 3 % 2]}
        for n in range(12)
    ]
    data, scores = write(tmp_path / "two.jsonl", rows), guesses(np.arange(12) < 6)
    with pytest.raises(UserError, match="different columns"):
        compare(labelling(scores), labelling(scores, label_column="other"), data)


def test_several_labels_and_amounts_are_compared_too(tmp_path: Path) -> None:
    rows = [{"text": str(n), "labels": [["a"], ["a", "b"]][n % 2]} for n in range(20)]
    several = Outputs("several", ("a", "b"))
    exact = np.array([[0.9, n % 2] for n in range(20)])
    always = np.tile([0.9, 0.1], (20, 1))
    data = write(tmp_path / "several.jsonl", rows)
    comparison = compare(labelling(exact, labels=several), labelling(always, labels=several), data)
    right = comparison.metrics["all labels right"]
    assert right.discordant == (10, 0) and right.p == pytest.approx(2 / 2**10)
    rows = [{"text": str(n), "label": n + 0.5} for n in range(20)]
    amounts, truth = Outputs("amount", ("amount",)), np.arange(20)[:, None] + 0.5
    noise = np.random.default_rng(1).normal(0, 9, (20, 1))
    data = write(tmp_path / "amounts.jsonl", rows)
    comparison = compare(
        labelling(truth, labels=amounts), labelling(truth + noise, labels=amounts), data
    )
    assert comparison.better("Pearson") == comparison.better("mean absolute error") == 0
    assert {d.test for d in comparison.metrics.values()} == {"paired bootstrap"}


ENGLISH = [
    "The cat sits on the mat.",
    "A dog runs in the garden.",
    "It rains, and we stay at home.",
] * 4
GERMAN = [
    "Die Katze sitzt auf der Matte.",
    "Ein Hund läuft im Garten.",
    "Es regnet, wir bleiben hier.",
] * 4
WRITTEN = [f"Die Katze {n} sitzt auf einer Matte und läuft im Garten." for n in range(12)]


@pytest.mark.parametrize(("language", "tokenizer"), [("de", "13a"), ("zh", "zh")])
def test_bleu_and_chrf_of_chosen_sentences_are_sacrebleus_of_those_sentences(
    tmp_path: Path, language: str, tokenizer: str
) -> None:
    targets = (
        GERMAN if language == "de" else ["老人在河边看书。", "农夫在窗前喝茶。", "老师唱歌。"] * 4
    )
    answers = WRITTEN if language == "de" else [f"老人{n}在窗前看书。" for n in range(12)]
    rows = [{"en": e, language: target} for e, target in zip(ENGLISH, targets, strict=True)]
    data = write(tmp_path / "pairs.jsonl", rows)
    metrics = outcome_of(writing("translate", answers), read_records([str(data)])).metrics
    for chosen in ([0, 1, 2, 3], [5, 5, 5, 2, 11], list(range(12))):
        some, truth = [answers[i] for i in chosen], [[targets[i] for i in chosen]]
        values = {name: metric.compute(np.array(chosen)) for name, metric in metrics.items()}
        assert values["BLEU"] == pytest.approx(
            sacrebleu.corpus_bleu(some, truth, tokenize=tokenizer).score
        )
        assert values["chrF"] == pytest.approx(sacrebleu.corpus_chrf(some, truth).score)


@pytest.mark.parametrize("task", ["qa", "summarize", "translate"])
def test_figures_are_those_that_evaluate_gives(tmp_path: Path, task: Any) -> None:
    texts = [f"The mill of Sallow was built in {1600 + n} by Ada Thorne." for n in range(8)]
    targets = [f"{1600 + n}, by Thorne" for n in range(8)]
    answers = [f"built in {1600 + n + n % 3}" for n in range(8)]
    names = {"qa": ("context", "answers"), "summarize": ("document", "summary")}
    source, target = names.get(task, ("source", "target"))
    pairs = zip(texts, targets, strict=True)
    rows = [{source: text, "question": "When?", target: answer} for text, answer in pairs]
    data = write(tmp_path / "test.jsonl", rows)
    model = writing(task, answers)
    estimates = evaluate_task(model, data).metrics
    comparison = compare(model, writing(task, targets, "B"), data)
    assert comparison.metrics["loss"].first == pytest.approx(estimates.pop("loss").value)
    metrics = model.scoring.metrics(answers, [[text] for text in targets], "en")
    assert {name: e.value for name, e in estimates.items()} == pytest.approx(
        {name: metric.value for name, metric in metrics.items()}
    )
    for name, estimated in estimates.items():
        if name != "length ratio":  # neither more nor less of it is better
            assert comparison.metrics[name].first == pytest.approx(estimated.value), name
            assert comparison.metrics[name].second > estimated.value
            assert comparison.better(name) == 1


def test_lengths_are_not_compared(tmp_path: Path) -> None:
    """Neither longer nor shorter answers are better ones."""
    rows = [{"document": f"Long {n}.", "summary": f"{n}"} for n in range(4)]
    data = write(tmp_path / "test.jsonl", rows)
    short, long = writing("summarize", ["a"] * 4), writing("summarize", ["a b c"] * 4, "B")
    assert "length ratio" not in compare(short, long, data).metrics


def test_conversations_are_compared_by_their_loss(tmp_path: Path) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{n}?"},
                {"role": "assistant", "content": "Yes."},
            ]
        }
        for n in range(12)
    ]
    data = write(tmp_path / "chat.jsonl", rows)
    trained, untrained = writing("chat", []), writing("chat", [], "B", seed=2)
    with torch.no_grad():
        untrained.model.norm.weight.mul_(9)  # sure of what it does not know
    comparison = compare(trained, untrained, data)
    assert comparison.better("loss") == 0
    assert list(comparison.metrics) == ["loss"]


def test_losses_over_different_tokens_are_not_compared(tmp_path: Path) -> None:
    rows = [{"source": "über", "target": "über"}, {"source": "b", "target": "b"}]
    data = write(tmp_path / "pairs.jsonl", rows)
    letters = character_tokenizer(["über\nTranslation:b"])
    other = writing("translate", ["über", "c"], "B")
    other.model, other.tokenizer = transformer(1, letters.vocab_size), letters
    other.start_id = letters.end_id
    comparison = compare(writing("translate", ["a", "b"]), other, data)
    assert "loss" not in comparison.metrics and "different tokens" in comparison.remarks[0]


def test_models_for_different_tasks_and_single_examples_are_refused(
    labelled: Path, tmp_path: Path
) -> None:
    scores = guesses(np.arange(60) < 40)
    with pytest.raises(UserError, match="A and B do different tasks: classify and qa"):
        compare(labelling(scores), writing("qa", [], "B"), labelled)
    one = write(tmp_path / "one.jsonl", [{"text": "x", "label": "yes"}])
    with pytest.raises(UserError, match="one example says nothing"):
        compare(labelling(scores[:1]), labelling(scores[:1]), one)


def test_questions_about_one_text_are_drawn_together(tmp_path: Path) -> None:
    """Thirty questions of three texts say little more than three would."""
    rows = [
        {"context": f"Text {n % 3}.", "question": f"What is {n}?", "answers": [f"{n}"]}
        for n in range(30)
    ]
    by_text = [str(n) if n % 3 else "wrong" for n in range(30)]
    comparison = compare(
        writing("qa", ["wrong"] * 30),
        writing("qa", by_text, "B"),
        write(tmp_path / "qa.jsonl", rows),
    )
    assert (comparison.examples, comparison.units) == (30, 3)
    exact = comparison.metrics["exact match"]
    assert exact.difference == pytest.approx(2 / 3)
    assert exact.interval == pytest.approx((0, 1)) and comparison.better("exact match") is None
    apart = [row | {"context": f"Text {n}."} for n, row in enumerate(rows)]
    data = write(tmp_path / "apart.jsonl", apart)
    comparison = compare(writing("qa", ["wrong"] * 30), writing("qa", by_text, "B"), data)
    assert comparison.units == 30 and comparison.better("exact match") == 1
    alike = write(tmp_path / "one.jsonl", rows[::3])
    with pytest.raises(UserError, match="examples that all share one input say nothing"):
        compare(writing("qa", ["x"] * 10), writing("qa", ["x"] * 10, "B"), alike)
