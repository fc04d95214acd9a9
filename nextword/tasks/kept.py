"""RUN/held_out.jsonl: each held-out example beside what the best model says of it, for the report.

A line is an object with "place", "text", "label" (for answers: "references"), "prediction",
"loss", of classes "probabilities" by name, of answers their "score", and "twin": the same example,
or nearly, in the training data; null where it has none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nextword.evaluation.contamination import find_duplicates
from nextword.files import write_atomically
from nextword.models.heads import SpanFinder
from nextword.runs.record import HELD_OUT
from nextword.tasks.classify.data import find_columns, labelled_texts
from nextword.tasks.generate.losses import example_losses
from nextword.tasks.generate.predictions import score_each
from nextword.tasks.learnable import row_room
from nextword.tasks.records import Record
from nextword.tasks.split import inputs_of
from nextword.tasks.tag.task import sentence
from nextword.tasks.trained import Prediction, TrainedModel

MOST_WRITTEN = 50  # answers of conversations, which are not measured but read


def keep_held_out(
    run: Path,
    opened: TrainedModel,
    learnt: Sequence[Record],
    found: Sequence[Record],
    predictions: Sequence[Prediction],
) -> None:
    """Write the file; nothing for continued pretraining, which has no answers. `learnt` are the
    examples that the model was trained on."""
    if opened.task == "text":
        return
    if opened.task == "chat":
        found = found[:MOST_WRITTEN]
        predictions = opened.predict(found)
    rows = _labelled if opened.outputs else _tagged if opened.tags else _written
    rows = _pointed_at if isinstance(opened.model, SpanFinder) else rows
    same = find_duplicates(learnt, found, opened.settings, opened.reading(found))
    lines = [
        json.dumps(row | {"twin": twin and twin.to_json()}, ensure_ascii=False)
        for row, twin in zip(rows(opened, found, predictions), same, strict=True)
    ]
    write_atomically(run / HELD_OUT, "\n".join(lines) + "\n")


def _labelled(
    opened: TrainedModel, found: Sequence[Record], predictions: Sequence[Prediction]
) -> Iterator[dict[str, Any]]:
    outputs = opened.outputs
    assert outputs is not None
    texts = labelled_texts(found, find_columns(found, opened.reading(found), labelled=True))
    for text, predicted in zip(texts, predictions, strict=True):
        target, given = outputs.encode(text.label, text.place), np.array(predicted["outputs"])
        row: dict[str, Any] = {"place": text.place, "text": text.joined}
        if isinstance(target, int):
            row |= {"label": outputs.names[target], "prediction": predicted["label"]}
            loss = -np.log(max(given[target], 1e-300))
        elif outputs.kind == "amount":
            row |= {"label": float(target[0]), "prediction": predicted["amount"]}
            loss = np.square(target[0] - given[0])
        else:
            held = [name for name, holds in zip(outputs.names, target, strict=True) if holds]
            row |= {"label": held, "prediction": predicted["labels"]}
            right = np.where(target > 0.5, given, 1 - given)
            loss = -np.log(np.maximum(right, 1e-300)).mean()
        row["loss"] = float(loss)
        if "probabilities" in predicted:
            row["probabilities"] = predicted["probabilities"]
        yield row


def _tagged(
    opened: TrainedModel, found: Sequence[Record], predictions: Sequence[Prediction]
) -> Iterator[dict[str, Any]]:
    for text, predicted in zip(opened.texts(found, labelled=True), predictions, strict=True):
        yield {
            "place": text.place,
            "text": text.text,
            "label": sentence(text.entities),
            "prediction": sentence(predicted["entities"]),
            "loss": predicted["loss"],
        }


def _pointed_at(
    opened: TrainedModel, found: Sequence[Record], predictions: Sequence[Prediction]
) -> Iterator[dict[str, Any]]:
    made = opened.questions(found, answered=True)
    asked = inputs_of(found, opened.reading(found), whole=True)
    answers, language = [predicted["answer"] for predicted in predictions], made.format.language
    scores = score_each("qa", answers, made.questions, language)
    for question, text, predicted, score in zip(
        made.questions, asked, predictions, scores, strict=True
    ):
        yield {
            "place": question.place,
            "text": text,
            "references": list(question.references),
            "prediction": predicted["answer"],
            "loss": predicted["loss"],
            "score": score,
        }


def _written(
    opened: TrainedModel, found: Sequence[Record], predictions: Sequence[Prediction]
) -> Iterator[dict[str, Any]]:
    model = opened.writer
    read = opened.read(found, answered=True)
    made = read.examples
    with torch.no_grad():
        losses = example_losses(model, [e.example for e in made], row_room(model))
    nats = losses.nats / np.maximum(losses.tokens, 1)
    answers = [predicted["answer"] for predicted in predictions]
    scores = score_each(opened.task, answers, made, read.format.language)
    for example, answer, loss, score in zip(made, answers, nats.tolist(), scores, strict=True):
        yield {
            "place": example.place,
            "text": opened.tokenizer.decode(example.prompt),
            "references": list(example.references),
            "prediction": answer,
            "loss": loss,
            "score": score,
        }
