"""`pretrain`: text or a store in, a run directory out; or a run directory that goes on.

RUN/store/ holds the prepared text, unless the data was a store already.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nextword.errors import UserError
from nextword.files import recover
from nextword.models.config import TransformerConfig
from nextword.runs import pretraining
from nextword.settings import PrepareSettings, PretrainSettings, resolve
from nextword.terminal import duration, say, warn
from nextword.tokens.prepare import prepare
from nextword.tokens.store import Store
from nextword.training import milestones, planning, session, trackers
from nextword.training.assemble import assemble
from nextword.training.interrupt import Interrupt
from nextword.training.learning import Learning, check_objective, learning
from nextword.training.parallel import Group
from nextword.training.planning import Plan
from nextword.training.precision import Precision, choose
from nextword.training.speed import tokens_per_second
from nextword.training.state import Job, State


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
    signal: int  # the signal that stopped it, 0 for none


def pretrain(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    settings: PretrainSettings | None = None,
    **overrides: Any,
) -> RunSummary:
    """Train a new model on raw text or a store; `out` becomes a run directory.

    With `resume=True` a run that was stopped goes on from its last checkpoint, bit for bit as if
    it had not been. SIGTERM and Ctrl-C end it early: all that was done is on the disk then, and
    the summary's `signal` says so. Raises UserError where settings and data do not fit.
    """
    started = time.monotonic()
    given = {} if settings is None else settings.model_dump(exclude_unset=True)
    settings = resolve(PretrainSettings, given | overrides)
    items = [str(item) for item in ([data] if isinstance(data, str | Path) else data)]
    run = Path(out)
    return session.supervised(
        run,
        lambda group, interrupt: _run(items, run, settings, group, interrupt, started),
        lambda number: RunSummary(
            str(run), 0, 0, round(time.monotonic() - started, 2), None, None, "", number
        ),
        smaller="give a smaller --micro-batch, --context-length or --size",
    )


def _run(
    items: list[str],
    run: Path,
    settings: PretrainSettings,
    group: Group,
    interrupt: Interrupt,
    started: float,
) -> RunSummary:
    trackers.check(settings.log_to)
    resumed = settings.resume and (run / "run.json").is_file()
    if resumed:
        items, settings = pretraining.settings_of(run, items, settings)
    else:
        _refuse_to_overwrite(run, settings)
        planning.check(settings)
    if group.leads:
        _recover(run)
    group.wait()
    store = _store(items, run, settings, group, resumed)
    check_objective(store, settings)
    learned = learning(settings, store.tokenizer)
    if resumed:
        plan, measured = _plan_of(run, store, learned, settings, group)
    else:
        plan, measured = _decide(store, learned, settings, group, started)
        if group.leads:
            pretraining.write(run, items, settings, store, plan, measured)
    group.wait()
    saved, metrics = session.open_log(run, settings, group, resumed)
    job = assemble(run, items, store, learned, settings, plan, measured, group, interrupt, metrics)
    budget = settings.budget if settings.steps is None and settings.epochs is None else None
    if saved is None:
        state = State(plan.schedule, budget, seconds=group.mean(time.monotonic() - started))
        state.began = state.seconds
    else:
        state = milestones.restore(job, saved)
        if settings.new_horizon:
            state.schedule, state.budget, state.horizon_fixed = plan.schedule, budget, False
            state.finished, state.saved = "", -1
            milestones.save(job, state)
            if group.leads:
                pretraining.write(run, items, settings, store, plan, measured)
    state = session.carry_through(job, state, resumed=saved is not None)
    return _summary(job, state)


def _summary(job: Job, state: State) -> RunSummary:
    stopped = 0 if state.finished else job.interrupt.requested
    if stopped and job.group.leads:
        say(f"Stopped at step {state.step:,}, saved. Go on with the same command and --resume")
    return RunSummary(
        run=str(job.run),
        steps=state.step,
        tokens=state.tokens,
        seconds=round(state.seconds, 2),
        loss=state.best_loss,
        bits_per_byte=state.best_figures.get("bits per byte"),
        finished=state.finished,
        signal=stopped,
    )


def _recover(run: Path) -> None:
    """Finish what a killed process was replacing."""
    recover(run / "model")
    for aside in (run / "checkpoints").glob(".step-*"):
        recover(aside.with_name(aside.name[1:].rsplit(".", 1)[0]))


def _refuse_to_overwrite(run: Path, settings: PretrainSettings) -> None:
    if run.exists() and not run.is_dir():
        raise UserError("is a file; a run needs a folder", where=run, mend="choose another --out")
    if (run / "run.json").exists() or (run.is_dir() and any(run.iterdir()) and not settings.resume):
        raise UserError(
            "exists already", where=run, mend="--resume goes on with it; or choose another --out"
        )


def _store(
    data: list[str], run: Path, settings: PretrainSettings, group: Group, resumed: bool
) -> Store:
    """The store given as data, or one prepared from it under the run."""
    if len(data) == 1 and (Path(data[0]) / "manifest.json").is_file():
        return Store.open(Path(data[0]))
    if not data:
        raise UserError("no data was given", mend="nextword pretrain DATA... --out RUN")
    # Of a run that was stopped before it began, the store is used only if it is of the same data.
    if group.leads and not (resumed and (run / "store" / "manifest.json").is_file()):
        own = settings.model_dump(include=set(PrepareSettings.model_fields))
        prepare(data, run / "store", PrepareSettings(**own))
    group.wait()
    return Store.open(run / "store")


def _decide(
    store: Store, learned: Learning, settings: PretrainSettings, group: Group, started: float
) -> tuple[Plan, Precision]:
    """The same on every rank: what they measure is averaged before anything depends on it."""
    measured = choose(settings.precision, group.device)
    measured = replace(measured, peak=group.mean(measured.peak))

    def speed(config: TransformerConfig, batch: int, micro: int) -> float:
        return tokens_per_second(store, learned, config, settings, batch, micro, measured, group)

    plan = planning.plan(
        settings,
        store.train,
        store.tokenizer.vocab_size,
        peak=measured.peak * group.size,
        measure=speed,
        spent=group.mean(time.monotonic() - started),
        gpu=group.device.type == "cuda",
        ranks=group.size,
    )
    if not group.leads:
        return plan, measured
    for reason in [f"activations in {measured.name}: {measured.reason}", *plan.reasons]:
        say(f"  {reason}")
    return plan, measured


def _plan_of(
    run: Path, store: Store, learned: Learning, settings: PretrainSettings, group: Group
) -> tuple[Plan, Precision]:
    saved = pretraining.read(run)
    if saved.store_sums != store.manifest["files"]:
        raise UserError(
            "the store is not the one this run was started on",
            where=store.path,
            mend="put the old store back, or start another run",
        )
    threads = saved.environment.get("threads")
    if group.leads and threads != torch.get_num_threads():
        warn(
            f"this run was started with {threads} threads, now it is {torch.get_num_threads()}: "
            "sums may be rounded in another order, so weights will differ in their last bits"
        )
    plan, measured = saved.plan, saved.precision
    if settings.new_horizon:
        batch, micro = plan.batch_size, plan.micro_batch
        speed = tokens_per_second(
            store, learned, plan.config, settings, batch, micro, measured, group
        )
        plan = planning.with_new_horizon(plan, settings, len(store.train.tokens), speed)
        if group.leads:
            time_left = duration(plan.expected_seconds)
            say(f"  new horizon: {plan.schedule.steps:,} steps, about {time_left}")
    return plan, measured
