"""The words behind a prediction: what changes when each is left out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from support.tasks import classifier, writer

import nextword as nw
from nextword.errors import UserError
from nextword.hub.heads import Outputs
from nextword.tasks.opening import AnyTask
from nextword.verbs.explain import AT_ONCE, explain
from nextword.verbs.load_task import TaskModel

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
from small_models import ARGUMENTS, DATA, their_encoder

CLASSES = Outputs("single", ("no", "yes"))


def explained(task: AnyTask, row: dict[str, Any], **more: Any) -> dict[str, Any]:
    *_, answer = explain(task, row, **more)
    assert answer is not None
    return answer


def test_an_effect_is_the_fall_of_the_probability_without_the_word() -> None:
    task = classifier(CLASSES, "run")
    answer = explained(task, {"text": "It isn't a fine-tuned day, 天气好。"})
    words = [word["text"] for word in answer["words"]["words"]]
    assert words == ["It", "isn't", "a", "fine-tuned", "day", "天", "气", "好"]
    texts = ["It isn't a fine-tuned, 天气好。", "It isn't a fine-tuned day, 天气。"]
    label = answer["prediction"]["label"]
    for place, text in zip((4, 7), texts, strict=True):
        left = TaskModel(task).classify(text)["probabilities"][label]
        assert answer["words"]["words"][place]["probability"] == pytest.approx(left, abs=1e-5)


def test_several_labels_and_amounts_are_explained() -> None:
    several = classifier(Outputs("several", ("warm", "wet")), "run")
    answer = explained(several, {"text": "A fine day"}, of="wet")
    assert answer["words"]["probability"] == pytest.approx(
        answer["prediction"]["probabilities"]["wet"], abs=1e-6
    )
    usual = explained(several, {"text": "A fine day"})["words"]["of"]
    chances = answer["prediction"]["probabilities"]
    assert chances[usual] == max(chances.values())
    amount = explained(classifier(Outputs("amount", ("amount",)), "run"), {"text": "A fine day"})
    assert amount["words"]["of"] == "amount"
    assert amount["words"]["probability"] == pytest.approx(amount["prediction"]["amount"], abs=1e-6)


def test_pairs_are_explained_by_the_longer_text_or_the_column_named() -> None:
    task = classifier(CLASSES, "run", text_column="one", pair_column="other")
    row = {"one": "A day", "other": "A much longer text"}
    assert explained(task, row)["words"]["column"] == "other"
    named = explained(task, row, column="one")["words"]
    assert [word["text"] for word in named["words"]] == ["A", "day"]
    with pytest.raises(UserError, match="no text 'third'; it has one, other"):
        explained(task, row, column="third")


def test_a_text_of_one_word_has_no_text_without_it() -> None:
    (word,) = explained(classifier(CLASSES, "run"), {"text": "Fine"})["words"]["words"]
    assert (word["probability"], word["effect"]) == (None, None)


def test_work_is_cut_into_pieces_and_bounded() -> None:
    task, text = classifier(CLASSES, "run"), "word " * (3 * AT_ONCE + 1)
    steps = list(explain(task, {"text": text}))
    assert len(steps) == 1 + 4 + 1 and steps[:-1] == [None] * 5
    with pytest.raises(UserError, match="has 600 words, and 512 are left out"):
        explained(task, {"text": "word " * 600})
    with pytest.raises(UserError, match="no label 'maybe'; there are no, yes"):
        explained(task, {"text": "word"}, of="maybe")


def test_what_is_written_freely_has_no_probability() -> None:
    task = writer("summarize", lambda items: ["short"] * len(items), "run")
    assert explained(task, {"document": "A long text."}, words=False)["prediction"]
    with pytest.raises(UserError, match="has no probability of its own"):
        explained(task, {"document": "A long text."})


@pytest.mark.parametrize("name", ["tag", "qa, pointed at"])
def test_entities_and_answers_are_explained(tmp_path: Path, name: str) -> None:
    files, settings = ARGUMENTS[name]
    data = [DATA / file for file in files]
    their_encoder(tmp_path / "encoder", "modernbert")
    few = {"steps": 12, "precision": "fp32", "learning_rate": 2e-3, "val_fraction": 0}
    nw.finetune(tmp_path / "encoder", data, tmp_path / "run", **settings, **few)
    task = nw.load_task(tmp_path / "run", precision="fp32").trained
    if name == "tag":
        row: dict[str, Any] = {"text": "Ada Lovelace met Charles Babbage in London ."}
        task.model.tag.bias.data[0] -= 20  # some entity is found, whatever was learned
    else:
        row = {"context": "Ada was born in London in 1815.", "question": "Where?"}
    answer = explained(task, row)
    words = answer["words"]
    assert words["column"] == ("text" if name == "tag" else "context")
    assert 0 < words["probability"] <= 1
    for word in words["words"]:
        assert 0 <= word["probability"] <= 1
        assert word["effect"] == pytest.approx(words["probability"] - word["probability"], abs=2e-6)
    assert any(word["effect"] for word in words["words"])
