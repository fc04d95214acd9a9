"""One fine-tuning run: data read and split, a model made for the task, trained and measured.

RUN/run.json      the data, the settings, the model it began from and what was decided
RUN/task.json     how data is read for this model: for `evaluate` and `predict`
RUN/model/        the best model by the task's own metric, a Hugging Face directory
RUN/adapter/      its low-rank updates alone, as peft writes them (--lora)
RUN/held_out.jsonl  the examples held out, with what the best model predicts
RUN/evaluation.json  how good it is on all that was held out, once the run is over
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.evaluation.bootstrap import SeedStats
from nextword.evaluation.contamination import count_duplicates, describe_counts, find_duplicates
from nextword.evaluation.metrics import Direction, Estimate, choose_metric
from nextword.files import recover
from nextword.runs import configuration, training_text
from nextword.runs.configuration import FinetuneConfiguration, check_new
from nextword.settings import FinetuneSettings, PredictSettings, resolve
from nextword.tasks.dataset import Dataset, Encoded, fingerprint
from nextword.tasks.opening import AnyTask, open_task, task_class, write_task_file
from nextword.tasks.records import read_records
from nextword.terminal import warn
from nextword.tokens import losses
from nextword.tokens.packing import ExampleLoader
from nextword.training import metrics_log, optimizers, periodic, session
from nextword.training.machine import Precision, choose_precision, watch_threads
from nextword.training.optimizers import Optimizers, OptimizerSettings, build_optimizers
from nextword.training.parallel import Group, Interrupt
from nextword.training.schedule import FinetunePlan
from nextword.training.sharding import choose_sharding, spread
from nextword.training.state import State
from nextword.training.trainer import Session, Subject, Trainer, build_trainer
from nextword.verbs import finetune_plan
from nextword.verbs.finetune_hooks import FinetuneHooks, GiveUp, TaskValidator, evaluate_held_out

Data = Dataset[Any]


@dataclass(frozen=True)
class Finetuned:
    """How a run ended: `metrics` are the best model's on the examples held out, by name,
    `intervals` their 95% intervals once the run is over; `score` is `metric`, by which the best was
    chosen, or its negative where the better `direction` is "lower". `unknown_share` is that of the
    examples' tokens which the tokenizer does not know. `seeds` and `trials` tell of
    the runs behind this one."""

    run: str
    task: str
    examples: int = 0
    steps: int = 0
    seconds: float = 0.0
    loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    best_step: int = 0
    unknown_share: float = 0.0
    finished: str = ""
    signal: int = 0
    metric: str = ""
    direction: Direction = "higher"
    score: float | None = None
    seeds: dict[str, SeedStats] = field(default_factory=dict)
    trials: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What is to be fine-tuned: a model on data, by some processes."""

    model: str
    items: list[str]
    group: Group
    interrupt: Interrupt


@dataclass(frozen=True)
class Prepared:
    """What a run begins with: the examples, also in tokens (`validated` is None where none are held
    out), the task's model, and what was decided."""

    task: AnyTask
    train: Data
    val: Data
    encoded: Encoded[Any]
    validated: Encoded[Any] | None
    unknown_share: float
    precision: Precision
    plan: FinetunePlan
    metric: str


def finetune_once(
    work: Work, run: Path, settings: FinetuneSettings, give_up: GiveUp | None = None
) -> Finetuned:
    """Carry out one run, from its data to its last evaluation, begun or gone on with. With
    `give_up` it is a trial, which is not measured at its end."""
    started, group = time.monotonic(), work.group
    metrics_log.check_trackers(settings.log_to)
    saved: FinetuneConfiguration | None = None
    if settings.resume and (run / configuration.FILE).is_file():
        saved = configuration.read(run, FinetuneConfiguration)
        settings = resume_settings(run, saved, work, settings)
    else:
        check_new(run, settings)
    group.barrier()
    made = _prepare(work, run, settings, saved)
    group.barrier()
    point, log = session.open_log(run, settings, group, saved is not None)
    trainer = _trainer(work, run, settings, made, log, give_up)
    if point is None:
        state = State(made.plan.schedule, seconds=time.monotonic() - started)
    else:
        state = periodic.restore(trainer, point)
    state = session.train_to_end(trainer, state, resumed=point is not None)
    measured: dict[str, Estimate] = {}
    is_over = state.finished and group.is_main and state.best_loss is not None
    if is_over and len(made.val) and give_up is None:
        opened = open_task(run, PredictSettings(precision=made.precision.name))
        measured = evaluate_held_out(run, opened, made.train, made.val, state.best_step)
    values = {name: found.value for name, found in measured.items() if name != "loss"}
    return Finetuned(
        run=str(run),
        task=settings.task,
        examples=len(made.encoded.items),
        steps=state.step,
        seconds=round(state.seconds, 2),
        loss=state.best_loss,
        metrics=state.best_metrics | values,
        intervals={n: found.interval for n, found in measured.items() if found.interval},
        best_step=state.best_step,
        unknown_share=made.unknown_share,
        finished=state.finished,
        signal=0 if state.finished else work.interrupt.requested,
        metric=made.metric,
        direction=made.task.directions[made.metric],
        score=state.best_score,
    )


