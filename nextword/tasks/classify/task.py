"""Models that give texts labels: what they learn from, and how right they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.errors import UserError
from nextword.evaluation.bootstrap import Resampler
from nextword.evaluation.classification import Metric, of_amounts, of_classes, of_several
from nextword.hub.directory import save_classifier, start_classifier
from nextword.inference.evaluating import evaluating
from nextword.models.heads import Classifier, without_padding
from nextword.models.transformer import Transformer
from nextword.objectives import labels
from nextword.objectives.labels import LabelBatch
from nextword.settings import FinetuneSettings
from nextword.tasks.classify.data import (
    LabelledText,
    Labels,
    find_columns,
    labelled_texts,
    labels_of,
)
from nextword.tasks.generate.losses import AT_ONCE
from nextword.tasks.learnable import Learnable, length_limit, like, row_room
from nextword.tasks.measuring import LEARNT, deciding, scored
from nextword.tasks.records import Record
from nextword.tasks.task_file import TaskFile, names_of
from nextword.tokens.packing import Example, pack
from nextword.tokens.tokenizer import Tokenizer
from nextword.training.interrupt import Interrupt
from nextword.training.parallel import Group
from nextword.training.state import Measured

LARGE_AMOUNT = 30.0
MOST_OF_THE_DATA = 0.8
LEARNT_AMOUNT = 1e-3  # of the amounts' variance


def start_labels(
    place: str, train: Sequence[Record], val: Sequence[Record], settings: FinetuneSettings
) -> Learnable:
    columns = find_columns(train, settings, labelled=True)
    texts = labelled_texts(train, columns)
    held_out = (
        labelled_texts(val, find_columns(val, like(columns, val, settings), labelled=True))
        if val
        else []
    )
    outputs = labels_of(texts, settings.labels)
    model, tokenizer = start_classifier(place, outputs, settings.seed)
    if settings.random_weights:
        body = Transformer(model.transformer.config, settings.seed)
        model = Classifier(body, len(outputs.names), settings.seed)
    limit = length_limit(model.transformer, settings)
    targets = [outputs.encode(text.label, text.place) for text in texts]
    joined = model.transformer.config.causal
    examples, longer = encode_texts(texts, tokenizer, limit, joined=joined)
    weights = None
    if settings.class_weights == "balanced":
        weights = balanced(targets, outputs)
    remarks = label_remarks(targets, outputs)
    to_validate, longer_ones = encode_texts(held_out, tokenizer, limit, joined=joined)
    if longer or longer_ones:
        remarks.append(
            f"{longer:,} texts, and {longer_ones:,} held out, are cut at {limit:,} tokens "
            "(--max-length)"
        )

    def collate(numbers: list[int], samples: list[tuple[int, int]]) -> LabelBatch:
        chosen = [examples[number] for number in numbers]
        return label_batch(
            chosen, [targets[number] for number in numbers], samples, row_room(model.transformer)
        )

    return Learnable(
        model=model,
        loss=lambda model, batch: labels.loss(model, batch, weights),
        unit="examples",
        targets=len(texts),
        sources=[text.place for text in texts],
        lengths=[example.inputs for example in examples],
        collate=collate,
        validator=LabelValidator(
            to_validate,
            [outputs.encode(text.label, text.place) for text in held_out],
            outputs,
            settings,
        ),
        metric=deciding(settings.metric, outputs.kind),
        save=lambda folder, card: save_classifier(folder, model, tokenizer, outputs, card),
        shown=f"{tokenizer.decode(examples[0].ids.tolist(), skip_special=False)}  →  "
        f"{texts[0].label}",
        remarks=remarks,
        kept=TaskFile("classify", names_of(columns), max_length=limit),
    )


def encode_texts(
    texts: Sequence[LabelledText], tokenizer: Tokenizer, limit: int, *, joined: bool = True
) -> tuple[list[Example], int]:
    """Texts as a classifier reads them: as transformers' tokenizer gives them, cut at `limit`; and
    how many were cut. An encoder reads a pair as its template sets it, not `joined` to one text."""
    examples, longer = [], 0
    for text in texts:
        parts = (text.joined, None) if joined else (text.text, text.pair)
        ids, types = tokenizer.encode_texts(*parts)
        if len(ids) > limit:
            longer += 1
            ids, types = tokenizer.encode_texts(*parts, limit)
        kept = np.array(without_padding(ids or [tokenizer.end_id], tokenizer.pad_id), np.int64)
        of_kept = np.array([*types, 0][: len(kept)], np.int64)
        examples.append(Example(kept, np.zeros(len(kept), np.bool_), text.place, of_kept))
    return examples, longer


def label_batch(
    examples: Sequence[Example], targets: Sequence[Any], samples: list[tuple[int, int]], room: int
) -> LabelBatch:
    packed = pack(examples, room)
    begins = torch.tensor(packed.places) @ torch.tensor([packed.tokens.shape[1], 1])
    lengths = torch.tensor([example.inputs for example in examples])
    if isinstance(targets[0], np.ndarray):
        wanted = torch.from_numpy(np.stack(targets))
    else:
        wanted = torch.tensor(list(targets), dtype=torch.int64)
    return LabelBatch(
        packed.tokens,
        packed.documents,
        packed.positions,
        packed.types,
        begins,
        begins + lengths - 1,
        wanted,
        samples,
    )


def balanced(targets: Sequence[Any], outputs: Labels) -> Tensor:
    """Weights [classes] with which every class counts as much as any other."""
    if outputs.kind != "single":
        raise UserError("--class-weights balanced is for one class an example")
    counts = np.bincount(np.array(targets), minlength=len(outputs.names))
    return torch.tensor(len(targets) / (len(counts) * np.maximum(counts, 1)), dtype=torch.float32)


def label_remarks(targets: Sequence[Any], outputs: Labels) -> list[str]:
    """How often each class occurs, and what is told if one of them hides the others."""
    if outputs.kind == "amount":
        amounts = np.stack(targets)[:, 0]
        remarks = [
            f"amounts from {amounts.min():g} to {amounts.max():g}, {amounts.mean():g} on average"
        ]
        if np.abs(amounts).max() > LARGE_AMOUNT:
            remarks.append("amounts this large are learnt slowly: divide them, by 100 say")
        return remarks
    if outputs.kind == "several":
        shares = np.stack(targets).mean(0)
        found = [f"{outputs.names[i]} {shares[i]:.0%}" for i in np.argsort(-shares)[:8]]
        return [f"{len(outputs.names)} labels, several at once: {', '.join(found)}"]
    counts = np.bincount(np.array(targets), minlength=len(outputs.names))
    order = np.argsort(-counts)[:8]
    shares = ", ".join(f"{outputs.names[i]} {counts[i] / len(targets):.0%}" for i in order)
    remarks = [f"{len(outputs.names)} classes: {shares}"]
    if counts.max() > MOST_OF_THE_DATA * len(targets):
        remarks.append(
            "one class is most of the data: look at macro F1, and try --class-weights balanced"
        )
    return remarks


@torch.no_grad()
def label_probabilities(
    model: Classifier,
    examples: Sequence[Example],
    outputs: Labels,
    room: int,
    at_once: int = AT_ONCE,
) -> NDArray[np.float64]:
    """[examples, outputs]: of classes, of each label, or the amounts themselves."""
    device = model.score.weight.device
    found = []
    with evaluating(model):
        for first in range(0, len(examples), at_once):
            some = examples[first : first + at_once]
            batch = label_batch(some, [0] * len(some), [], room).to(device)
            given = labels.scores(model, batch).double()
            if outputs.kind == "single":
                given = given.softmax(1)
            elif outputs.kind == "several":
                given = given.sigmoid()
            found.append(given.cpu().numpy())
    return np.concatenate(found)


def label_metrics(
    targets: Sequence[Any],
    probabilities: NDArray[np.float64],
    outputs: Labels,
    draws: Resampler | None,
) -> dict[str, Metric]:
    if outputs.kind == "single":
        return of_classes(np.array(targets, np.int64), probabilities, draws)
    truth = np.stack(targets)
    if outputs.kind == "several":
        return of_several(truth > 0.5, probabilities, draws)
    return of_amounts(truth[:, 0].astype(np.float64), probabilities[:, 0], draws)


class LabelValidator:
    """Measures a classifier on held-out texts."""

    def __init__(
        self,
        examples: Sequence[Example],
        targets: Sequence[Any],
        outputs: Labels,
        settings: FinetuneSettings,
    ) -> None:
        self._examples, self._targets, self._outputs = examples, targets, outputs
        self._metric = deciding(settings.metric, outputs.kind)

    @property
    def is_empty(self) -> bool:
        return not self._examples

    def measure(self, model: Classifier, group: Group, interrupt: Interrupt) -> Measured | None:
        if interrupt.requested and group.size == 1:
            return None
        room = row_room(model.transformer)
        found = label_probabilities(model, self._examples, self._outputs, room)
        loss = self._loss(found)
        metrics = label_metrics(self._targets, found, self._outputs, None)
        figures = {name: metric.value for name, metric in metrics.items()}
        return scored(loss, figures, self._metric, self._enough(figures))

    def _enough(self, figures: dict[str, float]) -> float | None:
        if self._outputs.kind == "amount":
            allowed = LEARNT_AMOUNT * float(np.var(np.stack(self._targets)))
            return allowed if figures["root mean squared error"] ** 2 < allowed else None
        right = "accuracy" if self._outputs.kind == "single" else "all labels right"
        return LEARNT if figures[right] == 1 else None

    def _loss(self, found: NDArray[np.float64]) -> float:
        if self._outputs.kind == "single":
            chosen = found[np.arange(len(found)), np.array(self._targets)]
            return float(-np.log(np.maximum(chosen, 1e-300)).mean())
        truth = np.stack(self._targets).astype(np.float64)
        if self._outputs.kind == "amount":
            return float(np.square(truth - found).mean())
        near, far = np.maximum(found, 1e-300), np.maximum(1 - found, 1e-300)
        return float(-(truth * np.log(near) + (1 - truth) * np.log(far)).mean())

    def sample(self, model: Classifier) -> tuple[str, str]:
        raise NotImplementedError("a classifier writes nothing")
