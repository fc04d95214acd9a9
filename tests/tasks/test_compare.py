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
import transformers
from nextword.tasks.generate.examples import read_examples
from nextword.tasks.generate.predictions import judge
from nextword.tasks.learnable import row_room
from nextword.tasks.trained import Prediction, TrainedModel
from scipy import stats

from nextword.errors import UserError
from nextword.hub.directory import save
from nextword.models.heads import Classifier
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings, TaskSettings
from nextword.tasks.classify.data import Labels
from nextword.tasks.generate.writing import example_losses
from nextword.tasks.records import Record, read_records
from nextword.tokens.training import bytes_tokenizer, characters
from nextword.verbs.compare import compare, outcome

HOW: Any = (frozenset(), bytes_tokenizer().end_id, 64)  # nothing asked for, start, at once


@dataclass
class Known(TrainedModel):
    """A model whose predictions are known beforehand."""

    says: list[Prediction] = field(default_factory=list)

    def predict(self, found: Sequence[Record]) -> list[Prediction]:
        assert len(found) == len(self.says)
        return self.says


def body(seed: int = 1, vocabulary: int | None = None) -> Transformer:
    size = ModelSettings(family="gpt2", layers=2, width=32, heads=4, context_length=256)
    return Transformer(config_for(size, vocabulary or bytes_tokenizer().vocab_size), seed=seed)


def classifier(given: Any, name: str = "A", labels: Labels | None = None, **columns: Any) -> Known:
    labels = labels or Labels("single", ("no", "yes"))
    settings = TaskSettings(task="classify", **columns)
    says = [{"outputs": list(map(float, row))} for row in given]
    model = Classifier(body(), len(labels.names), seed=1)
    return Known(name, "classify", model, bytes_tokenizer(), settings, *HOW, labels, says=says)


def writer(task: Any, answers: Sequence[str], name: str = "A", seed: int = 1) -> Known:
    says = [{"answer": answer} for answer in answers]
    return Known(
        name, task, body(seed), bytes_tokenizer(), TaskSettings(task=task), *HOW, says=says
    )


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
    found = compare(classifier(guesses(first)), classifier(guesses(second), "B"), labelled)
    accuracy = found.metrics["accuracy"]
    assert (accuracy.first, accuracy.second) == pytest.approx((40 / 60, 51 / 60))
    assert accuracy.discordant == (8, 19)
    assert (
        accuracy.p == pytest.approx(stats.binomtest(8, 27).pvalue)
        and accuracy.test[:7] == "McNemar"
    )
    assert found.metrics["macro F1"].test == "paired bootstrap"
    assert found.better("accuracy") is None, "8 against 19 may be chance"
    low, high = accuracy.interval
    spread = 1.96 * np.std(second.astype(float) - first) / np.sqrt(60)
    assert (low, high) == pytest.approx((11 / 60 - spread, 11 / 60 + spread), abs=0.025)


def test_the_better_model_is_named_whichever_comes_first(labelled: Path) -> None:
    good, bad = classifier(guesses(np.arange(60) < 55)), classifier(guesses(np.arange(60) < 30))
    assert compare(good, bad, labelled).better("accuracy") == 0
    assert compare(bad, good, labelled).better("accuracy") == 1


def test_where_less_is_better_the_lower_figure_wins(labelled: Path) -> None:
    right = guesses(np.arange(60) < 60)
    sure, unsure = classifier(np.round(right)), classifier(right)
    found = compare(sure, unsure, labelled)
    assert found.metrics["calibration error"].difference == pytest.approx(0.2)
    assert found.better("calibration error") == 0
    assert found.better("accuracy") is None


def test_models_may_number_the_same_labels_differently(labelled: Path) -> None:
    right = guesses(np.arange(60) < 40)
    turned = classifier(right[:, ::-1], labels=Labels("single", ("yes", "no")))
    found = compare(classifier(right), turned, labelled).metrics["accuracy"]
    assert found.difference == 0 and found.discordant == (0, 0) and found.p == 1


