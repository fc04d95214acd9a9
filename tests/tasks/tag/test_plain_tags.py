"""Tags of single words, as parts of speech are: learned, measured, predicted, opened elsewhere."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
import transformers

from nextword.cli.main import main
from nextword.tasks.opening import read_task_file
from nextword.verbs.finetune import finetune
from nextword.verbs.load_task import load_task
from nextword.verbs.predict import predict

sys.path.insert(0, str(Path(__file__).parents[2] / "e2e"))
from small_models import their_encoder

NOUNS = ("lamp", "boat", "mill", "river", "garden", "kettle")
VERBS = ("fell", "slept", "stood", "left")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    chance = random.Random(5)
    with open(folder / "train.conll", "w", encoding="utf-8") as file:
        for number in range(60):
            noun, verb = chance.choice(NOUNS), chance.choice(VERBS)
            file.write(f"The DET\n{noun} NOUN\n{verb} VERB\n{number} NUM\n. PUNCT\n\n")
    base = their_encoder(folder / "base", "bert")
    finetune(
        base,
        folder / "train.conll",
        folder / "run",
        task="tag",
        steps=40,
        batch_size=8,
        learning_rate=3e-3,
        precision="fp32",
    )
    return folder / "run"


def test_words_are_measured_one_by_one(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = json.loads((run / "evaluation.json").read_text())["metrics"]
    assert set(measured) == {"accuracy", "macro F1", "loss"}
    assert measured["accuracy"]["value"] > 0.9
    assert main(["evaluate", str(run), str(run.parent / "train.conll"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in found["classes"]} >= {"DET", "NOUN", "VERB"}
    assert all(len(found["metrics"][name]["interval"]) == 2 for name in ("accuracy", "macro F1"))
    assert main(["evaluate", str(run), str(run.parent / "train.conll")]) == 0
    said = capsys.readouterr().err
    assert "Tags" in said and "Kinds of entities" not in said
    assert main(["report", str(run)]) == 0
    saved = read_task_file(run)
    assert saved is not None and saved.columns["label_column"] == "tags"


def test_transformers_gives_the_same_tags(run: Path, tmp_path: Path) -> None:
    texts = ["The boat slept 7 .", "The mill left 31 ."]
    tagged = load_task(run).tag(texts)
    assert [word["text"] for word in tagged[0]] == texts[0].split()
    pipeline = transformers.pipeline(
        "token-classification", str(run / "model"), device="cpu", ignore_labels=[]
    )
    for text, words in zip(texts, tagged, strict=True):
        theirs = {piece["start"]: piece for piece in pipeline(text)}
        for word in words:
            there = theirs[word["start"]]
            assert word["label"] == there["entity"]
            assert word["probability"] == pytest.approx(there["score"], abs=1e-4)
    (tmp_path / "a.jsonl").write_text(json.dumps({"tokens": texts[0].split()}) + "\n")
    (row,) = predict(run, tmp_path / "a.jsonl")
    assert row["tags"] == [word["label"] for word in tagged[0]] and "entities" not in row
