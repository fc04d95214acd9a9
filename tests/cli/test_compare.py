"""`nextword compare` from the command line, with two small classifiers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from nextword.cli.main import main
from nextword.hub.heads import Outputs
from nextword.hub.writing import save_headed
from nextword.models.heads import SequenceClassificationModel
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tokens.tokenizer_training import byte_tokenizer
from nextword.verbs.evaluate import evaluate_task
from nextword.verbs.predict import predict


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tokenizer = byte_tokenizer()
    size = ModelSettings(family="gpt2", layers=1, width=16, heads=2, context_length=64)
    for seed, name in enumerate(("one", "other")):
        body = Transformer(config_for(size, tokenizer.vocab_size), seed=seed)
        outputs = Outputs("single", ("no", "yes"))
        save_headed(
            tmp_path / name, SequenceClassificationModel(body, 2, seed=seed), tokenizer, outputs
        )
    rows = [{"text": f"{n} boxes", "label": ("no", "yes")[n % 2]} for n in range(40)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_figures_are_those_of_evaluate_and_json_says_which_is_better(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "one", "other", "test.jsonl", "--precision", "fp32", "--json"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    for which, name in (("first", "one"), ("second", "other")):
        known = evaluate_task(name, "test.jsonl", precision="fp32").metrics
        for metric, figure in known.items():
            assert result["metrics"][metric][which] == pytest.approx(figure.value)
    accuracy = result["metrics"]["accuracy"]
    assert accuracy["better"] in (None, "one", "other") and 0 < accuracy["p"] <= 1
    assert accuracy["difference"] == pytest.approx(accuracy["second"] - accuracy["first"])
    assert result["models"] == ["one", "other"] and result["examples"] == 40
    assert "McNemar" in printed.err and "A: one" in printed.err


def test_evaluate_gives_classes_and_calibration_as_scikit_learn_does(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "one", "test.jsonl", "--precision", "fp32", "--json"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    predictions = predict("one", "test.jsonl", precision="fp32")
    truth, guess = [("no", "yes")[n % 2] for n in range(40)], [p["label"] for p in predictions]
    counts, known = confusion_matrix(truth, guess), precision_recall_fscore_support(truth, guess)
    for n, row in enumerate(result["classes"]):
        assert list(row["taken_for"].values()) == counts[n].tolist()
        figures = [row[name] for name in ("precision", "recall", "f1", "examples")]
        assert figures == pytest.approx([known[i][n] for i in range(4)])
    sure = [max(p["probabilities"].values()) for p in predictions]
    right = [a == b for a, b in zip(truth, guess, strict=True)]
    accuracy, confidence = calibration_curve(right, sure, n_bins=15)
    bins = result["calibration"]
    assert [b["accuracy"] for b in bins] == pytest.approx(accuracy.tolist())
    assert [b["confidence"] for b in bins] == pytest.approx(confidence.tolist())
    error = sum(abs(b["accuracy"] - b["confidence"]) * b["examples"] for b in bins) / 40
    assert result["metrics"]["calibration error"]["value"] == pytest.approx(error)
    assert "predicted as" in printed.err


def test_a_model_is_no_better_than_itself(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "one", "one", "test.jsonl", "--json"]) == 0
    printed = capsys.readouterr()
    assert all(m["better"] is None for m in json.loads(printed.out)["metrics"].values())
    assert "may be chance" in printed.err and "is better" not in printed.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["one", "other"], "no DATA was given"),
        (["one", "none", "test.jsonl"], "none"),
        (["one", "other", "test.jsonl", "--task", "qa"], "qa"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(["compare", *words]) == 2
    printed = capsys.readouterr().err
    assert sentence in printed and "Traceback" not in printed