def test_models_that_take_different_columns_for_the_truth_are_not_compared(tmp_path: Path) -> None:
    rows = [
        {"text": str(n), "label": ("no", "yes")[n % 2], "other": ("no", "yes")[n // 3 % 2]}
        for n in range(12)
    ]
    data, given = write(tmp_path / "two.jsonl", rows), guesses(np.arange(12) < 6)
    with pytest.raises(UserError, match="different columns"):
        compare(classifier(given), classifier(given, label_column="other"), data)


def test_several_labels_and_amounts_are_compared_too(tmp_path: Path) -> None:
    rows = [{"text": str(n), "labels": [["a"], ["a", "b"]][n % 2]} for n in range(20)]
    several = Labels("several", ("a", "b"))
    exact = np.array([[0.9, n % 2] for n in range(20)])
    always = np.tile([0.9, 0.1], (20, 1))
    data = write(tmp_path / "several.jsonl", rows)
    found = compare(classifier(exact, labels=several), classifier(always, labels=several), data)
    known = found.metrics["all labels right"]
    assert known.discordant == (10, 0) and known.p == pytest.approx(2 / 2**10)
    rows = [{"text": str(n), "label": n + 0.5} for n in range(20)]
    amounts, truth = Labels("amount", ("amount",)), np.arange(20)[:, None] + 0.5
    noise = np.random.default_rng(1).normal(0, 9, (20, 1))
    data = write(tmp_path / "amounts.jsonl", rows)
    found = compare(
        classifier(truth, labels=amounts), classifier(truth + noise, labels=amounts), data
    )
    assert found.better("Pearson") == found.better("mean absolute error") == 0
    assert {d.test for d in found.metrics.values()} == {"paired bootstrap"}


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
    wanted = (
        GERMAN if language == "de" else ["老人在河边看书。", "农夫在窗前喝茶。", "老师唱歌。"] * 4
    )
    written = WRITTEN if language == "de" else [f"老人{n}在窗前看书。" for n in range(12)]
    rows = [{"en": e, language: w} for e, w in zip(ENGLISH, wanted, strict=True)]
    found = read_records([str(write(tmp_path / "pairs.jsonl", rows))])
    figures = outcome(writer("translate", written), found).figures
    for chosen in ([0, 1, 2, 3], [5, 5, 5, 2, 11], list(range(12))):
        given, truth = [written[i] for i in chosen], [[wanted[i] for i in chosen]]
        known = figures(np.array(chosen))
        assert known["BLEU"] == pytest.approx(
            sacrebleu.corpus_bleu(given, truth, tokenize=tokenizer).score
        )
        assert known["chrF"] == pytest.approx(sacrebleu.corpus_chrf(given, truth).score)


@pytest.mark.parametrize("task", ["qa", "summarize", "translate"])
def test_figures_are_those_that_evaluate_gives(tmp_path: Path, task: Any) -> None:
    texts = [f"The mill of Sallow was built in {1600 + n} by Ada Thorne." for n in range(8)]
    wanted = [f"{1600 + n}, by Thorne" for n in range(8)]
    written = [f"built in {1600 + n + n % 3}" for n in range(8)]
    names = {"qa": ("context", "answers"), "summarize": ("document", "summary")}
    given, asked = names.get(task, ("source", "target"))
    pairs = zip(texts, wanted, strict=True)
    rows = [{given: text, "question": "When?", asked: answer} for text, answer in pairs]
    data = write(tmp_path / "test.jsonl", rows)
    model = writer(task, written)
    made = model.read(read_records([str(data)]), answered=True)
    known = judge(task, written, made.examples, None, "en")
    found = compare(model, writer(task, wanted, "B"), data)
    for name, metric in known.items():
        if name != "length ratio":  # neither more nor less of it is better
            assert found.metrics[name].first == pytest.approx(metric.value), name
            assert found.metrics[name].second > metric.value
            assert found.better(name) == 1
    assert "length ratio" not in found.metrics


def test_each_examples_loss_is_transformers_for_it_alone(tmp_path: Path) -> None:
    model, tokenizer = body(), bytes_tokenizer()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    save(tmp_path, model, tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    rows = [
        {"context": "x" * (1 + n), "question": "How long?", "answers": ["y" * (1 + n % 5)]}
        for n in range(80)
    ]
    found = [Record(row, str(n)) for n, row in enumerate(rows)]
    made = read_examples(
        found, TaskSettings(task="qa"), tokenizer, tokenizer.end_id, 256, training=False
    )
    examples = [example.example for example in made.examples]
    losses = example_losses(model, examples, row_room(model))
    for n in (0, 1, 37, 79):
        ids = torch.tensor(examples[n].ids)[None]
        wanted = ids.masked_fill(~torch.tensor(examples[n].scored), -100)
        with torch.no_grad():
            mean = float(theirs(ids, labels=wanted).loss)
        assert losses.tokens[n] == examples[n].scored.sum() == 2 + n % 5
        assert losses.nats[n] / losses.tokens[n] == pytest.approx(mean, rel=1e-4)


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
    trained, untrained = writer("chat", []), writer("chat", [], "B", seed=2)
    with torch.no_grad():
        untrained.model.norm.weight.mul_(9)  # sure of what it does not know
    found = compare(trained, untrained, data)
    assert list(found.metrics) == ["loss"] and found.better("loss") == 0


def test_losses_over_different_tokens_are_not_compared(tmp_path: Path) -> None:
    rows = [{"source": "über", "target": "über"}, {"source": "b", "target": "b"}]
    data = write(tmp_path / "pairs.jsonl", rows)
    letters = characters(["über\nTranslation:b"])
    other = writer("translate", ["über", "c"], "B")
    other.model, other.tokenizer = body(1, letters.vocab_size), letters
    other.start_id = letters.end_id
    found = compare(writer("translate", ["a", "b"]), other, data)
    assert "loss" not in found.metrics and "different tokens" in found.remarks[0]


def test_models_for_different_tasks_and_single_examples_are_refused(
    labelled: Path, tmp_path: Path
) -> None:
    given = guesses(np.arange(60) < 40)
    with pytest.raises(UserError, match="A and B do different tasks: classify and qa"):
        compare(classifier(given), writer("qa", [], "B"), labelled)
    one = write(tmp_path / "one.jsonl", [{"text": "x", "label": "yes"}])
    with pytest.raises(UserError, match="one example says nothing"):
        compare(classifier(given[:1]), classifier(given[:1]), one)


def test_questions_about_one_text_are_drawn_together(tmp_path: Path) -> None:
    """Thirty questions of three texts say little more than three would."""
    rows = [
        {"context": f"Text {n % 3}.", "question": f"What is {n}?", "answers": [f"{n}"]}
        for n in range(30)
    ]
    by_text = [str(n) if n % 3 else "wrong" for n in range(30)]
    found = compare(
        writer("qa", ["wrong"] * 30),
        writer("qa", by_text, "B"),
        write(tmp_path / "qa.jsonl", rows),
    )
    assert (found.examples, found.units) == (30, 3)
    exact = found.metrics["exact match"]
    assert exact.difference == pytest.approx(2 / 3)
    assert exact.interval == pytest.approx((0, 1)) and found.better("exact match") is None
    apart = [row | {"context": f"Text {n}."} for n, row in enumerate(rows)]
    data = write(tmp_path / "apart.jsonl", apart)
    found = compare(writer("qa", ["wrong"] * 30), writer("qa", by_text, "B"), data)
    assert found.units == 30 and found.better("exact match") == 1
    alike = write(tmp_path / "one.jsonl", rows[::3])
    with pytest.raises(UserError, match="examples that all share one input say nothing"):
        compare(writer("qa", ["x"] * 10), writer("qa", ["x"] * 10, "B"), alike)
