"""Tag each word of a text, as named entities are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.evaluation.classification import Bin, ClassReport
from nextword.evaluation.entities import (
    entities_of,
    entity_metrics,
    entity_reports,
    word_metrics,
    word_reports,
)
from nextword.evaluation.metrics import Direction, Floats, Metric
from nextword.hub.heads import TAGS, Head, Outputs
from nextword.inference.loading import eval_mode
from nextword.models.heads import TokenClassificationModel
from nextword.objectives import heads as objective
from nextword.objectives.heads import TokenBatch
from nextword.settings import FinetuneSettings, TaskSettings
from nextword.tasks import base
from nextword.tasks.base import CONVERGED, Prediction
from nextword.tasks.dataset import Dataset, Encoded
from nextword.tasks.headed import HeadTask
from nextword.tasks.records import Record, TextFiles
from nextword.tasks.tag.columns import find_columns
from nextword.tasks.tag.data import (
    TaggedText,
    best_window,
    describe_tags,
    pieces_of,
    spans_of,
    tag_numbers,
    tagged_words,
    tags_for,
    windows,
)
from nextword.tasks.tag.reader import TaggedTextReader, tag_reader
from nextword.tasks.tag.schemes import are_plain
from nextword.tokens.packing import Example, pack

DIRECTIONS: dict[bool, dict[str, Direction]] = {  # by whether tags are plain ones of words
    False: {
        **{"F1": "higher", "loss": "lower", "precision": "higher", "recall": "higher"},
        **{"strict F1": "higher", "accuracy": "higher"},
    },
    True: {"accuracy": "higher", "loss": "lower", "macro F1": "higher"},
}


@dataclass(frozen=True)
class TagWindow:
    """Words of text number `text` that are tagged together: `words` are their numbers in it,
    `read` the places in the example at which each is read, `targets` their tags' numbers, 0 where
    they are not known."""

    example: Example
    text: int
    words: NDArray[np.int64]
    read: NDArray[np.int64]
    targets: NDArray[np.int64]


@dataclass(frozen=True)
class TagOutputs(base.Outputs):
    """`tags` [texts] are those predicted for the words of each text, `word_losses` [texts] nats a
    word."""

    tags: list[list[str]]
    word_losses: list[float]


Texts = Dataset[TaggedText]
Windows = Encoded[TagWindow]


@dataclass
class Tag(HeadTask[TaggedText, TagWindow, TagOutputs]):
    name: ClassVar[str] = "tag"
    head: ClassVar[Head[TokenClassificationModel]] = TAGS
    unit: ClassVar[str] = "words"
    settings_used: ClassVar[frozenset[str]] = frozenset({"label_column"})
    text_files: ClassVar[TextFiles | None] = "conll"

    model: TokenClassificationModel

    @classmethod
    def reader(
        cls,
        records: Sequence[Record],
        settings: TaskSettings,
        *,
        labelled: bool,
        outputs: Outputs | None = None,
    ) -> TaggedTextReader:
        columns = find_columns(records, settings, labelled=labelled)
        return tag_reader(records, columns, outputs.names if outputs else ())

    @classmethod
    def label_names(cls, dataset: Texts, settings: TaskSettings) -> list[list[str]]:
        return [text.kinds for text in dataset.examples]

    @classmethod
    def outputs_of(cls, train: Texts, settings: FinetuneSettings) -> Outputs:
        return Outputs("single", tags_for(train.examples))

    @property
    def tags(self) -> tuple[str, ...]:
        return self.outputs.names

    @property
    def is_plain(self) -> bool:
        """Whether its tags are those of single words, and name no entities."""
        return are_plain(self.tags)

    @property
    def directions(self) -> Mapping[str, Direction]:
        return DIRECTIONS[self.is_plain]

    def encode(self, dataset: Texts, *, training: bool = False) -> Windows:
        """Encode texts as a tagger reads them, each word once.

        Words are encoded one by one, so that no token is part of two. A decoder knows a word at its
        last token, before which it has read all of it; an encoder at the first. Texts of more than
        `max_length` tokens are read in windows that overlap.
        """
        assert self.start_id is not None
        texts, causal, frame = dataset.examples, self.body.config.causal, self.tokenizer.frame()
        before, after = ([self.start_id], []) if causal else (frame.before, frame.after)
        room = max(self.max_length - len(before) - len(after), 1)
        ids, lengths = self.tokenizer.encode_batch(pieces_of(texts, self.tokenizer))
        pieces = iter(np.split(ids.astype(np.int64), np.cumsum(lengths)[:-1]))
        items = []
        for number, text in enumerate(texts):
            words = [next(pieces)[: max(room // 2, 1)] for _ in text.words]
            words = [word if len(word) else np.array([self.tokenizer.end_id]) for word in words]
            sizes = np.array([len(word) for word in words], np.int64)
            targets = np.zeros(len(words), np.int64)
            if dataset.columns.targets:
                targets[:] = tag_numbers(text, self.tags)
            spans = windows(sizes.tolist(), room)
            best = best_window(spans, len(words), causal)
            for which, (first, end) in enumerate(spans):
                chosen = np.flatnonzero(best == which)
                if not len(chosen):
                    continue
                whole = np.concatenate([before, *words[first:end], after]).astype(np.int64)
                ends = len(before) + np.cumsum(sizes[first:end])
                read = ends - 1 if causal else ends - sizes[first:end]
                example = Example(whole, np.zeros(len(whole), np.bool_), text.place)
                items.append(
                    TagWindow(example, number, chosen, read[chosen - first], targets[chosen])
                )
        return Encoded(
            items,
            [len(item.example.ids) for item in items],
            [item.example.source for item in items],
            sum(len(text.words) for text in texts),
            describe_tags(texts, len(items)) if training else [],
        )

    def collate(self, items: Sequence[TagWindow], samples: list[tuple[int, int]]) -> TokenBatch:
        packed = pack([item.example for item in items], self.row_length)
        time = packed.tokens.shape[1]
        read = [
            row * time + begin + item.read
            for (row, begin), item in zip(packed.places, items, strict=True)
        ]
        return TokenBatch(
            packed.tokens,
            packed.documents,
            packed.positions,
            packed.types,
            torch.from_numpy(np.concatenate(read)),
            torch.from_numpy(np.concatenate([item.targets for item in items])),
            samples,
        )

    def loss(self, model: Any, batch: TokenBatch) -> Tensor:
        return objective.token_head_loss(model, batch)

    def shown(self, encoded: Windows, dataset: Texts, number: int) -> str:
        return self.present(dataset, encoded.items[number].text)

    @classmethod
    def present(cls, dataset: Texts, index: int) -> str:
        text = dataset.examples[index]
        marked, end = "", 0
        for entity in (tagged_words if text.plain else spans_of)(text, text.tags):
            marked += f"{text.text[end : entity['start']]}⟦{entity['text']}|{entity['label']}⟧"
            end = entity["end"]
        return marked + text.text[end:]

    def predict(self, encoded: Windows, dataset: Texts) -> TagOutputs:
        texts, probabilities = dataset.examples, self.probabilities(encoded, dataset)
        predictions = [
            self._prediction(text, rows) for text, rows in zip(texts, probabilities, strict=True)
        ]
        tags = [prediction["tags"] for prediction in predictions]
        words = np.array([len(text.words) for text in texts], np.int64)
        if not dataset.columns.targets:
            return TagOutputs(predictions, np.array([]), words, tags, [])
        losses = []
        for text, rows in zip(texts, probabilities, strict=True):
            chosen = rows[np.arange(len(rows)), tag_numbers(text, self.tags)]
            losses.append(float(-np.log(np.maximum(chosen, 1e-300)).mean()))
        return TagOutputs(predictions, np.array(losses) * words, words, tags, losses)

    @torch.no_grad()
    def probabilities(self, encoded: Windows, dataset: Texts) -> list[Floats]:
        """Return the probabilities of the tags of each text's words, [words, tags] a text."""
        weight, items = self.model.tag.weight, encoded.items
        found = [np.zeros((len(text.words), len(weight))) for text in dataset.examples]
        with eval_mode(self.model):
            for first in range(0, len(items), self.batch_size):
                some = items[first : first + self.batch_size]
                batch = self.collate(some, []).to(weight.device)
                rows = objective.token_scores(self.model, batch).double().softmax(1).cpu().numpy()
                cuts = np.cumsum([len(item.words) for item in some])[:-1]
                for item, part in zip(some, np.split(rows, cuts), strict=True):
                    found[item.text][item.words] = part
        return found

    def _marked(self, text: TaggedText, tags: Sequence[str]) -> list[dict[str, Any]]:
        """Return what tags say of a text: its entities, or each word with its tag."""
        return (tagged_words if self.is_plain else spans_of)(text, tags)

    def _prediction(self, text: TaggedText, rows: Floats) -> Prediction:
        """The text, its words and their tags, and the entities by characters, or each word with its
        tag; the probability of an entity is that of all its words' tags together."""
        tags = [self.tags[number] for number in rows.argmax(1)]
        best = rows.max(1)
        if self.is_plain:
            likely = best.tolist()
        else:
            likely = [float(np.prod(best[first:end])) for _, first, end in entities_of(tags)]
        marked = [
            one | {"probability": probability}
            for one, probability in zip(self._marked(text, tags), likely, strict=True)
        ]
        words = [text.text[begin:end] for begin, end in text.words]
        name = "tagged" if self.is_plain else "entities"
        return {"text": text.text, "words": words, "tags": tags, name: marked}

    def metrics(self, outputs: TagOutputs, dataset: Texts) -> dict[str, Metric]:
        measure = word_metrics if self.is_plain else entity_metrics
        return measure([text.tags for text in dataset.examples], outputs.tags)

    def converged(self, outputs: TagOutputs, dataset: Texts) -> float | None:
        right = outputs.tags == [text.tags for text in dataset.examples]
        return CONVERGED if right else None

    def truth(self, dataset: Texts) -> list[Any]:
        return [text.tags for text in dataset.examples]

    def reports(self, outputs: TagOutputs, dataset: Texts) -> tuple[list[ClassReport], list[Bin]]:
        report = word_reports if self.is_plain else entity_reports
        return report([text.tags for text in dataset.examples], outputs.tags), []

    def held_out_rows(
        self, outputs: TagOutputs, encoded: Windows, dataset: Texts
    ) -> list[dict[str, Any]]:
        return [
            {
                "place": text.place,
                "text": text.text,
                "label": _sentence(self._marked(text, text.tags)),
                "prediction": _sentence(self._marked(text, tags)),
                "loss": loss,
            }
            for text, tags, loss in zip(
                dataset.examples, outputs.tags, outputs.word_losses, strict=True
            )
        ]


def _sentence(marked: Sequence[dict[str, Any]]) -> list[str]:
    """Entities or words for people: "Ada Thorne (person)"."""
    return [f"{one['text']} ({one['label']})" for one in marked]
