"""`finetune`: a model and labelled data in, a run directory with a model for that task out.

RUN/run.json      the data, the settings, the model it began from and what was decided
RUN/task.json     how data is read for this model: for `evaluate` and `predict`
RUN/model/        the best model by the task's own metric, a Hugging Face directory
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.files import read_json, recover, write_atomically, write_json
from nextword.hub.adapter import save_adapter
from nextword.models.lora import add_lora, trainable
from nextword.models.sizes import flops_per_token
from nextword.settings import FinetuneSettings, resolve
from nextword.tasks.holding_out import hold_out, seen_in_training
from nextword.tasks.learnable import Learnable, Objective, learnable
from nextword.tasks.records import read_records
from nextword.terminal import duration, quantity, say, warn
from nextword.training import checkpoint, groups, milestones, optimizers, trackers
from nextword.training.interrupt import Interrupt, interruptible
from nextword.training.loop import train
from nextword.training.metrics import Metrics
from nextword.training.parallel import Group, processes, replicate
from nextword.training.precision import Precision, choose
from nextword.training.run_files import environment
from nextword.training.schedule import Schedule
from nextword.training.state import Figures, Job, State

EPOCHS = 3.0
REFERENCE_WIDTH = 768  # of GPT-2's smallest, for which these rates are usual
LEARNING_RATES = {"adamw": 5e-5, "muon": 1e-4, "sgd": 1e-2}
LORA_RATE = 10.0  # times that: the updates begin at zero
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
    """How it went: `figures` are the best model's on the examples held out, by name."""

    run: str
    task: str
    examples: int
    steps: int
    seconds: float
    loss: float | None
    figures: dict[str, float]
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
    with processes() as group, interruptible() as interrupt:
        return _run(str(model), items, run, settings, group, interrupt)


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
    saved = _saved(run, model, items, settings) if resumed else {}
    if not resumed and run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise UserError(
            "exists already", where=run, mend="--resume goes on with it; or choose another --out"
        )
    found = read_records(items, aligned=settings.task == "translate")
    if settings.val:
        learnt, held_out = found, read_records(settings.val, aligned=settings.task == "translate")
        if seen := seen_in_training(learnt, held_out, settings):
            warn(f"{seen:,} of {len(held_out):,} examples to validate on are in the training data")
    else:
        learnt, held_out = hold_out(found, settings)
    made = learnable(model, learnt, held_out, settings)
    if settings.freeze:
        groups.freeze(made.model, settings.freeze)
    if settings.lora:
        add_lora(
            made.model,
            rank=settings.lora_rank,
            alpha=settings.lora_alpha,
            dropout=settings.lora_dropout,
            seed=settings.seed,
        )
    measured = (
        Precision(**saved["precision"]) if resumed else choose(settings.precision, group.device)
    )
    plan = Plan.from_json(saved["plan"]) if resumed else decide(made, settings)
    if group.leads:
        recover(run / "model")
        tell(made, len(held_out), plan, measured, settings)
        if not resumed:
            _write(run, model, items, settings, made, plan, measured)
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
        say(f"Going on from step {state.step:,} of {state.schedule.steps:,}")
    if not state.finished:
        state = train(job, state)
    metrics.close()
    if settings.lora and group.leads and state.finished:
        save_adapter(run / "adapter", made.model, model)
    return Finetuned(
        run=str(run),
        task=settings.task,
        examples=len(made.sources),
        steps=state.step,
        seconds=round(state.seconds, 2),
        loss=state.best_loss,
        figures=state.best_figures,
        best_step=state.best_step,
        finished=state.finished,
        signal=0 if state.finished else interrupt.requested,
    )


def decide(made: Learnable, settings: FinetuneSettings) -> Plan:
    """What the settings leave open: rules of thumb, scaled to the model and the data."""
    count = len(made.sources)
    batch = settings.batch_size or max(4, min(32, count // 50))
    mean = max(1, sum(made.lengths) // count)
    micro = settings.micro_batch or max(1, min(batch, TOKENS_AT_ONCE // mean))
    an_epoch = count / batch
    steps = settings.steps or max(1, math.ceil((settings.epochs or EPOCHS) * an_epoch))
    width = made.body.config.width
    rate = settings.learning_rate or LEARNING_RATES[settings.optimizer] * (
        LORA_RATE if settings.lora else 1.0
    ) * (REFERENCE_WIDTH / width) ** 2
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
    tokens_a_target = sum(made.lengths) / len(made.lengths) if made.unit == "examples" else 1.0
    work = flops_per_token(made.body.config, made.body.config.context_length) * tokens_a_target

    def figures(state: State, loss: float, speed: float) -> Figures:
        return Figures(
            {
                f"{made.unit}_per_second": speed,
                "matmul_share": speed * work / (measured.peak * group.size),
            },
            quantity(speed, f"{made.unit}/s"),
        )

    def describe(state: State) -> str:
        found = ", ".join(f"{name} {value:.4f}" for name, value in state.best_figures.items())
        return (
            f"{model}, fine-tuned by nextword for the task {settings.task} on "
            f"{len(made.sources):,} examples: {state.step:,} steps of {plan.batch_size} in "
            f"{duration(state.seconds)}. Best at step {state.best_step:,}, on examples held out: "
            f"loss {state.best_loss if state.best_loss is not None else math.nan:.4f}"
            + (f", {found}." if found else ".")
        )

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
        save_model=made.save,
    )


def _write(
    run: Path,
    model: str,
    items: list[str],
    settings: FinetuneSettings,
    made: Learnable,
    plan: Plan,
    measured: Precision,
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
    write_json(run / "task.json", {"task": settings.task, **made.kept, "prompt": settings.prompt})
    write_json(
        run / "run.json",
        {
            "model": model,
            "data": items,
            "settings": settings.model_dump(mode="json", exclude_unset=True),
            "plan": asdict(plan),
            "precision": asdict(measured),
            "environment": environment(),
        },
    )


def _saved(run: Path, model: str, items: list[str], asked: FinetuneSettings) -> dict[str, Any]:
    """What run.json says; UserError where something else is asked for now."""
    saved: dict[str, Any] = read_json(run / "run.json")
    own = resolve(FinetuneSettings, saved["settings"])
    if (model, items) != (saved["model"], saved["data"]):
        raise UserError(
            f"this run was started from {saved['model']} on {' '.join(saved['data'])}",
            where=run,
            mend="give the same model and data, or choose another --out",
        )
    for name, value in asked.model_dump(exclude_unset=True).items():
        if name not in FREE_ON_RESUME and value != getattr(own, name):
            raise UserError(
                f"{name} is {getattr(own, name)!r} in this run, not {value!r}",
                where=run,
                mend="leave the flag out to go on, or choose another --out",
            )
    return saved
