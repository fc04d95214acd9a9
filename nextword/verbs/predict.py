"""`predict`: what a fine-tuned model says of new data; and how right it is where that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nextword.errors import UserError
from nextword.evaluation.classification import Bin, ClassFigures, Metric, class_figures, reliability
from nextword.evaluation.contamination import (
    Duplicate,
    count_duplicates,
    describe_counts,
    find_duplicates,
)
from nextword.evaluation.entities import kind_figures
from nextword.evaluation.seed_stats import SeedStats, runs_of, seed_stats
from nextword.files import read_json
from nextword.settings import FinetuneSettings, PredictSettings, resolve
from nextword.tasks import task_file
from nextword.tasks.classify.data import find_columns, labelled_texts
from nextword.tasks.opening import open_trained
from nextword.tasks.records import Record, read_records
from nextword.tasks.trained import Prediction, TrainedModel, write_predictions

TABLES = {".csv", ".tsv", ".parquet"}


@dataclass(frozen=True)
class TaskEvaluation:
    """`metrics` by name, each with its 95% interval, for which `units` are drawn anew: fewer than
    there are examples where some share their input, as questions about one text do. `seen` counts
    the examples whose input stands in the data of the model's own run too, `nearly_seen` those
    that are almost the same; None where that is not known. Of texts with one label each, `classes`
    (of tagged words those of entities) and the `calibration` in bins of confidence. Of a run of
    several `seeds`, how far each metric moves with them."""

    model: str
    task: str
    examples: int
    units: int
    seen: int | None
    nearly_seen: int | None
    metrics: dict[str, Metric]
    seeds: dict[str, SeedStats] = field(default_factory=dict)
    classes: list[ClassFigures] = field(default_factory=list)
    calibration: list[Bin] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        figures = {name: metric.to_json() for name, metric in self.metrics.items()}
        return asdict(self) | {"metrics": figures}


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
    if out is not None:
        _check_out(Path(out), items)
    found = read_records(items, opened.task)
    predictions = opened.predict(found)
    if out is not None:
        write_predictions(Path(out), found, predictions)
    return [{n: v for n, v in each.items() if n != "outputs"} for each in predictions]


def _check_out(out: Path, items: Sequence[str]) -> None:
    """Raises UserError for a file that predictions cannot go to, before any of them is made."""
    if out.is_dir():
        raise UserError("is a folder", where=out, mend="name a file for the predictions")
    if out.exists() and any(Path(item).exists() and out.samefile(item) for item in items):
        raise UserError("is the data itself", where=out, mend="choose another --out")
    if out.suffix.lower() in TABLES:
        raise UserError(
            f"predictions are JSON lines, not {out.suffix}",
            where=out,
            mend=f"name the file {out.with_suffix('.jsonl').name}",
        )


def evaluate_task(
    model: str | Path | TrainedModel,
    data: str | Path | Sequence[str | Path],
    settings: PredictSettings | None = None,
    **overrides: Any,
) -> TaskEvaluation:
    """The task's metrics on labelled data. Raises UserError where they do not fit."""
    opened, items, settings = _open(model, data, settings, overrides)
    found = read_records(items, opened.task)
    metrics, predictions = opened.evaluate(found)
    twin = in_training(opened, found)
    exact, near = (None, None) if twin is None else count_duplicates(twin)
    units = opened.draws(found).units(len(found))
    others = runs_of(Path(opened.name))[1:]
    each = [metrics, *(open_trained(run, settings).evaluate(found)[0] for run in others)]
    evaluation = TaskEvaluation(
        *(opened.name, opened.task, len(found), units, exact, near, metrics),
        seeds=seed_stats([{n: m.value for n, m in one.items()} for one in each]) if others else {},
    )
    if opened.tags:
        right = [text.tags for text in opened.texts(found, labelled=True)]
        said = [prediction["tags"] for prediction in predictions]
        return replace(evaluation, classes=kind_figures(right, said))
    if opened.outputs is None or opened.outputs.kind != "single":
        return evaluation
    columns = find_columns(found, opened.reading(found), labelled=True)
    texts = labelled_texts(found, columns)
    truth = np.array([opened.outputs.encode(text.label, text.place) for text in texts])
    given = np.array([prediction["outputs"] for prediction in predictions])
    return replace(
        evaluation,
        classes=class_figures(opened.outputs.names, truth, given.argmax(1)),
        calibration=reliability((truth == given.argmax(1)).astype(float), given.max(1)),
    )


def learnt(opened: TrainedModel, found: Sequence[Record]) -> str:
    """How many of the examples the model has learnt from, in a sentence; "" for none."""
    exact, near = count_duplicates(in_training(opened, found) or [])
    return told(exact, near, len(found))


def told(exact: int | None, near: int | None, examples: int) -> str:
    """A warning for figures that examples seen in training make too good; "" where none were."""
    if not (seen := describe_counts(exact or 0, near or 0)):
        return ""
    return (
        f"of {examples:,} examples {seen} are in the data that the model was "
        "fine-tuned with: these figures say too little about new ones"
    )


def in_training(opened: TrainedModel, found: Sequence[Record]) -> list[Duplicate | None] | None:
    """Of each example the same one, or nearly, in the data of the model's run, where that can
    still be read; what was held out of it counts, since it chose the model."""
    place = Path(opened.name)
    folder = place.resolve().parent if place.resolve().name == "model" else place
    if task_file.read(place) is None or not (folder / "run.json").is_file():
        return None
    saved = read_json(folder / "run.json")
    try:
        own = resolve(FinetuneSettings, saved["settings"])
        known = read_records(saved["data"], own.task)
        known += read_records(own.val, own.task) if own.val else []
        return find_duplicates(known, found, own, opened.reading(found))
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
