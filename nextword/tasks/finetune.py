"""`finetune`: a model and labelled data in, a run directory with a model for that task out.

RUN/run.json      the data, the settings, the model it began from and what was decided
RUN/task.json     how data is read for this model: for `evaluate` and `predict`
RUN/model/        the best model by the task's own metric, a Hugging Face directory
RUN/adapter/      its low-rank updates alone, as peft writes them (--lora)
RUN/held_out.jsonl  the examples held out, with what the best model says of them
RUN/evaluation.json  how good it is on all that was held out, once the run is over
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nextword.errors import UserError
from nextword.files import PARTIAL, read_json, recover, write_atomically, write_json
from nextword.hub.adapter import save_adapter
from nextword.hub.resolve import resolve as find_directory
from nextword.models.lora import add_lora, trainable
from nextword.models.sizes import flops_per_token
from nextword.settings import FinetuneSettings, PredictSettings, resolve
from nextword.tasks import task_file
from nextword.tasks.holding_out import fingerprint, hold_out
from nextword.tasks.kept import keep_held_out
from nextword.tasks.learnable import Learnable, Objective, learnable
from nextword.tasks.metrics import Metric
from nextword.tasks.records import Record, read_records
from nextword.tasks.run import EVALUATION
from nextword.tasks.trained import open_trained
from nextword.tasks.twins import counted, twins
from nextword.terminal import duration, quantity, say, warn
from nextword.training import checkpoint, groups, milestones, optimizers, trackers
from nextword.training.interrupt import Interrupt, interruptible, name
from nextword.training.loop import train
from nextword.training.metrics import Metrics
from nextword.training.parallel import Group, processes, replicate
from nextword.training.precision import Precision, choose
from nextword.training.run_files import environment, remedy
from nextword.training.schedule import Schedule
from nextword.training.state import Figures, Job, State

EPOCHS = 3.0
REFERENCE_WIDTH = 768  # of GPT-2's smallest, for which these rates are usual
LEARNING_RATES = {"adamw": 5e-5, "muon": 1e-4, "sgd": 1e-2}
LORA_RATE = 10.0  # times that: the updates begin at zero
MOST_TIMES = 40.0  # times the usual rate, for the smallest models
MOMENTUM = {"adamw": 0.0, "muon": 0.95, "sgd": 0.9}
TOKENS_AT_ONCE = 8192
VALIDATIONS = 10
FREE_ON_RESUME = {"resume", "keep_checkpoints", "log_to"}


@dataclass
class Plan:
    """What is decided before the first step; RUN/run.json keeps it."""

    batch_size: int
    micro_batch: int
    learning_rate: float
    schedule: Schedule
    eval_every: int
    save_every: int

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Plan:
        return cls(**{**saved, "schedule": Schedule(**saved["schedule"])})


@dataclass(frozen=True)
class Finetuned:
    """How it went: `figures` are the best model's on the examples held out, by name, `intervals`
    their 95% intervals once the run is over."""

    run: str
    task: str
    examples: int
    steps: int
    seconds: float
    loss: float | None
    figures: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    best_step: int
    finished: str
    signal: int


def finetune(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    settings: FinetuneSettings | None = None,
    **overrides: Any,
) -> Finetuned:
    """Adapt a model, ours or of the Hub, to labelled data; `out` becomes a run directory.

    With `resume=True` a run that was stopped goes on, bit for bit. Raises UserError where model,
    data and settings do not fit.
    """
    given = {} if settings is None else settings.model_dump(exclude_unset=True)
    settings = resolve(FinetuneSettings, given | overrides)
    items = [str(item) for item in ([data] if isinstance(data, str | Path) else data)]
    run = Path(out)
    started = time.monotonic()
    try:
        with processes() as group, interruptible() as interrupt:
            try:
                return _run(str(model), items, run, settings, group, interrupt)
            except KeyboardInterrupt as stop:
                number = stop.args[0] if stop.args else signal.SIGINT
                if group.leads:
                    say(f"{name(number)}: stopped outside of training; --resume goes on")
                spent = round(time.monotonic() - started, 2)
                return Finetuned(str(run), settings.task, 0, 0, spent, None, {}, {}, 0, "", number)
    except OSError as error:
        raise UserError(
            error.strerror or str(error), where=error.filename or run, mend=remedy(error)
        ) from None
    except torch.OutOfMemoryError:
        raise UserError(
            "the model and its batch do not fit the memory of the device",
            mend="give a smaller --micro-batch or --max-length, or --lora",
        ) from None


def _run(
    model: str,
    items: list[str],
    run: Path,
    settings: FinetuneSettings,
    group: Group,
    interrupt: Interrupt,
) -> Finetuned:
    started = time.monotonic()
    trackers.check(settings.log_to)
    resumed = settings.resume and (run / "run.json").is_file()
    saved: dict[str, Any] = {}
    if resumed:
        saved, settings = _saved(run, model, items, settings)
    else:
        _check_new(run, settings)
    group.wait()
    found = read_records(items, aligned=settings.task == "translate")
    if resumed and saved["examples"] != fingerprint(found):
        raise UserError(
            "is not the data that this run was started on",
            where=", ".join(items),
            mend="put it back as it was, or choose another --out",
        )
    if settings.val:
        learnt, held_out = found, read_records(settings.val, aligned=settings.task == "translate")
        exact, near = counted(twins(learnt, held_out, settings))
        if exact or near:
            warn(
                f"{exact:,} of the {len(held_out):,} examples to validate on are in the training "
                f"data too, {near:,} nearly: what is measured on them says nothing about new ones"
            )
    else:
        learnt, held_out = hold_out(found, settings)
    made = learnable(model, learnt, held_out, settings)
    if settings.lora:
        add_lora(
            made.model,
            rank=settings.lora_rank,
            alpha=settings.lora_alpha,
            dropout=settings.lora_dropout,
            seed=settings.seed,
        )
    if settings.freeze:
        groups.freeze(made.model, settings.freeze)
    measured = (
        Precision(**saved["precision"]) if resumed else choose(settings.precision, group.device)
    )
    plan = Plan.from_json(saved["plan"]) if resumed else decide(made, settings)
    if group.leads:
        recover(run / "model")
        tell(made, len(held_out), plan, measured, settings)
        if not resumed:
            _write(run, model, items, settings, made, plan, measured, fingerprint(found))
    group.wait()
    point = checkpoint.load_newest(run / "checkpoints") if resumed else None
    kept = int(point.state["metrics_bytes"]) if point else 0
    metrics = Metrics(None, 0)
    if group.leads:
        sinks = trackers.start(
            settings.log_to, run, settings.model_dump(), point.step if point else 0
        )
        metrics = Metrics(run / "metrics.jsonl", kept, sinks)
    job = assemble(run, model, made, settings, plan, measured, group, interrupt, metrics)
    if point is None:
        state = State(plan.schedule, seconds=time.monotonic() - started)
    else:
        state = milestones.restore(job, point)
        if not state.finished:
            metrics.event(state.step, "resume", f"resumed from the checkpoint of step {state.step}")
        if group.leads:
            say(f"Going on from step {state.step:,} of {state.schedule.steps:,}")
    if not state.finished:
        state = train(job, state)
    metrics.close()
    found_out: dict[str, Metric] = {}
    if state.finished and group.leads and held_out and state.best_loss is not None:
        found_out = measure(run, learnt, held_out, state.best_step, measured)
    return Finetuned(
        run=str(run),
        task=settings.task,
        examples=len(made.sources),
        steps=state.step,
        seconds=round(state.seconds, 2),
        loss=state.best_loss,
        figures=state.best_figures
        | {label: metric.value for label, metric in found_out.items() if label != "loss"},
        intervals={label: m.interval for label, m in found_out.items() if m.interval is not None},
        best_step=state.best_step,
        finished=state.finished,
        signal=0 if state.finished else interrupt.requested,
    )


def measure(
    run: Path,
    learnt: Sequence[Record],
    held_out: Sequence[Record],
    step: int,
    measured: Precision,
) -> dict[str, Metric]:
    """The best model on all that was held out, in RUN/evaluation.json and returned."""
    opened = open_trained(run, PredictSettings(precision=measured.name))
    found, predictions = opened.evaluate(held_out)
    keep_held_out(run, opened, learnt, held_out, predictions)
    figures = {label: metric.to_json() for label, metric in found.items()}
    kept = {"step": step, "task": opened.task, "examples": len(held_out), "metrics": figures}
    write_json(run / EVALUATION, kept)
    return found


def decide(made: Learnable, settings: FinetuneSettings) -> Plan:
    """What the settings leave open: rules of thumb, scaled to the model and the data."""
    count = len(made.sources)
    batch = settings.batch_size or max(4, min(32, count // 50))
    mean = max(1, sum(made.lengths) // count)
    micro = settings.micro_batch or max(1, min(batch, TOKENS_AT_ONCE // mean))
    an_epoch = count / batch
    steps = settings.steps or max(1, math.ceil((settings.epochs or EPOCHS) * an_epoch))
    width = made.body.config.width
    times = (LORA_RATE if settings.lora else 1.0) * (REFERENCE_WIDTH / width) ** 2
    usual = LEARNING_RATES[settings.optimizer]
    rate = settings.learning_rate or usual * min(times, MOST_TIMES)
    warmup = settings.warmup * steps if settings.warmup < 1 else settings.warmup
    return Plan(
        batch_size=batch,
        micro_batch=min(micro, batch),
        learning_rate=rate,
        schedule=Schedule(settings.schedule, steps, round(warmup), max(1, round(0.4 * steps))),
        eval_every=settings.eval_every or max(1, steps // VALIDATIONS),
        save_every=settings.save_every or max(1, steps // 4),
    )


def tell(
    made: Learnable, held_out: int, plan: Plan, measured: Precision, settings: FinetuneSettings
) -> None:
    """What is about to be done and why, with one example as the model sees it."""
    count = len(made.sources)
    learning, everything = trainable(made.model)
    epochs = plan.schedule.steps * plan.batch_size / count
    say(f"  {count:,} examples of {quantity(sum(made.lengths), 'tokens')}, {held_out:,} held out")
    for remark in made.remarks:
        say(f"  {remark}")
    if settings.random_weights:
        say(f"  weights drawn anew from seed {settings.seed}: nothing was learnt before this run")
    say(f"  an example: {' '.join(made.shown.split())[:400]}")
    say(
        f"  {plan.schedule.steps:,} steps of {plan.batch_size} examples, {epochs:.1f} passes; "
        f"{settings.optimizer} at learning rate {plan.learning_rate:.2g}; activations in "
        f"{measured.name}"
    )
    say(
        f"  {quantity(learning, 'parameters')} of {quantity(everything)} learn"
        f" ({learning / everything:.2%})"
    )


def assemble(
    run: Path,
    model: str,
    made: Learnable,
    settings: FinetuneSettings,
    plan: Plan,
    measured: Precision,
    group: Group,
    interrupt: Interrupt,
    metrics: Metrics,
) -> Job:
    """Everything the loop needs."""
    network = made.model.to(group.device).train()
    made.body.activation_dtype = measured.dtype
    made.body.set_dropout(settings.dropout)
    read = sum(made.lengths)  # tokens, in one pass
    work = flops_per_token(made.body.config, read // len(made.lengths)) * read / made.targets

    def figures(state: State, loss: float, speed: float) -> Figures:
        return Figures(
            {
                f"{made.unit}_per_second": speed,
                "matmul_share": speed * work / (measured.peak * group.size),
            },
            quantity(speed, f"{made.unit}/s"),
        )

    def describe(state: State) -> str:
        began = f"{model}, fine-tuned"
        if settings.random_weights:
            began = (
                f"The architecture and tokenizer of {model}, its weights drawn anew from seed "
                f"{settings.seed} and trained"
            )
        learnt = (
            f"{began} by nextword for the task {settings.task} on "
            f"{len(made.sources):,} examples: {state.step:,} steps of {plan.batch_size} in "
            f"{duration(state.seconds)}."
        )
        if state.best_loss is None:
            return f"{learnt} No examples were held out to measure it on."
        figures = {"loss": state.best_loss} | state.best_figures
        found = ", ".join(f"{label} {value:.4f}" for label, value in figures.items())
        return f"{learnt} Of step {state.best_step:,}; on examples held out: {found}."

    def save_model(folder: Path, card: str) -> None:
        if settings.lora:  # first: a model stands for both being there
            save_adapter(run / "adapter", made.model, _place(model))
        made.save(folder, card)

    writes = made.unit == "tokens" and not made.validator.is_empty
    return Job(
        run=run,
        model=network,
        objective=replicate(Objective(network, made.objective), group),
        optimizers=optimizers.build(
            network,
            settings.optimizer,
            learning_rate=plan.learning_rate,
            weight_decay=settings.weight_decay,
            momentum=MOMENTUM[settings.optimizer],
            betas=(0.9, 0.999),
            row_blocks=made.body.row_blocks(),
            rate_shares=groups.layer_rates(made.model, settings.layer_decay)
            if settings.layer_decay < 1
            else None,
        ),
        loader=made.loader(settings.seed),
        validator=made.validator,
        metrics=metrics,
        interrupt=interrupt,
        group=group,
        seed=settings.seed,
        batch_size=plan.batch_size,
        micro_batch=plan.micro_batch,
        clip=settings.clip,
        learning_rate=plan.learning_rate,
        skip_nonfinite=False,
        eval_every=0 if made.validator.is_empty else plan.eval_every,
        sample_every=plan.eval_every if writes else 0,
        save_every=plan.save_every,
        log_every=max(1, plan.schedule.steps // 200),
        keep_checkpoints=settings.keep_checkpoints,
        patience=settings.patience,
        decay=0.4,
        figures=figures,
        describe=describe,
        save_model=save_model,
    )


def _write(
    run: Path,
    model: str,
    items: list[str],
    settings: FinetuneSettings,
    made: Learnable,
    plan: Plan,
    measured: Precision,
    examples: str,
) -> None:
    import yaml

    run.mkdir(parents=True, exist_ok=True)
    everything = settings.model_dump(mode="json", exclude={"resume"})
    chosen = {
        "batch_size": plan.batch_size,
        "micro_batch": plan.micro_batch,
        "learning_rate": plan.learning_rate,
        "steps": plan.schedule.steps,
        "eval_every": plan.eval_every,
        "save_every": plan.save_every,
        "precision": measured.name,
    }
    resolved = {n: v for n, v in (everything | chosen).items() if v is not None and n != "epochs"}
    text = yaml.safe_dump(
        {"model": model, "data": items} | resolved, sort_keys=False, allow_unicode=True
    )
    write_atomically(run / "config.yaml", text.encode())
    task_file.write(run, made.kept)
    write_json(
        run / "run.json",
        {
            "model": model,
            "data": items,
            "examples": examples,
            "settings": settings.model_dump(mode="json", exclude_unset=True),
            "plan": asdict(plan),
            "precision": asdict(measured),
            "environment": environment(),
        },
    )


def _place(model: str) -> str:
    """Where others find the model: its directory, or its name on the Hub."""
    return str(find_directory(model)) if Path(model).is_dir() else model


def _check_new(run: Path, settings: FinetuneSettings) -> None:
    """Raises UserError unless a new run can be written there, before anything costs time."""
    if run.exists() and not run.is_dir():
        raise UserError("is a file; a run needs a folder", where=run, mend="choose another --out")
    begun = {
        "config.yaml",
        task_file.NAME,
        *(f".{n}{PARTIAL}" for n in ("run.json", "config.yaml")),
    }
    present = {path.name for path in run.iterdir()} if run.is_dir() else set()
    if present and not (settings.resume and present <= begun):
        raise UserError(
            "exists already", where=run, mend="--resume goes on with it; or choose another --out"
        )
    run.mkdir(parents=True, exist_ok=True)


def _saved(
    run: Path, model: str, items: list[str], asked: FinetuneSettings
) -> tuple[dict[str, Any], FinetuneSettings]:
    """What run.json says, and the run's settings; UserError where something else is asked for now
    or it was damaged."""
    saved = read_json(run / "run.json")
    try:
        Plan.from_json(saved["plan"])
        Precision(**saved["precision"])
        _ = saved["model"], saved["data"], saved["examples"]
        own = resolve(FinetuneSettings, saved["settings"])
    except (TypeError, KeyError, ValueError, UserError):
        raise UserError(
            "does not say what was decided for this run",
            where=run / "run.json",
            mend="put the file back as it was, or start another run",
        ) from None
    if (model, items) != (saved["model"], saved["data"]):
        raise UserError(
            f"this run was started from {saved['model']} on {' '.join(saved['data'])}",
            where=run,
            mend="give the same model and data, or choose another --out",
        )
    changed = {}
    for flag, value in asked.model_dump(exclude_unset=True).items():
        if flag in FREE_ON_RESUME:
            changed[flag] = value
        elif value not in (getattr(own, flag), saved["plan"].get(flag)):
            raise UserError(
                f"{flag} is {getattr(own, flag)!r} in this run, not {value!r}",
                where=run,
                mend="leave the flag out to go on, or choose another --out",
            )
    return saved, resolve(FinetuneSettings, saved["settings"] | changed)
