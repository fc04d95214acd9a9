"""A model that has learnt a task, opened to be used: its predictions, and how good they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub.directory import load, load_classifier
from nextword.hub.resolve import resolve as find_directory
from nextword.inference.precision import choose_dtype
from nextword.models.heads import Classifier
from nextword.models.transformer import Transformer
from nextword.settings import ColumnSettings, PredictSettings, Task, TaskSettings, resolve
from nextword.tasks.classify import Labels, find_columns, labelled_texts
from nextword.tasks.completion import Completions, Format, read_examples
from nextword.tasks.learnable import encode_texts, label_batch, length_limit, row_room, start_of
from nextword.tasks.measuring import answer_loss, label_metrics, label_probabilities
from nextword.tasks.metrics import Metric
from nextword.tasks.predictions import judge, write_answers
from nextword.tasks.records import Record
from nextword.tokens.tokenizer import Tokenizer

TASK_FILE = "task.json"
Prediction = dict[str, Any]


@dataclass
class TrainedModel:
    """`outputs` are a classifier's labels, None for a model that writes; `format` says how its
    prompts are made, None where the task's usual one is taken."""

    name: str
    task: Task
    model: Transformer | Classifier
    tokenizer: Tokenizer
    settings: TaskSettings
    outputs: Labels | None = None
    format: Format | None = None

    def predict(self, found: Sequence[Record]) -> list[Prediction]:
        """A prediction a record: label and probabilities, an amount, or what the model writes."""
        if self.outputs is not None:
            return list(self._classify(found))
        made = self._read(found, answered=False)
        return [{"answer": answer} for answer in self._answers(made)]

    def evaluate(self, found: Sequence[Record]) -> tuple[dict[str, Metric], list[Prediction]]:
        """The task's metrics with their intervals, and the predictions they are of."""
        seed = self.settings.seed
        if self.outputs is not None:
            columns = find_columns(found, self.settings, labelled=True)
            texts = labelled_texts(found, columns)
            targets = [self.outputs.encode(text.label, text.place) for text in texts]
            predictions = list(self._classify(found))
            given = np.array([p["outputs"] for p in predictions])
            return label_metrics(targets, given, self.outputs, seed), predictions
        made = self._read(found, answered=True)
        loss = {"loss": Metric(answer_loss(self._writer, made, row_room(self._writer)))}
        if self.task in ("chat", "text"):
            return loss, []
        answers = self._answers(made)
        language = made.format.language
        found_metrics = judge(self.task, answers, made.examples, seed, language)
        return found_metrics | loss, [{"answer": answer} for answer in answers]

    @property
    def _writer(self) -> Transformer:
        assert isinstance(self.model, Transformer)
        return self.model

    def _classify(self, found: Sequence[Record]) -> Iterator[Prediction]:
        assert self.outputs is not None and isinstance(self.model, Classifier)
        texts = labelled_texts(found, find_columns(found, self.settings, labelled=False))
        body = self.model.transformer
        limit = length_limit(body, self.settings)
        examples = encode_texts(texts, self.tokenizer, limit)
        given = label_probabilities(self.model, examples, self.outputs, label_batch, row_room(body))
        names = self.outputs.names
        for row in given.tolist():
            prediction: Prediction = {"outputs": row}
            if self.outputs.kind == "amount":
                prediction["amount"] = row[0]
            elif self.outputs.kind == "several":
                prediction["labels"] = [n for n, p in zip(names, row, strict=True) if p >= 0.5]
            else:
                prediction["label"] = names[int(np.argmax(row))]
            if self.outputs.kind != "amount":
                prediction["probabilities"] = dict(zip(names, row, strict=True))
            yield prediction

    def _read(self, found: Sequence[Record], *, answered: bool) -> Completions:
        return read_examples(
            found,
            self.settings,
            self.tokenizer,
            start_of(self.tokenizer),
            length_limit(self._writer, self.settings),
            training=False,
            format=self.format,
            answered=answered,
        )

    def _answers(self, made: Completions) -> list[str]:
        return write_answers(
            self._writer,
            self.tokenizer,
            [example.prompt for example in made.examples],
            max(made.format.answer_tokens, 1),
            made.end_ids,
            beams=self.settings.beams,
        )


def open_trained(name: str | Path, settings: PredictSettings) -> TrainedModel:
    """A run of `finetune`, or any model with the task that `settings` name.

    Raises UserError where the task is not known, or the model is not one for it.
    """
    place = Path(name)
    kept = read_json(place / TASK_FILE) if (place / TASK_FILE).is_file() else {}
    directory = find_directory(name)
    task = settings.task or kept.get("task") or ("classify" if _labels(directory) else None)
    if task is None:
        raise UserError(
            "does not say what task it was trained for",
            where=name,
            mend="name it: --task classify, qa, summarize, translate or chat",
        )
    known = settings.model_dump(include=set(ColumnSettings.model_fields), exclude_unset=True)
    remembered = {n: kept[n] for n in ("prompt", "max_length") if kept.get(n) is not None}
    own = resolve(TaskSettings, _columns(kept) | remembered | known | {"task": task})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if task == "classify":
        classifier, tokenizer, outputs = load_classifier(directory)
        body = classifier.transformer
        body.activation_dtype = choose_dtype(settings.precision, body, device)
        labels = Labels(outputs.kind, outputs.names)
        return TrainedModel(str(name), task, classifier.to(device), tokenizer, own, labels)
    model, tokenizer = load(directory)
    model.activation_dtype = choose_dtype(settings.precision, model, device)
    format = Format(**kept["format"]) if isinstance(kept.get("format"), dict) else None
    if format is not None and format.task != task:
        format = None
    return TrainedModel(
        str(name), cast(Task, task), model.to(device).eval(), tokenizer, own, format=format
    )


def is_trained(name: str | Path) -> bool:
    """Whether it is a run of `finetune`, by its looks."""
    return (Path(name) / TASK_FILE).is_file()


def _labels(directory: Path) -> bool:
    values = read_json(directory / "config.json")
    names = values.get("architectures") if isinstance(values, dict) else None
    return any("SequenceClassification" in str(name) for name in names or [])


def _columns(kept: dict[str, Any]) -> dict[str, Any]:
    """The columns that the training data had, under the settings' names."""
    columns = kept.get("columns") or {}
    if "text" in columns or "label" in columns:
        named = {f"{role}_column": columns.get(role) for role in ("text", "pair", "label")}
        return {name: value for name, value in named.items() if value not in (None, "1", "2")}
    return {}


def write_predictions(path: Path, found: Sequence[Record], predictions: list[Prediction]) -> None:
    """JSON lines: each record's own fields and its prediction."""
    from nextword.files import write_atomically

    lines = [
        json.dumps(
            dict(record.values) | {n: v for n, v in predicted.items() if n != "outputs"},
            ensure_ascii=False,
            default=str,
        )
        for record, predicted in zip(found, predictions, strict=True)
    ]
    write_atomically(path, "\n".join(lines) + "\n")
