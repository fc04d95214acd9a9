"""Write answers: to questions, as summaries, as translations; and go on with any text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from torch import Tensor

from nextword.errors import UserError
from nextword.evaluation.generated_text import SUMMARY_SCORING, TRANSLATION_SCORING
from nextword.evaluation.metrics import (
    AnswerScoring,
    Direction,
    Floats,
    Ints,
    Metric,
    References,
)
from nextword.evaluation.question_answering import QA_SCORING
from nextword.hub.model_files import find_directory
from nextword.hub.reading import load
from nextword.hub.writing import save
from nextword.inference.loading import boundary_ids, require_generative
from nextword.models.encoder_decoder import GenerativeModel, build_model
from nextword.objectives import language_modeling
from nextword.settings import FinetuneSettings, TaskSettings
from nextword.tasks.base import CONVERGED, Opening, Outputs, Task, TaskFile
from nextword.tasks.dataset import Dataset, Encoded
from nextword.tasks.generate.columns import find_columns
from nextword.tasks.generate.data import PromptedExample, PromptedReader, present_prompted
from nextword.tasks.generate.encoding import (
    EncodedPrompts,
    ExampleEncoder,
    GenerationExample,
    PromptFormat,
    mark_targets,
)
from nextword.tasks.generate.writing import example_losses, write_answers
from nextword.tasks.opening import read_format
from nextword.tasks.records import Columns, Record, TextFiles
from nextword.tokens.packing import collate_examples
from nextword.tokens.tokenizer import Tokenizer

VALIDATED = 200  # answers written at a validation, spread over the examples; all at the end

E = TypeVar("E")
Prompted = Dataset[PromptedExample]
Items = Encoded[GenerationExample]


@dataclass(frozen=True)
class TextOutputs(Outputs):
    """`answers` are those written, in `language`."""

    language: str

    @property
    def answers(self) -> list[str]:
        return [prediction["answer"] for prediction in self.predictions]


@dataclass
class Generate(Task[E, GenerationExample, TextOutputs]):
    """What all tasks share whose model writes."""

    unit: ClassVar[str] = "tokens"
    writes_alone: ClassVar[bool] = False  # needs a decoder: one text is not read and then another

    model: GenerativeModel
    format: PromptFormat | None = field(default=None, kw_only=True)

    @classmethod
    def start(cls, place: str, train: Dataset[E], settings: FinetuneSettings) -> Self:
        model, tokenizer = load(place)
        require_generative(model, place, settings.task)
        if settings.from_scratch:
            model = build_model(model.config, settings.seed)
        start_id = start_id_of(model, tokenizer, find_directory(place))
        return cls(place, model, tokenizer, settings, start_id=start_id)

    @classmethod
    def open(cls, directory: Path, saved: TaskFile | None, base: Opening) -> Self:
        model, tokenizer = load(directory)
        require_generative(model, base.place)
        format: PromptFormat | None = None
        if saved is not None and saved.task == base.settings.task:
            format = read_format(PromptFormat, saved, base.place)
        if format is not None and "prompt" in base.asked and base.settings.prompt is not None:
            format = replace(format, template=base.settings.prompt)
        start_id = start_id_of(model, tokenizer, directory)
        fields = vars(base) | {"tokenizer": tokenizer, "start_id": start_id}
        return cls(model=model, format=format, **fields)

    def save(self, directory: Path, card: str) -> None:
        save(directory, self.model, self.tokenizer, card=card, start_id=self.start_id)

    def task_file(self, columns: Columns) -> TaskFile:
        return TaskFile(
            self.name,
            columns.settings,
            self.settings.prompt,
            self.max_length,
            self.settings.num_beams,
            vars(self.format) if self.format else None,
        )

    def encode(self, dataset: Dataset[E], *, training: bool = False) -> EncodedPrompts:
        """Encode a data set; training data decides on the format of prompts."""
        if self.writes_alone and self.start_id is None:
            raise UserError(
                "an encoder–decoder reads one text and writes another: it cannot learn the task "
                f"{self.name}",
                mend="choose --task qa, summarize or translate, or a decoder",
            )
        encoded = self._encode(dataset, training)
        if training and self.format is None:
            self.format = encoded.format
        return encoded

    @abstractmethod
    def _encode(self, dataset: Dataset[E], training: bool) -> EncodedPrompts:
        """Encode a data set by the task's format, or by one chosen from it."""

    def encoder(self) -> ExampleEncoder:
        return ExampleEncoder(self.tokenizer, self.start_id, self.max_length, self.settings)

    def collate(self, items: Sequence[GenerationExample], samples: list[tuple[int, int]]) -> Any:
        examples = [item.example for item in items]
        return collate_examples(examples, samples, self.row_length, self.model.config.start_id)

    def loss(self, model: Any, batch: Any) -> Tensor:
        return language_modeling.loss(model, batch)

    def shown(self, encoded: Items, dataset: Dataset[E], number: int) -> str:
        return mark_targets(encoded.items[number].example, self.tokenizer)

    def predict(self, encoded: Items, dataset: Dataset[E]) -> TextOutputs:
        assert isinstance(encoded, EncodedPrompts)
        losses, targets = self._losses(encoded, dataset)
        return self._outputs(encoded, encoded.items, losses, targets)

    def measure(self, encoded: Items, dataset: Dataset[E]) -> TextOutputs:
        return self.predict(encoded, dataset)

    def validate(self, encoded: Items, dataset: Dataset[E]) -> tuple[TextOutputs, Dataset[E]]:
        assert isinstance(encoded, EncodedPrompts)
        count = len(dataset)
        chosen = [number * count // VALIDATED for number in range(VALIDATED)]
        chosen = list(range(count)) if count <= VALIDATED else chosen
        losses, targets = self._losses(encoded, dataset)
        items = [encoded.items[number] for number in chosen]
        return self._outputs(encoded, items, losses, targets), dataset.select(chosen)

    def _losses(self, encoded: EncodedPrompts, dataset: Dataset[E]) -> tuple[Floats, Ints]:
        """Nats and tokens of each example of the data set, all its parts together."""
        if not any(item.example.scored.any() for item in encoded.items):
            return np.array([]), np.array([], np.int64)
        examples = [item.example for item in encoded.items]
        nats, tokens = example_losses(self.model, examples, self.row_length, self.batch_size)
        owners = np.array([item.index for item in encoded.items])
        counts = np.bincount(owners, tokens, len(dataset)).astype(np.int64)
        return np.bincount(owners, nats, len(dataset)).astype(np.float64), counts

    def _outputs(
        self,
        encoded: EncodedPrompts,
        items: Sequence[GenerationExample],
        losses: Floats,
        targets: Ints,
    ) -> TextOutputs:
        answers: list[str] = []
        for first in range(0, len(items), self.batch_size):
            answers += write_answers(
                self.model,
                self.tokenizer,
                [item.prompt for item in items[first : first + self.batch_size]],
                max(encoded.format.answer_tokens, 1),
                encoded.end_ids,
                num_beams=self.settings.num_beams,
            )
        predictions = [{"answer": answer} for answer in answers]
        return TextOutputs(predictions, losses, targets, encoded.format.language)

    def sample(self, encoded: Items) -> tuple[str, str]:
        """Return the first prompt and what is written after it."""
        assert isinstance(encoded, EncodedPrompts)
        prompt, room = encoded.items[0].prompt, max(encoded.format.answer_tokens, 1)
        ends = encoded.end_ids
        (answer,) = write_answers(self.model, self.tokenizer, [prompt], room, ends)
        arrow = "" if self.model.config.start_id is None else " → "
        return self.tokenizer.decode(prompt) + arrow, answer


@dataclass
class Answer(Generate[PromptedExample]):
    """What the tasks share whose answers are compared with references."""

    settings_used: ClassVar[frozenset[str]] = frozenset({"target_column", "prompt", "num_beams"})
    scoring: ClassVar[AnswerScoring]

    @property
    def directions(self) -> Mapping[str, Direction]:
        return self.scoring.directions

    @classmethod
    def reader(
        cls, records: Sequence[Record], settings: TaskSettings, *, labelled: bool
    ) -> PromptedReader:
        columns = find_columns(records, settings, labelled=labelled)
        return PromptedReader(columns, settings.task, settings.prompt)

    @classmethod
    def present(cls, dataset: Prompted, index: int) -> str:
        return present_prompted(dataset, index)

    def _encode(self, dataset: Prompted, training: bool) -> EncodedPrompts:
        return self.encoder().encode(dataset, self.format, training=training)

    def metrics(self, outputs: TextOutputs, dataset: Prompted) -> dict[str, Metric]:
        return self.scoring.metrics(outputs.answers, _references(dataset), outputs.language)

    def truth(self, dataset: Prompted) -> list[Any]:
        return [example.references or example.record.place for example in dataset.examples]

    def converged(self, outputs: TextOutputs, dataset: Prompted) -> float | None:
        right = all(
            answer in example.references or (not answer and not example.references)
            for answer, example in zip(outputs.answers, dataset.examples, strict=True)
        )
        return CONVERGED if right else None

    def held_out_rows(
        self, outputs: TextOutputs, encoded: Items, dataset: Prompted
    ) -> list[dict[str, Any]]:
        scores = self.scoring.each(outputs.answers, _references(dataset), outputs.language)
        return [
            {
                "place": item.example.source,
                "text": self.tokenizer.decode(item.prompt),
                "references": list(example.references),
                "prediction": answer,
                "loss": loss,
                "score": score,
            }
            for item, example, answer, loss, score in zip(
                encoded.items,
                dataset.examples,
                outputs.answers,
                outputs.mean_losses,
                scores,
                strict=True,
            )
        ]


@dataclass
class AnswerQuestions(Answer):
    name: ClassVar[str] = "qa"
    settings_used: ClassVar[frozenset[str]] = Answer.settings_used | {"question_column", "extract"}
    scoring: ClassVar[AnswerScoring] = QA_SCORING


@dataclass
class Summarize(Answer):
    name: ClassVar[str] = "summarize"
    scoring: ClassVar[AnswerScoring] = SUMMARY_SCORING


@dataclass
class Translate(Answer):
    name: ClassVar[str] = "translate"
    text_files: ClassVar[TextFiles | None] = "pairs"
    scoring: ClassVar[AnswerScoring] = TRANSLATION_SCORING


def _references(dataset: Prompted) -> References:
    return [example.references for example in dataset.examples]


def start_id_of(model: GenerativeModel, tokenizer: Tokenizer, directory: Path) -> int | None:
    """Return what a text begins with; None for an encoder–decoder, which has a start of its own."""
    return None if model.config.start_id is not None else boundary_ids(directory, tokenizer)[0]
