"""`pretrain`: text or a store in, a run directory out; or a run directory that goes on.

RUN/store/ holds the prepared text, unless the data was a store already.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nextword.errors import UserError
from nextword.files import read_json
from nextword.models.config import TransformerConfig
from nextword.settings import PrepareSettings, PretrainSettings, resolve
from nextword.terminal import duration, say, warn
from nextword.tokens.prepare import prepare
from nextword.tokens.store import Store
from nextword.training import checkpoint, milestones, planning, run_files
from nextword.training.assemble import assemble
from nextword.training.interrupt import Interrupt, interruptible
from nextword.training.loop import train
from nextword.training.metrics import Metrics, trackers
from nextword.training.parallel import Group, processes
from nextword.training.planning import Plan
from nextword.training.precision import Precision, choose
from nextword.training.speed import tokens_per_second
from nextword.training.state import State


@dataclass(frozen=True)
class RunSummary:
    """How a run ended. `loss` is the best held-out one, nats a token, None if none is."""

    run: str
    steps: int
    tokens: int
    seconds: float
    loss: float | None
    bits_per_byte: float | None
    finished: str  # why it ended; "" if a signal stopped it before


def pretrain(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    settings: PretrainSettings | None = None,
    **overrides: Any,
) -> RunSummary:
    """Train a new model on raw text or a store; `out` becomes a run directory.

    With `resume=True` a run that was stopped goes on from its last checkpoint, bit for bit as if
    it had not been. Raises UserError where settings and data do not fit.
    """
    started = time.monotonic()
    given = {} if settings is None else settings.model_dump(exclude_unset=True)
    settings = resolve(PretrainSettings, given | overrides)
    items = [str(item) for item in ([data] if isinstance(data, str | Path) else data)]
    run = Path(out)
    with processes() as group, interruptible() as interrupt:
        resumed = settings.resume and (run / "run.json").is_file()
        if resumed:
            items, settings = run_files.settings_of(run, items, settings)
        else:
            _refuse_to_overwrite(run, settings)
        store = _store(items, run, settings, group)
        if resumed:
            plan, measured = _plan_of(run, store, settings, group)
        else:
            plan, measured = _decide(store, settings, group, started)
            if group.leads:
                run_files.write(run, items, settings, store, plan, measured)
        group.wait()
        return _train(run, store, settings, plan, measured, group, interrupt, resumed, started)


def _train(
    run: Path,
    store: Store,
    settings: PretrainSettings,
    plan: Plan,
    measured: Precision,
    group: Group,
    interrupt: Interrupt,
    resumed: bool,
    started: float,
) -> RunSummary:
    saved = checkpoint.load_newest(run / "checkpoints") if resumed else None
    kept = int(saved.state["metrics_bytes"]) if saved else 0
    sinks = trackers(settings.log_to, run, settings.model_dump()) if group.leads else []
    metrics = Metrics(run / "metrics.jsonl" if group.leads else Path(os.devnull), kept, sinks)
    job = assemble(run, store, settings, plan, measured, group, interrupt, metrics)
    if saved is None:
        state = State(schedule=plan.schedule, seconds=time.monotonic() - started)
    else:
        state = milestones.restore(job, saved)
        if settings.new_horizon:
            state.schedule, state.horizon_fixed, state.finished = plan.schedule, False, ""
        if group.leads and not state.finished:
            metrics.event(state.step, "resume", f"resumed from the checkpoint of step {state.step}")
        say(f"Going on from step {state.step:,} of {state.schedule.steps:,}")
    if state.finished:
        say(f"This run is finished: {state.finished}")
    else:
        state = train(job, state)
    metrics.close()
    if interrupt.requested and not state.finished:
        say(f"Stopped at step {state.step:,}, saved. Go on with: --out {run} --resume")
    best = state.best_loss
    return RunSummary(
        run=str(run),
        steps=state.step,
        tokens=state.tokens,
        seconds=round(state.seconds, 2),
        loss=best,
        bits_per_byte=None if best is None else best / math.log(2) * job.validator.tokens_per_byte,
        finished=state.finished,
    )


def _refuse_to_overwrite(run: Path, settings: PretrainSettings) -> None:
    if run.exists() and not run.is_dir():
        raise UserError("is a file; a run needs a folder", where=run, mend="choose another --out")
    if (run / "run.json").exists() or (run.is_dir() and any(run.iterdir()) and not settings.resume):
        raise UserError(
            "exists already", where=run, mend="--resume goes on with it; or choose another --out"
        )


def _store(data: list[str], run: Path, settings: PretrainSettings, group: Group) -> Store:
    """The store given as data, or one prepared from it under the run."""
    if len(data) == 1 and (Path(data[0]) / "manifest.json").is_file():
        return Store.open(Path(data[0]))
    if not data:
        raise UserError("no data was given", mend="nextword pretrain DATA... --out RUN")
    if group.leads and not (run / "store" / "manifest.json").is_file():
        own = settings.model_dump(include=set(PrepareSettings.model_fields))
        prepare(data, run / "store", PrepareSettings(**own))
    group.wait()
    return Store.open(run / "store")


def _decide(
    store: Store, settings: PretrainSettings, group: Group, started: float
) -> tuple[Plan, Precision]:
    """The same on every rank: what they measure is averaged before anything depends on it."""
    measured = choose(settings.precision, group.device)
    measured = replace(measured, peak=group.mean(measured.peak))

    def speed(config: TransformerConfig, batch: int, micro: int) -> float:
        return tokens_per_second(store, config, settings, batch, micro, measured, group)

    plan = planning.plan(
        settings,
        store.train,
        store.tokenizer.vocab_size,
        peak=measured.peak * group.size,
        measure=speed,
        spent=group.mean(time.monotonic() - started),
        gpu=group.device.type == "cuda",
    )
    if not group.leads:
        return plan, measured
    for reason in [f"activations in {measured.name}: {measured.reason}", *plan.reasons]:
        say(f"  {reason}")
    return plan, measured


def _plan_of(
    run: Path, store: Store, settings: PretrainSettings, group: Group
) -> tuple[Plan, Precision]:
    saved = read_json(run / "run.json")
    if saved["store_sums"] != store.manifest["files"]:
        raise UserError(
            "the store is not the one this run was started on",
            where=store.path,
            mend="put the old store back, or start another run",
        )
    threads = saved["environment"]["threads"]
    if threads != torch.get_num_threads():
        warn(
            f"this run was started with {threads} threads, now it is {torch.get_num_threads()}: "
            "sums may be rounded in another order, so weights will differ in their last bits"
        )
    plan = Plan.from_json(saved["plan"])
    measured = Precision(**saved["precision"])
    if settings.new_horizon:
        speed = tokens_per_second(
            store, plan.config, settings, plan.batch_size, plan.micro_batch, measured, group
        )
        plan = planning.with_new_horizon(plan, settings, len(store.train.tokens), speed)
        say(
            f"  new horizon: {plan.schedule.steps:,} steps, about {duration(plan.expected_seconds)}"
        )
    return plan, measured
