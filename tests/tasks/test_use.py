"""Models that have learnt a task, asked in Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nextword.tasks.trained import Prediction, TrainedModel

import nextword as nw
from nextword.errors import UserError
from nextword.hub.directory import save_classifier
from nextword.hub.labels import Outputs
from nextword.models.heads import Classifier
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings, TaskSettings
from nextword.tasks.classify.data import Labels
from nextword.tasks.records import Record
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.training import bytes_tokenizer
from nextword.verbs.load_task import TaskModel


@dataclass
class Echo(TrainedModel):
    """Answers with what it was asked, as the model would read it; keeps the records."""

    asked_for: list[dict[str, Any]] = field(default_factory=list)

    def predict(self, found: Sequence[Record]) -> list[Prediction]:
        self.asked_for = [dict(record.values) for record in found]
        if self.outputs is not None:
            return super().predict(found)
        made = self.read(found, answered=False)
        return [
            {"answer": self.tokenizer.decode(e.prompt, skip_special=True)} for e in made.examples
        ]


def tiny() -> tuple[Transformer, Tokenizer]:
    tokenizer = bytes_tokenizer()
    size = ModelSettings(family="gpt2", layers=1, width=16, heads=2, context_length=256)
    return Transformer(config_for(size, tokenizer.vocab_size), seed=1), tokenizer


def asked(task: Any, labels: Labels | None = None, **columns: Any) -> TaskModel:
    body, tokenizer = tiny()
    model = body if labels is None else Classifier(body, len(labels.names), seed=2)
    settings = TaskSettings(task=task, **columns)
    start = tokenizer.end_id
    return TaskModel(Echo("run", task, model, tokenizer, settings, frozenset(), start, 8, labels))


CLASSES = Labels("single", ("no", "yes"))


def test_one_text_gives_one_prediction_and_a_list_a_list() -> None:
    model = asked("classify", CLASSES)
    one = model.classify("A fine day.")
    several = model.classify(["A fine day.", "Rain."])
    assert one["label"] in model.labels == ("no", "yes")
    assert sum(one["probabilities"].values()) == pytest.approx(1) and "outputs" not in one
    assert several[0]["probabilities"] == pytest.approx(one["probabilities"], abs=1e-5)
    assert len(several) == 2 and model.classify([]) == []


@pytest.mark.parametrize("columns", [{}, {"text_column": "review.body"}, {"text_column": "1"}])
def test_a_text_is_read_whatever_its_column_was_called(columns: dict[str, str]) -> None:
    model = asked("classify", CLASSES, **columns)
    assert model.classify("A fine day.") == asked("classify", CLASSES).classify("A fine day.")


def test_pairs_are_read_as_pairs_and_told_from_texts() -> None:
    pairs = {"text_column": "premise", "pair_column": "hypothesis"}
    known = asked("classify", CLASSES, **pairs).classify([("one", "other")])
    assert known == asked("classify", CLASSES).classify([("one", "other")])
    assert known[0] == asked("classify", CLASSES).classify("one\nother")
    with pytest.raises(UserError, match=r"learnt pairs.*give \(one, other\)"):
        asked("classify", CLASSES, **pairs).classify("one")
    with pytest.raises(UserError, match="single texts"):
        asked("classify", CLASSES, text_column="text").classify(("one", "other"))


def test_questions_documents_and_sources_become_the_tasks_prompts() -> None:
    model = asked("qa")
    assert model.answer("It rains.", "What?") == "It rains.\n\nQuestion:\nWhat?\n\nAnswer:\n"
    assert len(model.answer("It rains.", ["What?", "When?"])) == 2
    assert asked("summarize").summarize(["Long."]) == ["Long.\n\nSummary:\n"]
    assert asked("translate").translate("Good day.") == "Good day.\n\nTranslation:\n"
    named = {"text_column": "passage", "question_column": "asked"}
    assert asked("qa", **named).answer("It rains.", "What?").startswith("It rains.")
    assert asked("translate", text_column="en", target_column="de").translate("Good day.")[0] == "G"


def test_a_conversation_or_a_question_is_answered() -> None:
    model = asked("chat")
    said = model.chat("Hello?")
    assert "Hello?" in said
    talk = [{"role": "user", "content": "Hello?"}]
    assert model.chat(talk) == said
    assert model.chat(["Hello?", talk]) == [said, said]
    learnt = asked("chat", text_column="instruction", target_column="output")
    assert learnt.chat("Hello?") == said, "one trained on instructions may be talked to"


def test_rows_of_other_columns_are_predicted_for_too() -> None:
    model = asked("summarize", prompt="{title}: {article}\nTL;DR:")
    (found,) = model.predict([{"title": "Rain", "article": "It rains."}])
    assert found == {"answer": "Rain: It rains.\nTL;DR:"}


def test_a_model_is_not_asked_for_what_it_has_not_learnt() -> None:
    with pytest.raises(UserError, match=r"for the task qa, not summarize; call .answer\(context"):
        asked("qa").summarize("x")
    with pytest.raises(UserError, match=r"row 2: column 'context' is empty"):
        asked("qa").predict([{"context": c, "question": "?"} for c in ("a", "")])


def test_a_directory_is_opened_by_name(tmp_path: Path) -> None:
    body, tokenizer = tiny()
    classifier = Classifier(body, 2, seed=2)
    save_classifier(tmp_path, classifier, tokenizer, Outputs("single", ("no", "yes")))
    model = nw.load_task(tmp_path, precision="fp32")
    assert (model.task, model.labels) == ("classify", ("no", "yes"))
    expected = asked("classify", CLASSES).classify("A fine day.")
    assert model.classify("A fine day.")["probabilities"] == pytest.approx(
        expected["probabilities"], abs=1e-5
    )
    with pytest.raises(UserError, match="unknown setting"):
        nw.load_task(tmp_path, colour="red")
