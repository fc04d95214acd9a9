"""A small search for the settings that suit a model and its data.

Trials are drawn at random (Bergstra and Bengio 2012) around the usual settings, which are the first
of them; what a person has set stays as it is. One that is worse than half of those before it were
at the same share of their steps is given up (the median rule of Golovin et al. 2017).

RUN/search.json       what was asked for, and each trial: its settings and how it went
RUN/trials/trial-1/   a run directory a trial; only the best keeps its weights
"""

from __future__ import annotations

import random
import shutil
import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nextword.runs import configuration
from nextword.runs.configuration import SEARCH, FinetuneConfiguration
from nextword.runs.record import read_run
from nextword.settings import FinetuneSettings
from nextword.terminal import say
from nextword.training.periodic import DivergedError
from nextword.training.state import State
from nextword.verbs.finetune_run import Finetuned, Work, finetune_once
from nextword.verbs.seeds import Sweep, publish

RATES = 5.0  # times the usual learning rate, and a fifth of it: the ends of what is tried
JUDGED = 0.25  # of its steps, before which no trial is given up
JUDGES = 2  # trials that must have come so far before it
GIVEN_UP = "given up"

Curve = list[tuple[float, float]]  # (share of the steps, best score so far)


def search(work: Work, run: Path, settings: FinetuneSettings) -> tuple[FinetuneSettings, Finetuned]:
    """Return the settings of the best trial, and how it went. RUN becomes that trial's, unless runs
    from several seeds come after it."""
    sweep = Sweep.open(run / SEARCH, work, settings)
    settings, runs = sweep.settings, sweep.runs
    alone = {"split_seed": settings.splits_by, "seeds": 1, "search": 0, "resume": True}
    common = settings.model_copy(update=alone)
    for number in range(1, settings.search + 1):
        name = f"trials/trial-{number}"
        if name not in runs:
            tried = draw(number, settings, run / "trials/trial-1") if number > 1 else {}
            if work.group.is_main:
                say(f"Trial {number} of {settings.search}: {_describe(tried)}", style="bold")
            rule = median_rule([each["curve"] for each in runs.values()])
            try:
                own = common.model_copy(update=tried)
                done = finetune_once(work, run / name, own, rule)
            except DivergedError as error:
                if number == 1:
                    raise
                first = runs["trials/trial-1"]
                done = Finetuned(
                    str(run / name),
                    settings.task,
                    finished=str(error),
                    metric=first["metric"],
                    direction=first["direction"],
                )
            if done.signal:
                return settings, replace(done, run=str(run))
            reached = [] if done.score is None else _curve(run / name, done)
            runs[name] = asdict(done) | {"tried": tried, "curve": reached}
            if work.group.is_main:
                sweep.write()
        if work.group.is_main:
            for other in runs.keys() - {sweep.best}:
                for part in ("model", "adapter", "checkpoints"):
                    shutil.rmtree(run / other / part, ignore_errors=True)
    best = sweep.best
    tried = runs[best]["tried"]
    done = Finetuned(str(run), settings.task)
    if settings.seeds == 1:
        done = finetune_once(work, run / best, common.model_copy(update=tried))
    if work.group.is_main:
        if settings.seeds == 1:
            publish(run / best, run)
        sweep.write(best=best)
    work.group.barrier()
    trials = {name: each["tried"] | _result(each, name == best) for name, each in runs.items()}
    chosen = settings.model_copy(update=tried | {"search": 0, "resume": True})
    return chosen, replace(done, run=str(run), trials=trials)


def draw(number: int, settings: FinetuneSettings, first: Path) -> dict[str, Any]:
    """Return the settings of a trial, where a person has not set them: learning rates spread
    evenly, on a logarithmic scale, around that of the first trial."""
    usual = configuration.read(first, FinetuneConfiguration).plan
    count = settings.search - 1
    rng = random.Random(f"{settings.seed}/{number}")
    place = random.Random(settings.seed).sample(range(count), count)[number - 2]
    power = 2 * (place + rng.random()) / count - 1
    tried = {
        "learning_rate": float(f"{usual.learning_rate * RATES**power:.3g}"),
        "epochs": usual.epochs * rng.choice([0.5, 1.0, 2.0]),
        "batch_size": max(1, round(usual.batch_size * rng.choice([0.5, 1.0, 2.0]))),
        "dropout": rng.choice([0.0, 0.1]),
        "layer_decay": rng.choice([1.0, 0.9]),
    }
    fixed = settings.model_fields_set | ({"epochs"} if settings.steps else set())
    if settings.lora or settings.from_scratch:
        fixed |= {"layer_decay"}
    return {name: value for name, value in tried.items() if name not in fixed}


def median_rule(curves: list[Curve]) -> Callable[[State], str]:
    """Return what says why a trial is to be given up, by what those before it reached."""

    def give_up(state: State) -> str:
        share = state.step / state.schedule.steps
        reached = [max((s for at, s in each if at <= share), default=None) for each in curves]
        scores = [score for score in reached if score is not None]
        if state.best_score is None or not JUDGED <= share < 1 or len(scores) < JUDGES:
            return ""
        if state.best_score >= statistics.median(scores):
            return ""
        return f"{GIVEN_UP} at {share:.0%} of its steps: half of those before were better there"

    return give_up


def _sign(each: dict[str, Any]) -> int:
    """-1 where lower values of the deciding metric are better: scores are their negatives then."""
    return -1 if each["direction"] == "lower" else 1


def _curve(run: Path, done: Finetuned) -> Curve:
    """What a trial reached, and when."""
    record, sign = read_run(run), _sign(asdict(done))
    steps, best, points = record.planned_steps or 1, -float("inf"), []
    for validation in record.validations:
        best = max(best, sign * float(validation[done.metric.replace(" ", "_")]))
        points.append((validation["step"] / steps, best))
    return points


def _describe(tried: dict[str, Any]) -> str:
    values = (f"{name.replace('_', ' ')} {value:g}" for name, value in tried.items())
    return ", ".join(values) or "the usual settings"


def _result(each: dict[str, Any], best: bool) -> dict[str, Any]:
    value = each["score"]
    if value is not None:
        value *= _sign(each)
    ended = "diverged" if value is None else "given up" if GIVEN_UP in each["finished"] else ""
    return {each["metric"]: value, "steps": each["steps"], "ended": "best" if best else ended}
