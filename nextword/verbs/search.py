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

from nextword.files import read_json, write_json
from nextword.runs import finetuning
from nextword.runs.record import read_run
from nextword.settings import FinetuneSettings
from nextword.tasks.measuring import LOWER_IS_BETTER
from nextword.tasks.planning import Plan
from nextword.terminal import say
from nextword.training.interrupt import Interrupt
from nextword.training.milestones import DivergedError
from nextword.training.parallel import Group
from nextword.training.state import State
from nextword.verbs.finetune_run import Finetuned, adapt
from nextword.verbs.seeds import best_of, publish

SEARCH = finetuning.SEARCH
RATES = 5.0  # times the usual learning rate, and a fifth of it: the ends of what is tried
JUDGED = 0.25  # of its steps, before which no trial is given up
JUDGES = 2  # trials that must have come so far before it
GIVEN_UP = "given up"

Curve = list[tuple[float, float]]  # (share of the steps, best score so far)


def search(
    model: str,
    items: list[str],
    run: Path,
    settings: FinetuneSettings,
    group: Group,
    interrupt: Interrupt,
) -> tuple[FinetuneSettings, Finetuned]:
    """The settings of the best trial, and how it went. RUN becomes that trial's, unless runs from
    several seeds come after it."""
    kept, settings = finetuning.begin(run / SEARCH, model, items, settings, group)
    common = settings.model_copy(
        update={
            "split_seed": settings.splits_by,
            "seeds": 1,
            "search": 0,
            "resume": True,
        }
    )
    runs = kept["runs"]
    for number in range(1, settings.search + 1):
        name = f"trials/trial-{number}"
        if name not in runs:
            tried = draw(number, settings, run / "trials/trial-1") if number > 1 else {}
            if group.leads:
                say(f"Trial {number} of {settings.search}: {words(tried)}", style="bold")
            own = common.model_copy(update=tried)
            judge = hopeless([each["curve"] for each in runs.values()])
            try:
                done = adapt(model, items, run / name, own, group, interrupt, judge)
            except DivergedError as error:
                if number == 1:
                    raise
                metric = runs["trials/trial-1"]["metric"]
                done = Finetuned(str(run / name), settings.task, finished=str(error), metric=metric)
            if done.signal:
                return settings, replace(done, run=str(run))
            reached = [] if done.score is None else curve(run / name, done.metric)
            runs[name] = asdict(done) | {"tried": tried, "curve": reached}
            if group.leads:
                write_json(run / SEARCH, kept)
        if group.leads:
            for other in runs.keys() - {best_of(kept)}:
                for part in ("model", "adapter", "checkpoints"):
                    shutil.rmtree(run / other / part, ignore_errors=True)
    best = best_of(kept)
    tried = runs[best]["tried"]
    done = Finetuned(str(run), settings.task)
    if settings.seeds == 1:
        done = adapt(model, items, run / best, common.model_copy(update=tried), group, interrupt)
    if group.leads:
        if settings.seeds == 1:
            publish(run / best, run)
        write_json(run / SEARCH, kept | {"best": best})
    group.wait()
    told = {name: each["tried"] | _ended(each, name == best) for name, each in runs.items()}
    chosen = settings.model_copy(update=tried | {"search": 0, "resume": True})
    return chosen, replace(done, run=str(run), trials=told)


def draw(number: int, settings: FinetuneSettings, first: Path) -> dict[str, Any]:
    """The settings of a trial, where a person has not set them: learning rates spread evenly, on a
    logarithmic scale, around that of the first trial."""
    usual = Plan.from_json(read_json(first / "run.json")["plan"])
    count = settings.search - 1
    chance = random.Random(f"{settings.seed}/{number}")
    place = random.Random(settings.seed).sample(range(count), count)[number - 2]
    power = 2 * (place + chance.random()) / count - 1
    tried = {
        "learning_rate": float(f"{usual.learning_rate * RATES**power:.3g}"),
        "epochs": usual.epochs * chance.choice([0.5, 1.0, 2.0]),
        "batch_size": max(1, round(usual.batch_size * chance.choice([0.5, 1.0, 2.0]))),
        "dropout": chance.choice([0.0, 0.1]),
        "layer_decay": chance.choice([1.0, 0.9]),
    }
    fixed = settings.model_fields_set | ({"epochs"} if settings.steps else set())
    if settings.lora or settings.random_weights:
        fixed |= {"layer_decay"}
    return {name: value for name, value in tried.items() if name not in fixed}


def hopeless(curves: list[Curve]) -> Callable[[State], str]:
    """Says why a trial is to be given up, by what those before it reached."""

    def judge(state: State) -> str:
        share = state.step / state.schedule.steps
        reached = [max((s for at, s in each if at <= share), default=None) for each in curves]
        scores = [score for score in reached if score is not None]
        if state.best_score is None or not JUDGED <= share < 1 or len(scores) < JUDGES:
            return ""
        if state.best_score >= statistics.median(scores):
            return ""
        return f"{GIVEN_UP} at {share:.0%} of its steps: half of those before were better there"

    return judge


def curve(run: Path, metric: str) -> Curve:
    """What a trial reached, and when."""
    found, sign = read_run(run), -1 if metric in LOWER_IS_BETTER else 1
    steps, best, points = found.planned_steps or 1, -float("inf"), []
    for record in found.validations:
        best = max(best, sign * float(record[metric.replace(" ", "_")]))
        points.append((record["step"] / steps, best))
    return points


def words(tried: dict[str, Any]) -> str:
    named = (f"{name.replace('_', ' ')} {value:g}" for name, value in tried.items())
    return ", ".join(named) or "the usual settings"


def _ended(each: dict[str, Any], best: bool) -> dict[str, Any]:
    value = each["score"]
    if value is not None and each["metric"] in LOWER_IS_BETTER:
        value = -value
    ended = "diverged" if value is None else "given up" if GIVEN_UP in each["finished"] else ""
    return {each["metric"]: value, "steps": each["steps"], "ended": "best" if best else ended}
