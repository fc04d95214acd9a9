"""`compare`: is one model better at its task than another, or may the difference be chance?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nextword.errors import UserError
from nextword.evaluation.bootstrap import Resampler
from nextword.evaluation.contamination import count_duplicates
from nextword.evaluation.metrics import Direction, Metric
from nextword.evaluation.significance import Difference, compare_metrics
from nextword.settings import CompareSettings, with_overrides
from nextword.tasks.dataset import resampler_of
from nextword.tasks.opening import AnyTask, open_task
from nextword.tasks.records import Record, read_records
from nextword.text.sources import list_items
from nextword.verbs.evaluate import training_duplicates, warn_of_seen

FEWEST = 2  # examples


@dataclass(frozen=True)
class Comparison:
    """`units` of the examples are drawn anew: fewer than there are where some share their input, as
    questions about one text do. `metrics` by name; `better` says which model of the two is the
    better one by each of them, 0 or 1, None where the difference may be chance, or is not one of
    better and worse."""

    models: tuple[str, str]
    task: str
    examples: int
    units: int
    metrics: dict[str, Difference]
    directions: Mapping[str, Direction]
    remarks: list[str]

    def better(self, name: str) -> int | None:
        difference, direction = self.metrics[name], self.directions.get(name, "higher")
        if not difference.real or not difference.difference or direction == "neither":
            return None
        return int((difference.difference > 0) is (direction == "higher"))

    def to_json(self) -> dict[str, Any]:
        metrics = {
            name: difference.to_json() | {"better": self._name(self.better(name))}
            for name, difference in self.metrics.items()
        }
        kept = {name: value for name, value in vars(self).items() if name != "directions"}
        return kept | {"metrics": metrics}

    def _name(self, index: int | None) -> str | None:
        return None if index is None else self.models[index]


@dataclass(frozen=True)
class Outcome:
    """What a model did on labelled data; `truth` is what it took as right, `targets` how many
    tokens, words or examples each loss is a sum over."""

    place: str
    task: str
    truth: list[Any]
    metrics: dict[str, Metric]
    targets: list[float]
    directions: Mapping[str, Direction]
    resampler: Resampler
    seen: str


def compare(
    first: str | Path | AnyTask,
    second: str | Path | AnyTask,
    data: str | Path | Sequence[str | Path],
    settings: CompareSettings | None = None,
    **overrides: Any,
) -> Comparison:
    """Measure both models on the same labelled data, and tell whether they differ.

    Raises UserError where the models do different tasks, or the data do not fit them.
    """
    settings = with_overrides(CompareSettings, settings, overrides)
    items = list_items(data)
    outcomes: list[Outcome] = []
    records: list[Record] = []
    for model in (first, second):  # one after the other: two may not fit into memory
        task = open_task(model, settings) if isinstance(model, str | Path) else model
        if outcomes and task.name != outcomes[0].task:
            raise UserError(
                f"{outcomes[0].place} and {task.place} do different tasks: {outcomes[0].task} and "
                f"{task.name}",
                mend="compare two models for the same task, or name one with --task",
            )
        records = records or read_records(items, task.text_files)
        outcomes.append(outcome_of(task, records))
        del task
    one, other = outcomes
    if one.truth != other.truth:
        raise UserError(
            "the two models take different columns of this data as the right answers",
            where=", ".join(items),
            mend="name the column: --label-column or --target-column",
        )
    count, resampler = len(one.truth), replace(one.resampler, seed=settings.seed)
    if (units := resampler.units(count)) < FEWEST:
        what = "one example says" if count == 1 else "examples that all share one input say"
        raise UserError(f"{what} nothing about two models", where=", ".join(items))
    remarks = list(dict.fromkeys(f"{o.place}: {o.seen}" for o in outcomes if o.seen))
    metrics = {
        name: metric
        for name, metric in one.metrics.items()
        if one.directions.get(name) != "neither" and name != "perplexity"  # says what the loss says
    }
    if not np.array_equal(one.targets, other.targets):
        del metrics["loss"]
        remarks.append(
            "the models cut the answers into different tokens: their losses are not comparable"
        )
    if not metrics:
        raise UserError(
            remarks[-1], mend="compare what they do: classify, qa, summarize, translate"
        )
    differences = compare_metrics(metrics, other.metrics, resampler)
    places = (one.place, other.place)
    return Comparison(places, one.task, count, units, differences, one.directions, remarks)


def outcome_of(task: AnyTask, records: Sequence[Record]) -> Outcome:
    """Let a model do its task on labelled data."""
    dataset, outputs, metrics = task.measure_more(records)
    duplicates = training_duplicates(task, dataset) or []
    return Outcome(
        task.place,
        task.name,
        task.truth(dataset),
        metrics,
        outputs.targets.tolist(),
        task.directions,
        resampler_of(dataset, task.settings.seed),
        warn_of_seen(*count_duplicates(duplicates), len(dataset)),
    )
