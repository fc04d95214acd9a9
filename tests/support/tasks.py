"""Small models that have learned nothing, as the tasks that they would have learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nextword.hub.heads import Outputs
from nextword.models.heads import SequenceClassificationModel
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings, TaskSettings
from nextword.tasks.classify.task import Classify
from nextword.tasks.dataset import Dataset
from nextword.tasks.generate.encoding import EncodedPrompts, GenerationExample
from nextword.tasks.generate.task import Generate, TextOutputs
from nextword.tasks.generate.writing import example_losses
from nextword.tasks.opening import task_class
from nextword.tokens.tokenizer_training import byte_tokenizer

Write = Callable[[Sequence[GenerationExample]], Sequence[str]]


def transformer(seed: int = 1, vocab_size: int | None = None) -> Transformer:
    size = ModelSettings(family="gpt2", layers=2, width=32, heads=4, context_length=256)
    return Transformer(config_for(size, vocab_size or byte_tokenizer().vocab_size), seed=seed)


def classifier(labels: Outputs, place: str = "A", kind: type[Classify] = Classify, **columns: Any):
    """A classifier, of `kind`, of texts in these columns."""
    model = SequenceClassificationModel(transformer(), len(labels.names), seed=2)
    settings = TaskSettings(task="classify", **columns)
    return kind(place, model, byte_tokenizer(), settings, outputs=labels)


class Scripted:
    """A task's model that writes what it is told to; its losses are its own."""

    write: Write

    def predict(self, encoded: EncodedPrompts, dataset: Dataset[Any]) -> TextOutputs:
        examples = [item.example for item in encoded.items]
        losses, targets = example_losses(self.model, examples, self.row_length)
        predictions = [{"answer": answer} for answer in self.write(encoded.items)]
        return TextOutputs(predictions, losses, targets, encoded.format.language)


def writer(
    task: str, write: Write, place: str = "A", seed: int = 1, **columns: Any
) -> Generate[Any]:
    """A model for a task; `write` says what it answers to the examples it is given."""
    kind = type("Scripted", (Scripted, task_class(task)), {})
    tokenizer = byte_tokenizer()
    settings = TaskSettings(task=task, **columns)
    model = kind(place, transformer(seed), tokenizer, settings, start_id=tokenizer.end_id)
    model.write = write
    return model
