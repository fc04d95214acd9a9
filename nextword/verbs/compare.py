"""`compare`: is one model better at its task than another, or are they the same as far as these
examples can tell?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.evaluation.bootstrap import Resampler
from nextword.evaluation.classification import Ints
from nextword.evaluation.entities import counts, share
from nextword.evaluation.generated_text import rouge, translation_scores
from nextword.evaluation.question_answering import cmrc, squad
from nextword.evaluation.significance import Difference, mcnemar, paired_bootstrap
from nextword.hub.labels import Outputs
from nextword.models.heads import SpanFinder
from nextword.settings import CompareSettings, resolve
from nextword.tasks.classify.data import find_columns, labelled_texts
from nextword.tasks.classify.task import label_metrics
from nextword.tasks.generate.losses import ExampleLosses, example_losses
from nextword.tasks.generate.predictions import Answered
from nextword.tasks.learnable import row_room
from nextword.tasks.measuring import LOWER_IS_BETTER
from nextword.tasks.opening import open_trained
from nextword.tasks.records import Record, read_records
from nextword.tasks.trained import TrainedModel
from nextword.verbs.predict import learnt

FEWEST = 2  # examples
RIGHT = {"single": "accuracy", "several": "all labels right"}


@dataclass(frozen=True)
class Comparison:
    """`units` of the examples are drawn anew: fewer than there are where some share their input, as
    questions about one text do. `metrics` by name; `better` says which model of the two is the
    better one by each of them, 0 or 1, None where the difference may be chance."""

    models: tuple[str, str]
    task: str
    examples: int
    units: int
    metrics: dict[str, Difference]
    remarks: list[str]

    def better(self, name: str) -> int | None:
        found = self.metrics[name]
        if not found.real or not found.difference:
            return None
        return int((found.difference > 0) is (name not in LOWER_IS_BETTER))

    def to_json(self) -> dict[str, Any]:
        figures = {
            name: found.to_json() | {"better": self._name(self.better(name))}
            for name, found in self.metrics.items()
        }
        return {**vars(self), "metrics": figures}

    def _name(self, which: int | None) -> str | None:
        return None if which is None else self.models[which]


@dataclass(frozen=True)
class Outcome:
    """What one model made of the examples: `figures` of those chosen; of each, in order, the
    `truth`, whether it was `right`, and its `losses`, where the task has such; how they are drawn
    anew."""

    task: str
    truth: list[Any]
    figures: Callable[[Ints], dict[str, float]]
    draws: Resampler
    right: tuple[str, NDArray[np.bool_]] | None = None  # and what the share of them is called
    losses: ExampleLosses | None = None


def compare(
    first: str | Path | TrainedModel,
    second: str | Path | TrainedModel,
    data: str | Path | Sequence[str | Path],
    settings: CompareSettings | None = None,
    **overrides: Any,
) -> Comparison:
    """Both models' metrics on the same labelled data, and whether they differ.

    Raises UserError where the models do different tasks, or the data do not fit them.
    """
    given = settings.model_dump(exclude_unset=True) if settings else {}
    settings = resolve(CompareSettings, given | overrides)
    items = [str(item) for item in ([data] if isinstance(data, str | Path) else data)]
    names: list[str] = []
    outcomes: list[Outcome] = []
    remarks: list[str] = []
    for model in (first, second):  # one after the other: two may not fit into memory
        opened = model if isinstance(model, TrainedModel) else open_trained(model, settings)
        if outcomes and opened.task != outcomes[0].task:
            raise UserError(
                f"{names[0]} and {opened.name} do different tasks: {outcomes[0].task} and "
                f"{opened.task}",
                mend="compare two models for the same task, or name one with --task",
            )
        found = read_records(items, opened.task)
        names.append(opened.name)
        outcomes.append(outcome(opened, found))
        if (words := learnt(opened, found)) and opened.name not in names[:-1]:
            remarks.append(f"{opened.name}: {words}")
    one, other = outcomes
    if one.truth != other.truth:
        raise UserError(
            "the two models take different columns of this data as the right answers",
            where=", ".join(items),
            mend="name the column: --label-column or --target-column",
        )
    count, draws = len(one.truth), replace(one.draws, seed=settings.seed)
    if (units := draws.units(count)) < FEWEST:
        what = "one example says" if count == 1 else "examples that all share one input say"
        raise UserError(f"{what} nothing about two models", where=", ".join(items))
    metrics = paired_bootstrap(count, one.figures, other.figures, draws)
    if one.right and other.right:
        name, right = one.right
        metrics[name] = _by_mcnemar(metrics[name], right, other.right[1])
    if one.losses and other.losses:
        if np.array_equal(one.losses.tokens, other.losses.tokens):
            a, b = _mean_loss(one.losses), _mean_loss(other.losses)
            metrics |= paired_bootstrap(count, a, b, draws)
        else:
            remarks.append(
                "the models cut the answers into different tokens: their losses are not comparable"
            )
    if not metrics:
        raise UserError(
            remarks[-1], mend="compare what they do: classify, qa, summarize, translate"
        )
    return Comparison((names[0], names[1]), one.task, count, units, metrics, remarks)


def outcome(opened: TrainedModel, found: Sequence[Record]) -> Outcome:
    """Let a model do its task on labelled records."""
    if opened.outputs is not None:
        return _labels(opened, found)
    if opened.tags:
        return _tags(opened, found)
    if isinstance(opened.model, SpanFinder):
        return _pointed_at(opened, found)
    return _answers(opened, found)


def _labels(opened: TrainedModel, found: Sequence[Record]) -> Outcome:
    outputs = opened.outputs
    assert outputs is not None
    texts = labelled_texts(found, find_columns(found, opened.reading(found), labelled=True))
    targets = [outputs.encode(text.label, text.place) for text in texts]
    given = np.array([prediction["outputs"] for prediction in opened.predict(found)])

    def figures(chosen: Ints) -> dict[str, float]:
        some = [targets[index] for index in chosen]
        metrics = label_metrics(some, given[chosen], outputs, None)
        return {name: metric.value for name, metric in metrics.items()}

    draws, right = opened.draws(found), None
    if outputs.kind == "single":
        right = RIGHT["single"], np.array(targets) == given.argmax(1)
    elif outputs.kind == "several":
        right = RIGHT["several"], ((np.stack(targets) > 0.5) == (given >= 0.5)).all(1)
    return Outcome(opened.task, [_named(t, outputs) for t in targets], figures, draws, right)


def _named(target: Any, outputs: Outputs) -> Any:
    """A target so that models which number their labels differently agree about it."""
    if outputs.kind == "single":
        return outputs.names[target]
    if outputs.kind == "several":
        return {name for name, held in zip(outputs.names, target, strict=True) if held}
    return float(target[0])


def _tags(opened: TrainedModel, found: Sequence[Record]) -> Outcome:
    truth = [text.tags for text in opened.texts(found, labelled=True)]
    said = [prediction["tags"] for prediction in opened.predict(found)]
    loose = counts(truth, said, strict=False)

    def figures(chosen: Ints) -> dict[str, float]:
        right, guessed, there = loose[chosen].sum(0).tolist()
        shares = share(right, guessed), share(right, there), share(2 * right, guessed + there)
        return dict(zip(("precision", "recall", "F1"), shares, strict=True))

    return Outcome(opened.task, truth, figures, opened.draws(found))


def _pointed_at(opened: TrainedModel, found: Sequence[Record]) -> Outcome:
    made = opened.questions(found, answered=True)
    answers = [prediction["answer"] for prediction in opened.predict(found)]
    truth: list[Any] = [question.references or question.place for question in made.questions]
    figures = _written("qa", answers, made.questions, made.format.language)
    return Outcome(opened.task, truth, figures, opened.draws(found))


def _answers(opened: TrainedModel, found: Sequence[Record]) -> Outcome:
    model = opened.writer
    made = opened.read(found, answered=True)
    examples = made.examples
    losses = example_losses(model, [example.example for example in examples], row_room(model))
    truth: list[Any] = [example.references or example.place for example in examples]
    draws = opened.draws(found)
    if opened.task == "text":  # long ones are in parts
        _, parts = np.unique([example.place for example in examples], return_inverse=True)
        draws = replace(draws, groups=parts)
    if opened.task in ("chat", "text"):
        return Outcome(opened.task, truth, lambda chosen: {}, draws, losses=losses)
    answers = [prediction["answer"] for prediction in opened.predict(found)]
    figures = _written(opened.task, answers, examples, made.format.language)
    return Outcome(opened.task, truth, figures, draws, losses=losses)


def _written(
    task: str, answers: Sequence[str], examples: Sequence[Answered], language: str
) -> Callable[[Ints], dict[str, float]]:
    references = [example.references for example in examples]
    pairs = list(zip(answers, references, strict=True))
    if task == "translate":
        found = translation_scores(answers, references, language)
        return lambda chosen: {name: score.of(chosen) for name, score in found.items()}
    if task == "qa":
        score = cmrc if language == "zh" else squad
        scores = np.array([score(answer, wanted) for answer, wanted in pairs])
        names = ["exact match", "F1"]
    else:
        each = rouge(answers, references, language)
        names, scores = list(each), np.stack(list(each.values()), 1)

    def figures(chosen: Ints) -> dict[str, float]:
        return dict(zip(names, scores[chosen].mean(0).tolist(), strict=True))

    return figures


def _mean_loss(losses: ExampleLosses) -> Callable[[Ints], dict[str, float]]:
    """Nats a token, over all tokens of the examples chosen."""

    def figures(chosen: Ints) -> dict[str, float]:
        return {"loss": float(losses.nats[chosen].sum() / max(losses.tokens[chosen].sum(), 1))}

    return figures


def _by_mcnemar(
    found: Difference, first: NDArray[np.bool_], second: NDArray[np.bool_]
) -> Difference:
    apart = int((first & ~second).sum()), int((second & ~first).sum())
    return Difference(
        found.first, found.second, found.interval, mcnemar(*apart), "McNemar, exact", apart
    )
