"""How well a model does its task on examples held out: while it learns, and when it has learnt."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nextword.errors import UserError, nearest
from nextword.inference.evaluating import evaluating
from nextword.models.encoder_decoder import Writer
from nextword.models.heads import Classifier
from nextword.objectives import causal, labels
from nextword.objectives.labels import LabelBatch
from nextword.settings import FinetuneSettings
from nextword.tasks.classify import Labels
from nextword.tasks.completion import Completions
from nextword.tasks.intervals import Draws
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
    "single": "accuracy",
    "several": "micro F1",
    "amount": "Spearman",
    "qa": "F1",
    "summarize": "ROUGE-L",
    "translate": "BLEU",
    "chat": "loss",
    "text": "loss",
    "tag": "F1",
}
METRICS = {
    "single": ("loss", "accuracy", "macro F1", "weighted F1", "calibration error"),
    "several": ("loss", "all labels right", "micro F1", "macro F1"),
    "amount": ("loss", "Pearson", "Spearman", "root mean squared error", "mean absolute error"),
    "qa": ("loss", "exact match", "F1"),
    "summarize": ("loss", "ROUGE-1", "ROUGE-2", "ROUGE-L"),
    "translate": ("loss", "BLEU", "chrF"),
    "chat": ("loss",),
    "text": ("loss",),
    "tag": ("loss", "precision", "recall", "F1", "strict F1", "accuracy"),
}
LOWER_IS_BETTER = {"loss", "calibration error", "root mean squared error", "mean absolute error"}
LEARNT = 0.05  # nats of training loss, when nothing is left to learn if all else is right
LEARNT_AMOUNT = 1e-3  # of the amounts' variance
Collate = Callable[[Sequence[Example], Sequence[Any], list[tuple[int, int]], int], LabelBatch]


def deciding(metric: str | None, task: str) -> str:
    """The metric that decides which model is the best: the one asked for, in any spelling, else the
    usual one of the task, or of the kind of labels. Raises UserError where there is none such."""
    known = METRICS[task]
    if metric is None:
        return DECIDES[task]
    for name in known:
        if _plain(name) == _plain(metric):
            return name
    raise UserError(
        f"no metric {metric!r}",
        where="--metric",
        mend=f"{nearest(metric, known)}; known here are {', '.join(known)}",
    )


def _plain(name: str) -> str:
    return name.lower().replace("-", " ").replace("_", " ")


def scored(
    loss: float, figures: dict[str, float], metric: str, enough: float | None = None
) -> Measured:
    """`metric` decides which model is the best."""
    value = ({"loss": loss} | figures)[metric]
    return Measured(loss, -value if metric in LOWER_IS_BETTER else value, figures, enough)


@torch.no_grad()
def label_probabilities(
    model: Classifier,
    examples: Sequence[Example],
    outputs: Labels,
    collate: Collate,
    room: int,
    at_once: int = AT_ONCE,
) -> NDArray[np.float64]:
    """[examples, outputs]: of classes, of each label, or the amounts themselves."""
    device = model.score.weight.device
    found = []
    with evaluating(model):
        for first in range(0, len(examples), at_once):
            some = examples[first : first + at_once]
            batch = collate(some, [0] * len(some), [], room).to(device)
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
    draws: Draws | None,
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
        collate: Collate,
        settings: FinetuneSettings,
    ) -> None:
        self._examples, self._targets, self._outputs = examples, targets, outputs
        self._collate = collate
        self._metric = deciding(settings.metric, outputs.kind)

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


class AnswerValidator:
    """Measures a model on held-out prompts: the loss of the right answers, and what it writes."""

    def __init__(
        self, made: Completions, tokenizer: Tokenizer, room: int, settings: FinetuneSettings
    ) -> None:
        self._made, self._tokenizer, self._room = made, tokenizer, room
        self._settings = settings
        self._metric = deciding(settings.metric, settings.task)

    @property
    def is_empty(self) -> bool:
        return not self._made.examples

    def measure(self, model: Writer, group: Group, interrupt: Interrupt) -> Measured | None:
        if interrupt.requested and group.size == 1:
            return None
        loss = answer_loss(model, self._made, self._room)
        count = len(self._made.examples)
        some = [self._made.examples[i * count // WRITTEN] for i in range(WRITTEN)]
        some = self._made.examples if count <= WRITTEN else some
        figures, enough = {"perplexity": math.exp(min(loss, 700.0))}, None
        if self._settings.task in ("chat", "text"):
            enough = LEARNT if loss < LEARNT else None
        else:
            answers = write_answers(
                model,
                self._tokenizer,
                [example.prompt for example in some],
                self._made.format.answer_tokens,
                self._made.end_ids,
                beams=self._settings.beams,
            )
            found = judge(self._settings.task, answers, some, None, self._made.format.language)
            figures = {name: metric.value for name, metric in found.items()}
            right = all(
                answer in example.references or (not answer and not example.references)
                for answer, example in zip(answers, some, strict=True)
            )
            enough = LEARNT if right else None
        return scored(loss, figures, self._metric, enough)

    def sample(self, model: Writer) -> tuple[str, str]:
        """The first held-out prompt and what is written to it."""
        prompt = self._made.examples[0].prompt
        (answer,) = write_answers(
            model,
            self._tokenizer,
            [prompt],
            max(self._made.format.answer_tokens, 1),
            self._made.end_ids,
        )
        arrow = "" if model.config.start_id is None else " → "
        return self._tokenizer.decode(prompt) + arrow, answer


@torch.no_grad()
def answer_loss(model: Writer, made: Completions, room: int, at_once: int = AT_ONCE) -> float:
    """Nats a token of the right answers, their ends among them."""
    device = model.embedding.weight.device
    nats, targets = 0.0, 0
    with evaluating(model):
        for first in range(0, len(made.examples), at_once):
            some = [example.example for example in made.examples[first : first + at_once]]
            batch = completions(some, [], room, model.config.start_id).to(device)
            nats += float(causal.token_losses(model, batch).double().sum())
            targets += batch.target_count
    return nats / max(targets, 1)
