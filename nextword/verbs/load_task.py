"""A model that has learned a task, in Python: give it texts, get labels, answers, summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

from nextword.errors import UserError
from nextword.settings import PredictSettings, with_overrides
from nextword.tasks.base import Prediction
from nextword.tasks.classify.task import Classify
from nextword.tasks.opening import AnyTask, open_task
from nextword.tasks.records import Record
from nextword.verbs.predict import predict_records

METHODS = {
    "classify": "classify(texts)",
    "qa": "answer(context, question)",
    "summarize": "summarize(documents)",
    "translate": "translate(texts)",
    "chat": "chat(messages)",
    "tag": "tag(texts)",
}
Text = str | tuple[str, str]  # a text, or a pair of them
Texts = list[str] | list[tuple[str, str]] | list[Text]
OneOrMany = TypeVar("OneOrMany", str, list[str])
Talk = str | Sequence[Mapping[str, str]]  # a question, or a conversation's messages


@dataclass(frozen=True)
class TaskModel:
    """What a task's model can be asked. Each method takes one input and gives one result, or takes
    a list of them and gives a list, which is faster than one after the other."""

    trained: AnyTask

    @property
    def task(self) -> str:
        return self.trained.name

    @property
    def labels(self) -> tuple[str, ...]:
        """A classifier's labels, in the order of its probabilities."""
        return self.trained.outputs.names if isinstance(self.trained, Classify) else ()

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        """Return a prediction for each row of columns, named as in the model's training data."""
        records = [Record(row, f"row {number}") for number, row in enumerate(rows, start=1)]
        return predict_records(self.trained, records) if records else []

    @overload
    def classify(self, texts: Text) -> Prediction: ...
    @overload
    def classify(self, texts: Texts) -> list[Prediction]: ...
    def classify(self, texts: Text | Texts) -> Prediction | list[Prediction]:
        """{"label": ..., "probabilities": {...}} of each text, or pair of texts; "labels" where
        several may hold, "amount" where a number was learned."""
        self._does("classify")
        if isinstance(texts, str | tuple):
            return self.predict([self.columns_of(texts)])[0]
        return self.predict([self.columns_of(text) for text in texts])

    @overload
    def tag(self, texts: str) -> list[Prediction]: ...
    @overload
    def tag(self, texts: list[str]) -> list[list[Prediction]]: ...
    def tag(self, texts: str | list[str]) -> list[Prediction] | list[list[Prediction]]:
        """The entities of each text: {"start", "end", "label", "text", "probability"}, start and
        end in characters; each word with its tag where these name no entities."""
        self._does("tag")
        column = self.trained.settings.text_column or "text"
        several = [texts] if isinstance(texts, str) else texts
        rows = self.predict([{column: text} for text in several])
        found = [row["tagged"] if "tagged" in row else row["entities"] for row in rows]
        return found[0] if isinstance(texts, str) else found

    def answer(self, context: str, question: OneOrMany) -> OneOrMany:
        """The answer to a question about a text, or to several; "" where it says there is none."""
        settings = self.trained.settings
        others = {settings.text_column or "context": context}
        return self._ask("qa", settings.question_column or "question", question, others)

    def summarize(self, documents: OneOrMany) -> OneOrMany:
        """The summary of each document."""
        return self._ask(
            "summarize", self.trained.settings.text_column or "document", documents, {}
        )

    def translate(self, texts: OneOrMany) -> OneOrMany:
        """The translation of each text."""
        return self._ask("translate", self.trained.settings.text_column or "source", texts, {})

    @overload
    def chat(self, messages: Talk) -> str: ...
    @overload
    def chat(self, messages: list[str] | list[Talk]) -> list[str]: ...
    def chat(self, messages: Talk | list[str] | list[Talk]) -> str | list[str]:
        """What the assistant says next in a conversation: [{"role": "user", "content": ...}, ...],
        or to a single question; or in each of several."""
        self._does("chat")
        several = isinstance(messages, list) and not all(isinstance(m, Mapping) for m in messages)
        talks: Any = messages if several else [messages]
        asked = [[{"role": "user", "content": t}] if isinstance(t, str) else t for t in talks]
        column = self.trained.settings.text_column or "messages"
        said = self._write([{column: [dict(message) for message in talk]} for talk in asked])
        return said if several else said[0]

    def _ask(self, task: str, column: str, texts: OneOrMany, others: dict[str, str]) -> OneOrMany:
        """What is written for a text in a column, or for each of several, beside `others`."""
        self._does(task)
        if isinstance(texts, str):
            return self._write([others | {column: texts}])[0]
        return self._write([others | {column: text} for text in texts])

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        return [str(prediction["answer"]) for prediction in self.predict(rows)]

    def columns_of(self, text: Text) -> dict[str, str]:
        """Return a text or pair under the columns that the model's training data had."""
        settings = self.trained.settings
        if isinstance(text, str):
            if settings.pair_column is not None:
                what = f"{self.trained.place} learned pairs of texts"
                raise UserError(what, mend="give (one, other)")
            return {settings.text_column or "text": text}
        if settings.text_column is not None and settings.pair_column is None:
            raise UserError(f"{self.trained.place} learned single texts, not pairs")
        names = settings.text_column or "text_a", settings.pair_column or "text_b"
        return dict(zip(names, text, strict=True))

    def _does(self, task: str) -> None:
        if self.task != task:
            raise UserError(
                f"{self.trained.place} is for the task {self.task}, not {task}",
                mend=f"call .{METHODS.get(self.task, 'predict(rows)')}",
            )


def load_task(
    model: str | Path, settings: PredictSettings | None = None, **overrides: Any
) -> TaskModel:
    """A run of `finetune`, or any model with `task=` named, to be asked.

    Raises UserError where its task is not known.
    """
    return TaskModel(open_task(model, with_overrides(PredictSettings, settings, overrides)))
