"""`predict`: what a fine-tuned model says of new data; and how right it is where that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.files import read_json
from nextword.settings import FinetuneSettings, PredictSettings, resolve
from nextword.tasks import task_file
from nextword.tasks.holding_out import seen_in_training
from nextword.tasks.metrics import Metric
from nextword.tasks.records import Record, read_records
from nextword.tasks.trained import Prediction, TrainedModel, open_trained, write_predictions


@dataclass(frozen=True)
class TaskEvaluation:
    """`metrics` by name, each with its 95% interval. `seen` counts the examples whose input stands
    in the data of the model's own run too; None where that is not known."""

    model: str
    task: str
    examples: int
    seen: int | None
    metrics: dict[str, Metric]

    def to_json(self) -> dict[str, Any]:
        figures = {name: metric.to_json() for name, metric in self.metrics.items()}
        return {**vars(self), "metrics": figures}


def predict(
    model: str | Path | TrainedModel,
    data: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    settings: PredictSettings | None = None,
    **overrides: Any,
) -> list[Prediction]:
    """A prediction for each record of the data, in order; with `out` also as JSON lines, beside
    the records' own fields. Raises UserError where model and data do not fit."""
    opened, items, settings = _open(model, data, settings, overrides)
    if out is not None and (Path(out).is_dir() or not str(out)):
        raise UserError("is a folder", where=out, mend="name a file for the predictions")
    found = read_records(items, aligned=opened.task == "translate")
    predictions = opened.predict(found)
    if out is not None:
        write_predictions(Path(out), found, predictions)
    return [{n: v for n, v in each.items() if n != "outputs"} for each in predictions]


def evaluate_task(
    model: str | Path | TrainedModel,
    data: str | Path | Sequence[str | Path],
    settings: PredictSettings | None = None,
    **overrides: Any,
) -> TaskEvaluation:
    """The task's metrics on labelled data. Raises UserError where they do not fit."""
    opened, items, settings = _open(model, data, settings, overrides)
    found = read_records(items, aligned=opened.task == "translate")
    metrics, _ = opened.evaluate(found)
    return TaskEvaluation(opened.name, opened.task, len(found), seen(opened, found), metrics)


def seen(opened: TrainedModel, found: Sequence[Record]) -> int | None:
    """How many of the examples stand in the data of the model's run, where that can still be
    read; what was held out of it counts, since it chose the model."""
    place = Path(opened.name)
    folder = place.resolve().parent if place.resolve().name == "model" else place
    if task_file.read(place) is None or not (folder / "run.json").is_file():
        return None
    saved = read_json(folder / "run.json")
    try:
        own = resolve(FinetuneSettings, saved["settings"])
        aligned = own.task == "translate"
        learnt = read_records(saved["data"], aligned=aligned)
        learnt += read_records(own.val, aligned=aligned) if own.val else []
        return seen_in_training(learnt, found, own, opened.reading(found))
    except (UserError, KeyError, TypeError):  # moved or changed since
        return None


def _open(
    model: str | Path | TrainedModel,
    data: str | Path | Sequence[str | Path],
    settings: PredictSettings | None,
    overrides: dict[str, Any],
) -> tuple[TrainedModel, list[str], PredictSettings]:
    given = settings.model_dump(exclude_unset=True) if settings else {}
    settings = resolve(PredictSettings, given | overrides)
    opened = model if isinstance(model, TrainedModel) else open_trained(model, settings)
    items = [str(item) for item in ([data] if isinstance(data, str | Path) else data)]
    return opened, items, settings
