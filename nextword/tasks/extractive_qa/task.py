"""Answer questions by pointing at a span of their text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from nextword.errors import UserError
from nextword.evaluation.metrics import Direction, Floats, Metric
from nextword.evaluation.question_answering import QA_SCORING
from nextword.hub.heads import SPAN_ENDS, SPANS, Head, Outputs
from nextword.inference.loading import eval_mode
from nextword.models.heads import QuestionAnsweringModel
from nextword.objectives import heads as objective
from nextword.objectives.heads import TokenBatch
from nextword.settings import FinetuneSettings, TaskSettings
from nextword.tasks import base
from nextword.tasks.base import CONVERGED, Opening, Prediction, TaskFile
from nextword.tasks.dataset import Dataset, Encoded
from nextword.tasks.extractive_qa.answers import Span, best_answers
from nextword.tasks.extractive_qa.data import (
    EncodedQuestions,
    Question,
    Reader,
    SpanFormat,
    Window,
    span_format,
)
from nextword.tasks.generate.columns import find_columns
from nextword.tasks.generate.data import PromptedExample, PromptedReader, present_prompted
from nextword.tasks.headed import HeadTask
from nextword.tasks.opening import read_format
from nextword.tasks.records import Columns, Record
from nextword.tokens.packing import pack

SHOWN = 3  # other answers that a prediction names


@dataclass(frozen=True)
class SpanOutputs(base.Outputs):
    """`questions` are those that were answered, `language` is the one of their answers."""

    questions: list[Question]
    language: str

    @property
    def answers(self) -> list[str]:
        return [prediction["answer"] for prediction in self.predictions]


Questions = Dataset[PromptedExample]
Windows = Encoded[Window]


@dataclass
class ExtractiveQA(HeadTask[PromptedExample, Window, SpanOutputs]):
    name: ClassVar[str] = "qa"
    head: ClassVar[Head[QuestionAnsweringModel]] = SPANS
    settings_used: ClassVar[frozenset[str]] = frozenset(
        {"question_column", "target_column", "extract"}
    )
    DIRECTIONS: ClassVar[Mapping[str, Direction]] = QA_SCORING.directions

    model: QuestionAnsweringModel
    format: SpanFormat | None = field(default=None, kw_only=True)

    @classmethod
    def reader(
        cls,
        records: Sequence[Record],
        settings: TaskSettings,
        *,
        labelled: bool,
        outputs: Outputs | None = None,
    ) -> PromptedReader:
        return PromptedReader(find_columns(records, settings, labelled=labelled), settings.task)

    @classmethod
    def outputs_of(cls, train: Questions, settings: FinetuneSettings) -> Outputs:
        return SPAN_ENDS

    @classmethod
    def open(cls, directory: Path, saved: TaskFile | None, base: Opening) -> Self:
        opened = super().open(directory, saved, base)
        if saved is not None:
            opened.format = read_format(SpanFormat, saved, base.place)
        return opened

    def task_file(self, columns: Columns) -> TaskFile:
        format = vars(self.format) if self.format else None
        return TaskFile(self.name, columns.settings, max_length=self.max_length, format=format)

    def encode(self, dataset: Questions, *, training: bool = False) -> EncodedQuestions:
        """Encode questions with their texts; training data decides on the format of answers."""
        assert self.start_id is not None
        causal = self.body.config.causal
        reader = Reader(self.tokenizer, self.max_length, causal, self.start_id)
        encoded = reader.encode(dataset, training=training)
        if training and self.format is None:
            self.format = span_format(encoded.questions)
        return encoded

    def collate(self, items: Sequence[Window], samples: list[tuple[int, int]]) -> TokenBatch:
        """What is read of each window: where it says that there is no answer, then its text."""
        packed = pack([window.example for window in items], self.row_length)
        time = packed.tokens.shape[1]
        most = 1 + max(window.end - window.begin for window in items)
        read = np.full((len(items), most), -1)
        for number, ((row, start), window) in enumerate(zip(packed.places, items, strict=True)):
            at = row * time + start
            read[number, 0] = at + window.nowhere
            read[number, 1 : 1 + window.end - window.begin] = at + np.arange(
                window.begin, window.end
            )
        return TokenBatch(
            packed.tokens,
            packed.documents,
            packed.positions,
            packed.types,
            torch.from_numpy(read),
            torch.tensor([window.target for window in items]),
            samples,
        )

    def loss(self, model: Any, batch: TokenBatch) -> Tensor:
        return objective.token_head_loss(model, batch)

    @classmethod
    def present(cls, dataset: Questions, index: int) -> str:
        return present_prompted(dataset, index)

    def shown(self, encoded: Windows, dataset: Questions, number: int) -> str:
        assert isinstance(encoded, EncodedQuestions)
        window = encoded.items[number]
        text = self.tokenizer.decode(window.example.ids.tolist())
        return f"{text}  ⟦{_target(encoded.questions[window.question]) or '(no answer)'}⟧"

    def predict(self, encoded: Windows, dataset: Questions) -> SpanOutputs:
        assert isinstance(encoded, EncodedQuestions)
        questions = encoded.questions
        scores = self.scores(encoded)
        if not all(np.isfinite(rows).all() for rows in scores):
            raise UserError(
                "the model's scores are not finite numbers", mend="try --precision fp32"
            )
        format = self.format or span_format(questions)
        predictions = [_prediction(spans) for spans in best_answers(encoded, scores, format)]
        losses = np.array([])
        if dataset.columns.targets:
            losses = _losses(encoded, scores)
        weights = np.ones(len(losses))
        return SpanOutputs(predictions, losses, weights, questions, format.language)

    @torch.no_grad()
    def scores(self, encoded: EncodedQuestions) -> list[Floats]:
        """Return the scores of begin and end of each window, those of no answer first, [1 + tokens
        of its text, 2] a window."""
        device, items = self.model.span.weight.device, encoded.items
        scores: list[Floats] = []
        with eval_mode(self.model):
            for first in range(0, len(items), self.batch_size):
                some = items[first : first + self.batch_size]
                batch = self.collate(some, []).to(device)
                given = objective.token_scores(self.model, batch).double().cpu().numpy()
                scores += [
                    rows[: 1 + window.end - window.begin]
                    for rows, window in zip(given, some, strict=True)
                ]
        return scores

    def metrics(self, outputs: SpanOutputs, dataset: Questions) -> dict[str, Metric]:
        references = [example.references for example in dataset.examples]
        return QA_SCORING.metrics(outputs.answers, references, outputs.language)

    def converged(self, outputs: SpanOutputs, dataset: Questions) -> float | None:
        right = all(
            answer in (*(question.references or [""]), _target(question))
            for answer, question in zip(outputs.answers, outputs.questions, strict=True)
        )
        return CONVERGED if right else None

    def truth(self, dataset: Questions) -> list[Any]:
        return [example.references or example.record.place for example in dataset.examples]

    def held_out_rows(
        self, outputs: SpanOutputs, encoded: Windows, dataset: Questions
    ) -> list[dict[str, Any]]:
        references = [list(example.references) for example in dataset.examples]
        scores = QA_SCORING.each(outputs.answers, references, outputs.language)
        return [
            {
                "place": dataset.places[number],
                "text": dataset.inputs[number],
                "references": references[number],
                "prediction": outputs.answers[number],
                "loss": float(outputs.losses[number]),
                "score": scores[number],
            }
            for number in range(len(dataset))
        ]


def _target(question: Question) -> str:
    """The answer as far as its tokens go, "" for none."""
    if question.span is None:
        return ""
    begin, end = question.cut(*question.span)
    return question.text[begin:end]


def _prediction(spans: Sequence[Span]) -> Prediction:
    """The best answer with the characters of the text that it is, and the next best ones."""
    best = spans[0]
    others = [{"answer": s.answer, "probability": s.probability} for s in spans[1 : 1 + SHOWN]]
    return {
        "answer": best.answer,
        "start": best.begin,
        "end": best.end,
        "probability": best.probability,
        "others": others,
    }


def _losses(encoded: EncodedQuestions, scores: Sequence[Floats]) -> Floats:
    """Nats of each question: the mean of begin and end over its windows, [questions]."""
    count = len(encoded.questions)
    sums, counts = np.zeros(count), np.zeros(count)
    for window, rows in zip(encoded.items, scores, strict=True):
        one = torch.from_numpy(rows)[None]
        sums[window.question] += float(
            objective.token_head_losses(one, torch.tensor([window.target]))
        )
        counts[window.question] += 1
    return sums / np.maximum(counts, 1)
