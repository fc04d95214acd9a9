"""`evaluate`: how good a model is on what it was not trained on, with 95% intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.evaluation.bootstrap import SeedStats, seed_stats
from nextword.evaluation.classification import Bin, ClassReport
from nextword.evaluation.contamination import (
    Duplicate,
    count_duplicates,
    describe_counts,
    find_duplicates,
)
from nextword.evaluation.held_out import open_held_out, run_store
from nextword.evaluation.language_model import Evaluation, evaluate_language_model
from nextword.evaluation.masked import HiddenEvaluation, evaluate_hidden
from nextword.evaluation.metrics import Estimate, estimate
from nextword.inference.language_model import LanguageModel, load
from nextword.inference.masked_model import MaskedLanguageModel
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.runs import configuration
from nextword.runs.configuration import FinetuneConfiguration, seed_runs
from nextword.settings import (
    EvaluateSettings,
    FinetuneSettings,
    PredictSettings,
    resolve,
    with_overrides,
)
from nextword.tasks.dataset import Dataset, resampler_of
from nextword.tasks.opening import AnyTask, open_task, read_task_file, task_class
from nextword.tasks.records import read_records
from nextword.text.sources import list_items
from nextword.tokens.losses import say_what_is_folded, warn_of


def evaluate(
    model: str | Path | LanguageModel | MaskedLanguageModel,
    data: str | Path | Sequence[str | Path] | None = None,
    settings: EvaluateSettings | None = None,
    **overrides: Any,
) -> Evaluation | HiddenEvaluation:
    """Score a model on text: by default on what its own run held out.

    A decoder is scored on every token, an encoder and an encoder–decoder on those that are hidden
    from them. `data` is a store, of which the held-out part is taken, or files of text. Raises
    UserError where there is no text, or it does not fit the model.
    """
    settings = resolve(EvaluateSettings, (settings.model_dump() if settings else {}) | overrides)
    if isinstance(model, str | Path):
        model = load(model, precision=settings.precision)
    items = [] if data is None else [data] if isinstance(data, str | Path) else list(data)
    store = run_store(Path(model.name), needed=not items)
    held_out = open_held_out(
        [str(item) for item in items],
        store,
        model.tokenizer,
        text_column=settings.text_column,
        max_tokens=settings.max_tokens,
    )
    if items:  # of its own text a run has said it
        say_what_is_folded(model.tokenizer)
    warn_of(held_out.losses)
    if isinstance(model, MaskedLanguageModel) or isinstance(model.transformer, EncoderDecoder):
        return evaluate_hidden(model, held_out, settings)
    return evaluate_language_model(model, held_out, store, settings)


@dataclass(frozen=True)
class TaskEvaluation:
    """`metrics` by name, each with its 95% interval, for which `units` are drawn anew: fewer than
    there are examples where some share their input, as questions about one text do. `seen` counts
    the examples whose input is in the data of the model's own run too, `nearly_seen` those that
    are almost the same; None where that is not known. `unknown_share` is that of the tokens which
    the tokenizer does not know. Of texts with one label each, `classes` (of tagged words those of
    entities) and the `calibration` in bins of confidence. Of a run of several
    `seeds`, how far each metric moves with them."""

    model: str
    task: str
    examples: int
    units: int
    seen: int | None
    nearly_seen: int | None
    unknown_share: float
    metrics: dict[str, Estimate]
    seeds: dict[str, SeedStats] = field(default_factory=dict)
    classes: list[ClassReport] = field(default_factory=list)
    calibration: list[Bin] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        metrics = {name: found.to_json() for name, found in self.metrics.items()}
        return asdict(self) | {"metrics": metrics}


def evaluate_task(
    model: str | Path | AnyTask,
    data: str | Path | Sequence[str | Path],
    settings: PredictSettings | None = None,
    **overrides: Any,
) -> TaskEvaluation:
    """Measure a task's metrics on labelled data. Raises UserError where they do not fit."""
    settings = with_overrides(PredictSettings, settings, overrides)
    task = open_task(model, settings) if isinstance(model, str | Path) else model
    items = list_items(data)
    records = read_records(items, task.text_files)
    dataset, outputs, metrics = task.measure_more(records)
    resampler = resampler_of(dataset, task.settings.seed)
    duplicates = training_duplicates(task, dataset)
    exact, near = (None, None) if duplicates is None else count_duplicates(duplicates)
    each = [{name: metric.value for name, metric in metrics.items()}]
    for run in seed_runs(Path(task.place))[1:]:
        _, _, found = open_task(run, settings).measure_more(records, warns=False)
        each.append({name: metric.value for name, metric in found.items()})
    classes, calibration = task.reports(outputs, dataset)
    return TaskEvaluation(
        task.place,
        task.name,
        len(dataset),
        resampler.units(len(dataset)),
        exact,
        near,
        task.tokenizer.losses.share,
        estimate(metrics, resampler),
        seed_stats(each) if len(each) > 1 else {},
        classes,
        calibration,
    )


def training_duplicates(task: AnyTask, dataset: Dataset[Any]) -> list[Duplicate | None] | None:
    """Return of each example the same one, or nearly, in the data of the model's run, None where
    that cannot be read any more; what was held out of it counts, since it chose the model."""
    place = Path(task.place)
    folder = place.resolve().parent if place.resolve().name == "model" else place
    if read_task_file(place) is None or not (folder / configuration.FILE).is_file():
        return None
    try:
        saved = configuration.read(folder, FinetuneConfiguration)
        own = resolve(FinetuneSettings, saved.settings)
        kind = task_class(own.task, extract=own.extract)
        texts, places = [], []
        for items in filter(None, (saved.data, own.val)):
            records = read_records(items, kind.text_files, says=False)
            known = kind.read(records, own, labelled=False)
            texts += known.inputs
            places += known.places
        return find_duplicates(texts, places, dataset.inputs)
    except UserError:  # moved or changed since
        return None


def warn_of_seen(exact: int | None, near: int | None, examples: int) -> str:
    """Return a warning for figures that examples seen in training make too good; "" for none."""
    if not (seen := describe_counts(exact or 0, near or 0)):
        return ""
    return (
        f"of {examples:,} examples {seen} are in the data that the model was "
        "fine-tuned with: these figures say too little about new ones"
    )
