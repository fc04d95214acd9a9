"""A model that points at answers in a text: its training, and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.errors import UserError
from nextword.evaluation.question_answering import judge_answers
from nextword.hub.directory import save_span_finder, start_span_finder
from nextword.hub.resolve import resolve as find_directory
from nextword.inference.evaluating import evaluating
from nextword.inference.language_model import boundaries
from nextword.models.heads import SpanFinder
from nextword.models.transformer import Transformer
from nextword.objectives import tokens
from nextword.objectives.tokens import TokenBatch
from nextword.settings import FinetuneSettings
from nextword.tasks.extractive_qa.data import (
    Found,
    Question,
    Questions,
    Window,
    best_answers,
    read_questions,
)
from nextword.tasks.generate.losses import AT_ONCE
from nextword.tasks.learnable import Learnable, length_limit, like, row_room
from nextword.tasks.measuring import LEARNT, deciding, scored
from nextword.tasks.records import Record
from nextword.tasks.task_file import TaskFile, names_of
from nextword.tokens.packing import pack
from nextword.training.interrupt import Interrupt
from nextword.training.parallel import Group
from nextword.training.state import Measured

SHOWN = 3  # other answers that a prediction names


def span_batch(chosen: Sequence[Window], samples: list[tuple[int, int]], room: int) -> TokenBatch:
    """What is read of each window: where it says that there is no answer, then its text."""
    packed = pack([window.example for window in chosen], room)
    time = packed.tokens.shape[1]
    most = 1 + max(window.end - window.begin for window in chosen)
    read = np.full((len(chosen), most), -1)
    for number, ((row, start), window) in enumerate(zip(packed.places, chosen, strict=True)):
        at = row * time + start
        read[number, 0] = at + window.nowhere
        read[number, 1 : 1 + window.end - window.begin] = at + np.arange(window.begin, window.end)
    return TokenBatch(
        packed.tokens,
        packed.documents,
        packed.positions,
        packed.types,
        torch.from_numpy(read),
        torch.tensor([window.target for window in chosen]),
        samples,
    )


def start_spans(
    place: str, train: Sequence[Record], val: Sequence[Record], settings: FinetuneSettings
) -> Learnable:
    """A model, and questions for it to learn to point at the answers of."""
    model, tokenizer = start_span_finder(place, settings.seed)
    if settings.random_weights:
        config = model.transformer.config
        model = SpanFinder(Transformer(config, settings.seed), settings.seed)
    body, start = model.transformer, boundaries(find_directory(place), tokenizer)[0]
    limit, causal = length_limit(body, settings), body.config.causal
    made = read_questions(train, settings, tokenizer, start, limit, causal=causal, training=True)
    held_out = Questions([], [], made.format, made.columns)
    if val:
        alike = like(made.columns, val, settings)
        held_out = read_questions(
            val, alike, tokenizer, start, limit, causal=causal, training=False, format=made.format
        )

    def collate(numbers: list[int], samples: list[tuple[int, int]]) -> TokenBatch:
        return span_batch([made.windows[number] for number in numbers], samples, row_room(body))

    first = made.windows[0]
    return Learnable(
        model=model,
        loss=tokens.loss,
        unit="examples",
        targets=len(made.windows),
        sources=[window.example.source for window in made.windows],
        lengths=[len(window.example.ids) for window in made.windows],
        collate=collate,
        validator=SpanValidator(held_out, settings),
        save=lambda folder, card: save_span_finder(folder, model, tokenizer, card),
        shown=f"{tokenizer.decode(first.example.ids)}  →  {_wanted(made.questions[0])}",
        metric=deciding(settings.metric, "qa"),
        remarks=remarks(made),
        kept=TaskFile("qa", names_of(made.columns), max_length=limit, spans=made.format),
    )


def _wanted(question: Question) -> str:
    if question.span is None:
        return "(no answer)"
    begin, end = question.cut(*question.span)
    return question.text[begin:end]


def remarks(made: Questions) -> list[str]:
    count = len(made.questions)
    found = [f"{number:,} questions are left out: {what}" for what, number in made.dropped.items()]
    if len(made.windows) > count:
        found.append(f"{count:,} questions are read in {len(made.windows):,} windows of their text")
    if without := sum(not question.references for question in made.questions):
        found.append(f"{without:,} questions have no answer")
    if made.wider:
        found.append(
            f"{made.wider:,} answers begin or end inside a token: what is found holds a little more"
        )
    return found


@torch.no_grad()
def window_scores(
    model: SpanFinder, windows: Sequence[Window], at_once: int = AT_ONCE
) -> list[NDArray[np.float64]]:
    """Of each window [1 + tokens of its text, 2]: begin and end, those of no answer first."""
    device = model.span.weight.device
    found: list[NDArray[np.float64]] = []
    with evaluating(model):
        for first in range(0, len(windows), at_once):
            some = windows[first : first + at_once]
            batch = span_batch(some, [], row_room(model.transformer)).to(device)
            given = tokens.scores(model, batch).double().cpu().numpy()
            found += [
                rows[: 1 + window.end - window.begin]
                for rows, window in zip(given, some, strict=True)
            ]
    return found


def question_losses(made: Questions, scores: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Nats of each question: the mean of begin and end over its windows, [questions]."""
    sums, counts = np.zeros(len(made.questions)), np.zeros(len(made.questions))
    for window, given in zip(made.windows, scores, strict=True):
        one: Tensor = torch.from_numpy(given)[None]
        sums[window.question] += float(tokens.losses(one, torch.tensor([window.target])))
        counts[window.question] += 1
    return sums / np.maximum(counts, 1)


