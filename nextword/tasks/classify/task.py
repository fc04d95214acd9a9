"""Give texts labels: one of several classes, several at once, or an amount."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.evaluation.classification import (
    Bin,
    ClassReport,
    class_reports,
    multi_label_metrics,
    regression_metrics,
    reliability,
    single_label_metrics,
)
from nextword.evaluation.metrics import Direction, Floats, Metric
from nextword.hub.heads import CLASSIFIER, Head, Outputs
from nextword.inference.loading import eval_mode
from nextword.models.heads import SequenceClassificationModel, strip_padding
from nextword.objectives import heads as objective
from nextword.objectives.heads import SequenceBatch
from nextword.settings import FinetuneSettings, TaskSettings
from nextword.tasks import base
from nextword.tasks.base import CONVERGED
from nextword.tasks.classify.data import (
    LabelledText,
    LabelledTextReader,
    balanced_weights,
    describe_targets,
    encode_label,
    find_columns,
    label_reader,
    labels_of,
)
from nextword.tasks.dataset import Dataset, Encoded
from nextword.tasks.headed import HeadTask
from nextword.tasks.records import Record
from nextword.tokens.packing import Example, pack

CONVERGED_AMOUNT = 1e-3  # of the amounts' variance
DIRECTIONS: dict[str, dict[str, Direction]] = {
    "single": {
        **{"accuracy": "higher", "loss": "lower", "macro F1": "higher", "weighted F1": "higher"},
        "calibration error": "lower",
    },
    "several": {
        **{"micro F1": "higher", "loss": "lower", "all labels right": "higher"},
        "macro F1": "higher",
    },
    "amount": {
        **{"Spearman": "higher", "loss": "lower", "Pearson": "higher"},
        **{"root mean squared error": "lower", "mean absolute error": "lower"},
    },
}


@dataclass(frozen=True)
class LabelledExample:
    """`target` is a class number, or a vector [outputs]; None where the label is not known."""

    example: Example
    target: int | NDArray[np.float32] | None


@dataclass(frozen=True)
class LabelOutputs(base.Outputs):
    """`scores` [examples, outputs]: probabilities of classes or of each label, or amounts."""

    scores: Floats


Texts = Dataset[LabelledText]
Items = Encoded[LabelledExample]


@dataclass
class Classify(HeadTask[LabelledText, LabelledExample, LabelOutputs]):
    name: ClassVar[str] = "classify"
    head: ClassVar[Head[SequenceClassificationModel]] = CLASSIFIER
    settings_used: ClassVar[frozenset[str]] = frozenset(
        {"pair_column", "label_column", "labels", "class_weights"}
    )

    model: SequenceClassificationModel
    class_weights: Tensor | None = field(default=None, kw_only=True)

    @classmethod
    def reader(
        cls,
        records: Sequence[Record],
        settings: TaskSettings,
        *,
        labelled: bool,
        outputs: Outputs | None = None,
    ) -> LabelledTextReader:
        columns = find_columns(records, settings, labelled=labelled)
        if outputs is None:
            return label_reader(records, columns, settings.labels)
        return label_reader(records, columns, outputs.kind, outputs.names)

    @classmethod
    def label_names(cls, dataset: Texts, settings: TaskSettings) -> list[list[str]]:
        labels_of(dataset.examples)  # refuses what are no classes, before any is held out
        return [text.names for text in dataset.examples]

    @classmethod
    def outputs_of(cls, train: Texts, settings: FinetuneSettings) -> Outputs:
        return labels_of(train.examples)

    @classmethod
    def start(cls, place: str, train: Texts, settings: FinetuneSettings) -> Self:
        task = super().start(place, train, settings)
        if settings.class_weights == "balanced":
            weights = balanced_weights(task._targets(train), task.outputs)
            task.class_weights = torch.from_numpy(weights)
        return task

    def encode(self, dataset: Texts, *, training: bool = False) -> Items:
        """Encode texts as transformers' tokenizer does, cut at `max_length`.

        An encoder reads a pair as its template says; a decoder reads it as one text.
        """
        texts, limit, joined = dataset.examples, self.max_length, self.body.config.causal
        targets = self._targets(dataset) if dataset.columns.targets else [None] * len(texts)
        items, cut = [], 0
        for text, target in zip(texts, targets, strict=True):
            parts = (text.joined, None) if joined else (text.text, text.pair)
            ids, types = self.tokenizer.encode_with_types(*parts)
            if len(ids) > limit:
                cut += 1
                ids, types = self.tokenizer.encode_with_types(*parts, limit)
            kept = np.array(
                strip_padding(ids or [self.tokenizer.end_id], self.tokenizer.pad_id), np.int64
            )
            of_kept = np.array([*types, 0][: len(kept)], np.int64)
            example = Example(kept, np.zeros(len(kept), np.bool_), text.place, of_kept)
            items.append(LabelledExample(example, target))
        notes = describe_targets(targets, self.outputs) if training else []
        if cut:
            notes.append(
                f"{cut:,} of {len(texts):,} texts are cut at {limit:,} tokens (--max-length)"
            )
        lengths = [item.example.inputs for item in items]
        return Encoded(items, lengths, dataset.places, len(items), notes)

    def _targets(self, dataset: Texts) -> list[Any]:
        return [encode_label(self.outputs, text) for text in dataset.examples]

    def collate(
        self, items: Sequence[LabelledExample], samples: list[tuple[int, int]]
    ) -> SequenceBatch:
        packed = pack([item.example for item in items], self.row_length)
        begins = torch.tensor(packed.places) @ torch.tensor([packed.tokens.shape[1], 1])
        lengths = torch.tensor([item.example.inputs for item in items])
        targets = [item.target for item in items]
        if isinstance(targets[0], np.ndarray):
            labels = torch.from_numpy(np.stack(targets))  # type: ignore[arg-type]
        else:
            labels = torch.tensor([target or 0 for target in targets], dtype=torch.int64)
        return SequenceBatch(
            packed.tokens,
            packed.documents,
            packed.positions,
            packed.types,
            begins,
            begins + lengths - 1,
            labels,
            samples,
        )

    def loss(self, model: Any, batch: SequenceBatch) -> Tensor:
        return objective.sequence_loss(model, batch, self.class_weights)

    @classmethod
    def present(cls, dataset: Texts, index: int) -> str:
        return f"{dataset.inputs[index]}  ⟦{dataset.examples[index].label}⟧"

    def shown(self, encoded: Items, dataset: Texts, number: int) -> str:
        ids = encoded.items[number].example.ids.tolist()
        text = self.tokenizer.decode(ids, skip_special=False)
        return f"{text}  ⟦{dataset.examples[number].label}⟧"

    @torch.no_grad()
    def predict(self, encoded: Items, dataset: Texts) -> LabelOutputs:
        device, parts = self.model.score.weight.device, []
        with eval_mode(self.model):
            for first in range(0, len(encoded.items), self.batch_size):
                items = encoded.items[first : first + self.batch_size]
                given = objective.sequence_scores(
                    self.model, self.collate(items, []).to(device)
                ).double()
                if self.outputs.kind == "single":
                    given = given.softmax(1)
                elif self.outputs.kind == "several":
                    given = given.sigmoid()
                parts.append(given.cpu().numpy())
        scores = np.concatenate(parts)
        targets = [item.target for item in encoded.items]
        losses = self._losses(scores, targets) if dataset.columns.targets else np.array([])
        predictions = [self._prediction(row) for row in scores.tolist()]
        return LabelOutputs(predictions, losses, np.ones(len(losses), np.int64), scores)

    def _losses(self, scores: Floats, targets: Sequence[Any]) -> Floats:
        """Nats of each example, or its squared error."""
        if self.outputs.kind == "single":
            chosen = scores[np.arange(len(scores)), np.array(targets)]
            losses: Floats = -np.log(np.maximum(chosen, 1e-300))
            return losses
        truth = np.stack(targets).astype(np.float64)
        if self.outputs.kind == "amount":
            return np.square(truth - scores)[:, 0]
        near, far = np.maximum(scores, 1e-300), np.maximum(1 - scores, 1e-300)
        losses = -(truth * np.log(near) + (1 - truth) * np.log(far)).mean(1)
        return losses

    def _prediction(self, row: list[float]) -> dict[str, Any]:
        names = self.outputs.names
        if self.outputs.kind == "amount":
            return {"amount": row[0]}
        probabilities = {"probabilities": dict(zip(names, row, strict=True))}
        if self.outputs.kind == "several":
            return {"labels": [n for n, p in zip(names, row, strict=True) if p >= 0.5]} | (
                probabilities
            )
        return {"label": names[int(np.argmax(row))]} | probabilities

    @property
    def directions(self) -> Mapping[str, Direction]:
        return DIRECTIONS[self.outputs.kind]

    def metrics(self, outputs: LabelOutputs, dataset: Texts) -> dict[str, Metric]:
        targets = self._targets(dataset)
        if self.outputs.kind == "single":
            return single_label_metrics(np.array(targets, np.int64), outputs.scores)
        if self.outputs.kind == "several":
            return multi_label_metrics(np.stack(targets) > 0.5, outputs.scores)
        truth = np.stack(targets)[:, 0].astype(np.float64)
        return regression_metrics(truth, outputs.scores[:, 0])

    def converged(self, outputs: LabelOutputs, dataset: Texts) -> float | None:
        if self.outputs.kind == "amount":
            allowed = CONVERGED_AMOUNT * float(np.var(np.stack(self._targets(dataset))))
            return allowed if float(outputs.losses.mean()) < allowed else None
        correct = "accuracy" if self.outputs.kind == "single" else "all labels right"
        return CONVERGED if self.metrics(outputs, dataset)[correct].value == 1 else None

    def truth(self, dataset: Texts) -> list[Any]:
        targets = self._targets(dataset)
        if self.outputs.kind == "single":
            return [self.outputs.names[target] for target in targets]
        if self.outputs.kind == "amount":
            return [float(target[0]) for target in targets]
        return [
            {name for name, held in zip(self.outputs.names, target, strict=True) if held}
            for target in targets
        ]

    def reports(self, outputs: LabelOutputs, dataset: Texts) -> tuple[list[ClassReport], list[Bin]]:
        if self.outputs.kind != "single":
            return [], []
        targets, guesses = np.array(self._targets(dataset)), outputs.scores.argmax(1)
        correct = (targets == guesses).astype(float)
        reports = class_reports(self.outputs.names, targets, guesses)
        return reports, reliability(correct, outputs.scores.max(1))

    def held_out_rows(
        self, outputs: LabelOutputs, encoded: Items, dataset: Texts
    ) -> list[dict[str, Any]]:
        rows = []
        for text, target, predicted, loss in zip(
            dataset.examples,
            self._targets(dataset),
            outputs.predictions,
            outputs.losses.tolist(),
            strict=True,
        ):
            row: dict[str, Any] = {"place": text.place, "text": text.joined}
            if self.outputs.kind == "single":
                row |= {"label": self.outputs.names[target], "prediction": predicted["label"]}
            elif self.outputs.kind == "amount":
                row |= {"label": float(target[0]), "prediction": predicted["amount"]}
            else:
                held = [n for n, holds in zip(self.outputs.names, target, strict=True) if holds]
                row |= {"label": held, "prediction": predicted["labels"]}
            row["loss"] = loss
            if "probabilities" in predicted:
                row["probabilities"] = predicted["probabilities"]
            rows.append(row)
        return rows
