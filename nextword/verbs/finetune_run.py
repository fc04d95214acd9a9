"""One fine-tuning run: data read and held out, a model made for the task, trained and measured.

RUN/run.json      the data, the settings, the model it began from and what was decided
RUN/task.json     how data is read for this model: for `evaluate` and `predict`
RUN/model/        the best model by the task's own metric, a Hugging Face directory
RUN/adapter/      its low-rank updates alone, as peft writes them (--lora)
RUN/held_out.jsonl  the examples held out, with what the best model says of them
RUN/evaluation.json  how good it is on all that was held out, once the run is over
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nextword.evaluation.classification import Metric
from nextword.evaluation.contamination import count_duplicates, describe_counts, find_duplicates
from nextword.evaluation.seed_stats import SeedStats
from nextword.files import recover, write_json
from nextword.models.lora import add_lora
from nextword.runs import finetuning
from nextword.runs.record import EVALUATION
from nextword.settings import FinetuneSettings, PredictSettings
from nextword.tasks.assemble import assemble
from nextword.tasks.kept import keep_held_out
from nextword.tasks.learnable import learnable
from nextword.tasks.opening import open_trained
from nextword.tasks.planning import Plan, decide, tell
from nextword.tasks.records import Record, read_records
from nextword.tasks.split import fingerprint, hold_out
from nextword.terminal import warn
from nextword.training import groups, milestones, session, trackers
from nextword.training.interrupt import Interrupt
from nextword.training.parallel import Group
from nextword.training.precision import Precision, choose
from nextword.training.state import State


@dataclass(frozen=True)
class Finetuned:
    """How it went: `figures` are the best model's on the examples held out, by name, `intervals`
    their 95% intervals once the run is over; `score` is `metric`, by which the best was chosen, or
    its negative where lower is better. `seeds` and `trials` tell of the runs behind this one."""

    run: str
    task: str
    examples: int = 0
    steps: int = 0
    seconds: float = 0.0
    loss: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    best_step: int = 0
    finished: str = ""
    signal: int = 0
    metric: str = ""
    score: float | None = None
    seeds: dict[str, SeedStats] = field(default_factory=dict)
    trials: dict[str, dict[str, Any]] = field(default_factory=dict)


def adapt(
    model: str,
    items: list[str],
    run: Path,
    settings: FinetuneSettings,
    group: Group,
    interrupt: Interrupt,
    trial: Callable[[State], str] | None = None,
) -> Finetuned:
    """One run, from its data to its last evaluation, begun or gone on with. A `trial` is not
    measured at its end, and given up where, after a validation, that says why."""
    started = time.monotonic()
    trackers.check(settings.log_to)
    resumed = settings.resume and (run / "run.json").is_file()
    saved: dict[str, Any] = {}
    if resumed:
        saved, settings = finetuning.read(run, model, items, settings)
    else:
        finetuning.check_new(run, settings)
    group.wait()
    found, validated_on = (
        read_records(data, settings.task) if data else [] for data in (items, settings.val)
    )
    prints = {"data": fingerprint(found), "val": fingerprint(validated_on)}
    if resumed:
        finetuning.same_data(saved["fingerprints"], prints, items, settings.val)
    if settings.val:
        learnt, held_out = found, validated_on
        exact, near = count_duplicates(find_duplicates(learnt, held_out, settings))
        if exact or near:
            warn(
                f"of {len(held_out):,} examples to validate on {describe_counts(exact, near)} are in the "
                "training data too: what is measured on them says nothing about new ones"
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
            finetuning.write(run, model, items, settings, made, plan, measured, prints)
    group.wait()
    point, metrics = session.open_log(run, settings, group, resumed)
    job = assemble(run, model, made, settings, plan, measured, group, interrupt, metrics)
    job.hopeless = trial or job.hopeless
    state = (
        State(plan.schedule, seconds=time.monotonic() - started)
        if point is None
        else milestones.restore(job, point)
    )
    state = session.carry_through(job, state, resumed=point is not None)
    found_out: dict[str, Metric] = {}
    if state.finished and group.leads and held_out and state.best_loss is not None and not trial:
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
        metric=made.metric,
        score=state.best_score,
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