class SpanValidator:
    """Measures a finder of answers on held-out questions."""

    def __init__(self, made: Questions, settings: FinetuneSettings) -> None:
        self._made = made
        self._metric = deciding(settings.metric, "qa")

    @property
    def is_empty(self) -> bool:
        return not self._made.questions

    def measure(self, model: SpanFinder, group: Group, interrupt: Interrupt) -> Measured | None:
        if interrupt.requested and group.size == 1:
            return None
        given = window_scores(model, self._made.windows)
        answers = [found[0].answer for found in best_answers(self._made, given)]
        references = [question.references for question in self._made.questions]
        metrics = judge_answers(answers, references, self._made.format.language, None)
        figures = {name: metric.value for name, metric in metrics.items()}
        right = all(
            answer in (*(question.references or [""]), _cover(question))
            for answer, question in zip(answers, self._made.questions, strict=True)
        )
        loss = float(question_losses(self._made, given).mean())
        return scored(loss, figures, self._metric, LEARNT if right else None)

    def sample(self, model: SpanFinder) -> tuple[str, str]:
        raise NotImplementedError("a finder of answers writes nothing")


def _cover(question: Question) -> str:
    """The answer as far as its tokens go."""
    return "" if question.span is None else _wanted(question)


def span_prediction(found: Sequence[Found]) -> dict[str, Any]:
    """The best answer with the characters of the text that it is, and the next best ones."""
    best = found[0]
    others = [{"answer": f.answer, "probability": f.probability} for f in found[1 : 1 + SHOWN]]
    return {
        "answer": best.answer,
        "start": best.begin,
        "end": best.end,
        "probability": best.probability,
        "others": others,
    }


def find_answers(
    model: SpanFinder, made: Questions, at_once: int
) -> tuple[list[dict[str, Any]], NDArray[np.float64]]:
    """A prediction and a loss for each question."""
    given = window_scores(model, made.windows, at_once)
    if not all(np.isfinite(rows).all() for rows in given):
        raise UserError("the model's scores are not finite numbers", mend="try --precision fp32")
    predictions = [span_prediction(found) for found in best_answers(made, given)]
    return predictions, question_losses(made, given)
