"""Answer in conversations, and go on with any text: tasks whose answers can only be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nextword.errors import UserError
from nextword.evaluation.metrics import Direction, Metric, perplexity, ratio
from nextword.hub.writing import save
from nextword.settings import TaskSettings
from nextword.tasks.base import CONVERGED
from nextword.tasks.dataset import Dataset, E, Encoded
from nextword.tasks.generate.chat_template import with_template
from nextword.tasks.generate.conversation_encoding import ConversationEncoder
from nextword.tasks.generate.conversations import ConversationReader
from nextword.tasks.generate.encoding import EncodedPrompts, GenerationExample, PromptFormat
from nextword.tasks.generate.messages import Talk
from nextword.tasks.generate.prompts import main_language
from nextword.tasks.generate.task import Generate, TextOutputs
from nextword.tasks.generate.texts import TextReader
from nextword.tasks.records import Record, TextFiles
from nextword.tokens.packing import Example

Items = Encoded[GenerationExample]


@dataclass
class Unscored(Generate[E]):
    """What the tasks share whose answers can only be read: they are measured by their loss."""

    writes_alone: ClassVar[bool] = True
    DIRECTIONS: ClassVar[Mapping[str, Direction]] = {"loss": "lower", "perplexity": "lower"}

    def measure(self, encoded: Items, dataset: Dataset[E]) -> TextOutputs:
        assert isinstance(encoded, EncodedPrompts)
        losses, targets = self._losses(encoded, dataset)
        return TextOutputs([], losses, targets, encoded.format.language)

    def validate(self, encoded: Items, dataset: Dataset[E]) -> tuple[TextOutputs, Dataset[E]]:
        return self.measure(encoded, dataset), dataset

    def metrics(self, outputs: TextOutputs, dataset: Dataset[E]) -> dict[str, Metric]:
        return {"perplexity": ratio(outputs.losses, outputs.targets, perplexity)}

    def truth(self, dataset: Dataset[E]) -> list[Any]:
        return dataset.inputs

    def converged(self, outputs: TextOutputs, dataset: Dataset[E]) -> float | None:
        return CONVERGED if outputs.loss.value < CONVERGED else None

    def held_out_rows(
        self, outputs: TextOutputs, encoded: Items, dataset: Dataset[E]
    ) -> list[dict[str, Any]]:
        return []


@dataclass
class Chat(Unscored[Talk]):
    name: ClassVar[str] = "chat"
    settings_used: ClassVar[frozenset[str]] = frozenset({"target_column"})

    @classmethod
    def reader(
        cls, records: Sequence[Record], settings: TaskSettings, *, labelled: bool
    ) -> ConversationReader:
        return ConversationReader(records, settings, labelled=labelled)

    @classmethod
    def present(cls, dataset: Dataset[Talk], index: int) -> str:
        return "  ".join(
            f"{message.role}: ⟦{message.content}⟧"
            if message.role == "assistant" and message.learned
            else f"{message.role}: {message.content}"
            for message in dataset.examples[index]
        )

    def _encode(self, dataset: Dataset[Talk], training: bool) -> EncodedPrompts:
        encoder = ConversationEncoder(self.tokenizer, self.start_id, self.max_length, self.settings)
        return encoder.encode_talks(dataset, self.format, training=training)

    def save(self, directory: Path, card: str) -> None:
        assert self.format is not None
        tokenizer = with_template(self.tokenizer, self.format.template)
        save(directory, self.model, tokenizer, card=card, start_id=self.start_id)

    def held_out_rows(
        self, outputs: TextOutputs, encoded: Items, dataset: Dataset[Talk]
    ) -> list[dict[str, Any]]:
        return [
            {
                "place": item.example.source,
                "text": self.tokenizer.decode(item.prompt),
                "references": [talk[-1].content],
                "prediction": answer,
                "loss": loss,
                "score": {},
            }
            for item, talk, answer, loss in zip(
                encoded.items, dataset.examples, outputs.answers, outputs.mean_losses, strict=True
            )
        ]


@dataclass
class Continue(Unscored[str]):
    name: ClassVar[str] = "text"
    text_files: ClassVar[TextFiles | None] = "passages"

    @classmethod
    def reader(
        cls, records: Sequence[Record], settings: TaskSettings, *, labelled: bool
    ) -> TextReader:
        return TextReader(records, settings)

    @classmethod
    def present(cls, dataset: Dataset[str], index: int) -> str:
        return f"⟦{dataset.examples[index]}⟧"

    def _encode(self, dataset: Dataset[str], training: bool) -> EncodedPrompts:
        """Encode texts; a long one in parts, each token of it learned once."""
        assert self.start_id is not None
        encoder, limit = self.encoder(), self.max_length
        format = self.format or PromptFormat(
            "text", "", limit // 2, main_language(dataset.examples)
        )
        items = []
        for index, (text, place) in enumerate(zip(dataset.examples, dataset.places, strict=True)):
            ids = np.array(
                [self.start_id, *self.tokenizer.encode(text), self.tokenizer.end_id], np.int64
            )
            for first in range(0, len(ids) - 1, limit - 1):
                part = ids[first : first + limit]
                scored = np.arange(len(part)) > 0  # the first one was the last of the part before
                example = Example(part, scored, place)
                items.append(GenerationExample(example, part[:1].tolist(), index))
        return encoder.finish(items, format, frozenset({self.tokenizer.end_id}), Counter(), 0)

    def predict(self, encoded: Items, dataset: Dataset[str]) -> TextOutputs:
        raise UserError(
            "was trained to go on with any text, and has no answers to predict",
            where=self.place,
            mend="use `nextword generate`",
        )
