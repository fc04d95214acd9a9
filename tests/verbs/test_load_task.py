"""Models that have learned a task, used in Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.tasks import classifier, writer

import nextword as nw
from nextword.errors import UserError
from nextword.hub.heads import Outputs
from nextword.hub.writing import save_headed
from nextword.tasks.generate.encoding import GenerationExample
from nextword.tokens.tokenizer_training import byte_tokenizer
from nextword.verbs.load_task import TaskModel


def prompts(items: Sequence[GenerationExample]) -> list[str]:
    """What the model reads, as its answers."""
    return [byte_tokenizer().decode(item.prompt, skip_special=True) for item in items]


def model_for(task: Any, labels: Outputs | None = None, **columns: Any) -> TaskModel:
    if labels is not None:
        return TaskModel(classifier(labels, "run", **columns))
    return TaskModel(writer(task, prompts, "run", **columns))


CLASSES = Outputs("single", ("no", "yes"))


def test_one_text_gives_one_prediction_and_a_list_a_list() -> None:
    model = model_for("classify", CLASSES)
    one = model.classify("A fine day.")
    several = model.classify(["A fine day.", "Rain."])
    assert one["label"] in model.labels == ("no", "yes")
    assert sum(one["probabilities"].values()) == pytest.approx(1) and "outputs" not in one
    assert several[0]["probabilities"] == pytest.approx(one["probabilities"], abs=1e-5)
    assert len(several) == 2 and model.classify([]) == []


@pytest.mark.parametrize("columns", [{}, {"text_column": "review.body"}, {"text_column": "1"}])
def test_a_text_is_read_whatever_its_column_was_called(columns: dict[str, str]) -> None:
    model = model_for("classify", CLASSES, **columns)
    assert model.classify("A fine day.") == model_for("classify", CLASSES).classify("A fine day.")


def test_pairs_are_read_as_pairs_and_told_from_texts() -> None:
    pairs = {"text_column": "premise", "pair_column": "hypothesis"}
    known = model_for("classify", CLASSES, **pairs).classify([("one", "other")])
    assert known == model_for("classify", CLASSES).classify([("one", "other")])
    assert known[0] == model_for("classify", CLASSES).classify("one\nother")
    with pytest.raises(UserError, match=r"learned pairs.*give \(one, other\)"):
        model_for("classify", CLASSES, **pairs).classify("one")
    with pytest.raises(UserError, match="single texts"):
        model_for("classify", CLASSES, text_column="text").classify(("one", "other"))


def test_questions_documents_and_sources_become_the_tasks_prompts() -> None:
    model = model_for("qa")
    assert model.answer("It rains.", "What?") == "It rains.\n\nQuestion:\nWhat?\n\nAnswer:\n"
    assert len(model.answer("It rains.", ["What?", "When?"])) == 2
    assert model_for("summarize").summarize(["Long."]) == ["Long.\n\nSummary:\n"]
    assert model_for("translate").translate("Good day.") == "Good day.\n\nTranslation:\n"
    for named in (("passage", "asked"), ("texts", "task")):
        columns = dict(zip(("text_column", "question_column"), named, strict=True))
        assert model_for("qa", **columns).answer("It rains.", "What?").startswith("It rains.")
    assert (
        model_for("translate", text_column="en", target_column="de").translate("Good day.")[0]
        == "G"
    )


def test_a_conversation_or_a_question_is_answered() -> None:
    model = model_for("chat")
    answer = model.chat("Hello?")
    assert "Hello?" in answer
    talk = [{"role": "user", "content": "Hello?"}]
    assert model.chat(talk) == answer
    assert model.chat(["Hello?", talk]) == [answer, answer]
    instructed = model_for("chat", text_column="instruction", target_column="output")
    assert instructed.chat("Hello?") == answer, "one trained on instructions may be talked to"


def test_rows_of_other_columns_are_predicted_for_too() -> None:
    model = model_for("summarize", prompt="{title}: {article}\nTL;DR:")
    (prediction,) = model.predict([{"title": "Rain", "article": "It rains."}])
    assert prediction == {"answer": "Rain: It rains.\nTL;DR:"}


def test_a_model_is_not_asked_for_what_it_has_not_learned() -> None:
    with pytest.raises(UserError, match=r"for the task qa, not summarize; call .answer\(context"):
        model_for("qa").summarize("x")
    with pytest.raises(UserError, match=r"row 2: column 'context' is empty"):
        model_for("qa").predict([{"context": c, "question": "?"} for c in ("a", "")])


def test_a_directory_is_opened_by_name(tmp_path: Path) -> None:
    saved = classifier(CLASSES)
    save_headed(tmp_path, saved.model, saved.tokenizer, Outputs("single", ("no", "yes")))
    model = nw.load_task(tmp_path, precision="fp32")
    assert (model.task, model.labels) == ("classify", ("no", "yes"))
    expected = model_for("classify", CLASSES).classify("A fine day.")
    assert model.classify("A fine day.")["probabilities"] == pytest.approx(
        expected["probabilities"], abs=1e-5
    )
    with pytest.raises(UserError, match="unknown setting"):
        nw.load_task(tmp_path, colour="red")
