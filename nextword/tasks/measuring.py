"""How well a model does its task on examples held out: while it learns, and when it has learnt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nextword.errors import UserError, nearest
from nextword.models.heads import Classifier
from nextword.models.transformer import Transformer
from nextword.objectives import causal, labels
from nextword.objectives.labels import LabelBatch
from nextword.settings import FinetuneSettings
from nextword.tasks.classify import Labels
from nextword.tasks.completion import Completions
from nextword.tasks.metrics import Metric, of_amounts, of_classes, of_several
from nextword.tasks.predictions import judge, write_answers
from nextword.tokens.packing import ROW, Example, completions
from nextword.tokens.tokenizer import Tokenizer
from nextword.training.interrupt import Interrupt
from nextword.training.parallel import Group
from nextword.training.state import Measured

AT_ONCE = 64  # examples
WRITTEN = 200  # answers written at a validation, spread over the examples; all at the end
DECIDES = {
    "classify": {"single": "accuracy", "several": "micro F1", "amount": "Spearman"},
    "qa": "F1",
    "summarize": "ROUGE-L",
    "translate": "BLEU",
    "chat": "loss",
    "text": "loss",
}
LOWER_IS_BETTER = {
    "loss",
    "calibration error",
    "root mean squared error",
    "mean absolute error",
    "length ratio",
}
Collate = Callable[[Sequence[Example], Sequence[Any], list[tuple[int, int]], int], LabelBatch]


def scored(loss: float, figures: dict[str, float], metric: str) -> Measured:
    """`metric` decides which model is the best. Raises UserError where there is none such."""
    known = {"loss": loss} | figures
    if metric not in known:
        raise UserError(f"no metric {metric!r}", where="--metric", mend=nearest(metric, known))
    value = known[metric]
    return Measured(loss, -value if metric in LOWER_IS_BETTER else value, figures)


@torch.no_grad()
def label_probabilities(
    model: Classifier, examples: Sequence[Example], outputs: Labels, collate: Collate, room: int
) -> NDArray[np.float64]:
    """[examples, outputs]: of classes, of each label, or the amounts themselves."""
    training, device = model.training, model.score.weight.device
    model.eval()
    found = []
    try:
        for first in range(0, len(examples), AT_ONCE):
            some = examples[first : first + AT_ONCE]
            batch = collate(some, [0] * len(some), [], room).to(device)
            given = labels.scores(model, batch).double()
            if outputs.kind == "single":
                given = given.softmax(1)
            elif outputs.kind == "several":
                given = given.sigmoid()
            found.append(given.cpu().numpy())
    finally:
        model.train(training)
    return np.concatenate(found)


def label_metrics(
    targets: Sequence[Any], probabilities: NDArray[np.float64], outputs: Labels, seed: int | None
) -> dict[str, Metric]:
    if outputs.kind == "single":
        return of_classes(np.array(targets, np.int64), probabilities, seed)
    truth = np.stack(targets)
    if outputs.kind == "several":
        return of_several(truth > 0.5, probabilities, seed)
    return of_amounts(truth[:, 0].astype(np.float64), probabilities[:, 0], seed)


class LabelValidator:
    """Measures a classifier on held-out texts."""

    def __init__(
        self,
        examples: Sequence[Example],
        targets: Sequence[Any],
        outputs: Labels,
        collate: Collate,
        settings: FinetuneSettings,
    ) -> None:
        self._examples, self._targets, self._outputs = examples, targets, outputs
        self._collate = collate
        decides = DECIDES["classify"]
        assert isinstance(decides, dict)
        self._metric = settings.metric or decides[outputs.kind]

    @property
    def is_empty(self) -> bool:
        return not self._examples

    def measure(self, model: Classifier, group: Group, interrupt: Interrupt) -> Measured | None:
        if interrupt.requested and group.size == 1:
            return None
        room = min(ROW, model.transformer.config.context_length)
        found = label_probabilities(model, self._examples, self._outputs, self._collate, room)
        loss = self._loss(found)
        metrics = label_metrics(self._targets, found, self._outputs, None)
        return scored(loss, {name: metric.value for name, metric in metrics.items()}, self._metric)

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


class AnswerValidator:
    """Measures a model on held-out prompts: the loss of the right answers, and what it writes."""

    def __init__(
        self, made: Completions, tokenizer: Tokenizer, room: int, settings: FinetuneSettings
    ) -> None:
        self._made, self._tokenizer, self._room = made, tokenizer, room
        self._settings = settings
        decides = DECIDES[settings.task]
        assert isinstance(decides, str)
        self._metric = settings.metric or decides

    @property
    def is_empty(self) -> bool:
        return not self._made.examples

    def measure(self, model: Transformer, group: Group, interrupt: Interrupt) -> Measured | None:
        if interrupt.requested and group.size == 1:
            return None
        loss = answer_loss(model, self._made, self._room)
        count = len(self._made.examples)
        some = [self._made.examples[i * count // WRITTEN] for i in range(WRITTEN)]
        some = self._made.examples if count <= WRITTEN else some
        figures = {}
        if self._settings.task not in ("chat", "text"):
            answers = write_answers(
                model,
                self._tokenizer,
                [example.prompt for example in some],
                self._made.format.answer_tokens,
                self._made.end_ids,
            )
            found = judge(self._settings.task, answers, some, None, self._made.format.language)
            figures = {name: metric.value for name, metric in found.items()}
        return scored(loss, figures, self._metric)

    def sample(self, model: Transformer) -> tuple[str, str]:
        """The first held-out prompt and what is written to it."""
        prompt = self._made.examples[0].prompt
        (answer,) = write_answers(
            model,
            self._tokenizer,
            [prompt],
            max(self._made.format.answer_tokens, 1),
            self._made.end_ids,
        )
        return self._tokenizer.decode(prompt), answer


@torch.no_grad()
def answer_loss(model: Transformer, made: Completions, room: int) -> float:
    """Nats a token of the right answers, their ends among them."""
    training, device = model.training, model.embedding.weight.device
    model.eval()
    nats, targets = 0.0, 0
    try:
        for first in range(0, len(made.examples), AT_ONCE):
            some = [example.example for example in made.examples[first : first + AT_ONCE]]
            batch = completions(some, [], room).to(device)
            nats += float(causal.token_losses(model, batch).double().sum())
            targets += batch.target_count
    finally:
        model.train(training)
    return nats / max(targets, 1)