def _prepare(
    work: Work, run: Path, settings: FinetuneSettings, saved: FinetuneConfiguration | None
) -> Prepared:
    """Read the data, open the model, decide what is left open, and write all of it down, unless it
    was `saved` before."""
    group = work.group
    kind = task_class(settings.task, extract=settings.extract)
    train, val, fingerprints = _read(kind, work, settings, saved)
    task = kind.start(work.model, train, settings)
    task.model.to(group.device)
    encoded = task.encode(train, training=True)
    if not encoded.items:
        raise UserError("no example is left to learn from", mend="raise --max-length")
    validated = task.encode(val) if len(val) else None
    lost = task.tokenizer.take_losses()
    if group.is_main or lost.share > losses.TOO_MUCH:
        losses.check(lost, work.model)
        losses.say_what_is_folded(task.tokenizer)
    finetune_plan.choose_parameters(task, settings)
    width = task.body.config.width
    precision = (
        saved.precision
        if saved
        else choose_precision(settings.precision, group, width, settings.threads)
    )
    plan = saved.plan if saved else finetune_plan.plan(task, encoded, settings)
    metric = choose_metric(task.directions, settings.metric)
    if group.is_main:
        recover(run / "model")
        finetune_plan.tell(task, encoded, train, len(val), plan, settings, precision.name)
        for note in validated.notes if validated else []:
            warn(f"held out: {note}")
        if saved is None:
            found = FinetuneConfiguration(
                work.items,
                settings.model_dump(mode="json", exclude_unset=True),
                precision,
                configuration.environment(),
                plan,
                work.model,
                fingerprints,
                training_text.path_from(run, work.model),
            )
            write_task_file(run, task.task_file(train.columns))
            configuration.write(run, found)
    return Prepared(task, train, val, encoded, validated, lost.share, precision, plan, metric)


def resume_settings(
    run: Path, saved: FinetuneConfiguration, work: Work, asked: FinetuneSettings
) -> FinetuneSettings:
    """Return a run's settings to go on with. Raises UserError where something else is asked for."""
    check_same_start(run, saved.model, saved.data, work)
    own = resolve(FinetuneSettings, saved.settings)
    return configuration.settings_to_resume(run, own, asked, saved.resolved)


def check_same_start(run: Path, model: str, data: list[str], work: Work) -> None:
    """Raise UserError where a run was started from another model or on other data."""
    if (work.model, work.items) != (model, data):
        raise UserError(
            f"this run was started from {model} on {' '.join(data)}",
            where=run,
            mend="give the same model and data, or choose another --out",
        )


def _read(
    kind: type[AnyTask],
    work: Work,
    settings: FinetuneSettings,
    saved: FinetuneConfiguration | None,
) -> tuple[Data, Data, dict[str, str]]:
    """The examples to learn from, those held out, and digests of the data. Raises UserError where
    the data of a run that goes on has changed."""
    records = read_records(work.items, kind.text_files)
    val_records = read_records(settings.val, kind.text_files) if settings.val else []
    fingerprints = {"data": fingerprint(records), "val": fingerprint(val_records)}
    for name, files, use in (("data", work.items, "started"), ("val", settings.val, "validated")):
        if saved and saved.fingerprints.get(name) != fingerprints[name]:
            raise UserError(
                f"is not the data that this run was {use} on",
                where=", ".join(files),
                mend="put it back as it was, or choose another --out",
            )
    train = kind.read(records, settings)
    if not settings.val:
        names = kind.label_names(train, settings) if settings.val_fraction else []
        return *finetune_plan.hold_out(train, names, settings), fingerprints
    val = kind.read_val(val_records, settings, train)
    for line in val.report.left_out_lines():
        warn(f"to validate on: {line}")
    exact, near = count_duplicates(find_duplicates(train.inputs, train.places, val.inputs))
    if exact or near:
        warn(
            f"of {len(val):,} examples to validate on {describe_counts(exact, near)} are in the "
            "training data too: what is measured on them says nothing about new ones"
        )
    return train, val, fingerprints


def _trainer(
    work: Work,
    run: Path,
    settings: FinetuneSettings,
    made: Prepared,
    log: session.MetricsLog,
    give_up: GiveUp | None,
) -> Trainer:
    """Place and type the model, and put together what trains it."""
    task, group, items = made.task, work.group, made.encoded.items
    task.model.to(group.device).train()  # with what was added to it
    task.body.activation_dtype = made.precision.dtype
    task.body.set_dropout(settings.dropout)

    def collate(numbers: list[int], samples: list[tuple[int, int]]) -> Any:
        return task.collate([items[number] for number in numbers], samples)

    peak = made.precision.peak * group.size
    hooks = FinetuneHooks(run, work.model, task, made.encoded, made.plan, settings, peak, give_up)
    validator = TaskValidator(task, made.validated, made.val, made.metric)
    loader = ExampleLoader(made.encoded.sources, settings.seed, collate)
    sharding = choose_sharding(settings.shard, task.model, group)
    root = spread(task.model, task.loss, sharding, group)
    threads = watch_threads(settings.threads, made.precision, group, task.body.config.width)
    return build_trainer(
        run,
        Subject(task.model, root, loader, validator, hooks),
        _optimizers(task, made.plan, settings, made.precision.dtype, group.size),
        made.plan,
        settings,
        Session(group, work.interrupt, threads),
        log,
    )


def _optimizers(
    task: AnyTask, plan: FinetunePlan, settings: FinetuneSettings, dtype: Any, ranks: int
) -> Optimizers:
    shares = None
    if settings.layer_decay < 1:
        shares = optimizers.layer_rates(task.model, settings.layer_decay)
    chosen = OptimizerSettings(
        settings.optimizer, plan.learning_rate, plan.weight_decay, plan.momentum, (0.9, 0.999)
    )
    return build_optimizers(task.model, chosen, dtype, task.body.tiles(), shares, ranks)
