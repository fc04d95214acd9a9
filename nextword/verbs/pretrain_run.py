"""One pretraining run: text or a store in, a run directory out; or a run directory that goes on.

RUN/store/ holds the prepared text, unless the data was a store already.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from nextword.errors import UserError
from nextword.files import recover
from nextword.models.blocks import compile_blocks
from nextword.models.encoder_decoder import build_model
from nextword.models.sizes import flops_per_token
from nextword.objectives import language_modeling
from nextword.runs import configuration
from nextword.runs.configuration import PretrainConfiguration
from nextword.settings import PrepareSettings, PretrainSettings
from nextword.terminal import duration, say, warn
from nextword.tokens import losses
from nextword.tokens.remote_store import local_place
from nextword.tokens.store import Store, is_store
from nextword.training import costs, metrics_log, periodic, planning, session
from nextword.training.costs import SpeedTest
from nextword.training.machine import Precision, choose_precision, watch_threads
from nextword.training.objective import Objective, check_objective, objective_of
from nextword.training.optimizers import OptimizerSettings, build_optimizers
from nextword.training.parallel import Group, Interrupt
from nextword.training.planning import PretrainPlan
from nextword.training.sharding import choose_sharding, spread
from nextword.training.state import State
from nextword.training.trainer import Session, Subject, Trainer, build_trainer
from nextword.verbs.pretrain_hooks import PretrainHooks, describe_source


@dataclass
class PretrainRun:
    """A run with its own settings and data: those it was started with, where it goes on."""

    path: Path
    data: list[str]
    settings: PretrainSettings
    group: Group
    interrupt: Interrupt
    started: float

    def prepare(self) -> None:
        """Check what is asked for, and prepare the text: what the main process does before any
        other begins. Raises UserError where settings and data do not fit."""
        metrics_log.check_trackers(self.settings.log_to)
        if self._take_up() is None:
            begun = configuration.has_begun_to_pretrain(self.path)
            configuration.refuse_to_overwrite(self.path, begun and not self.settings.resume)
            planning.check(self.settings)
        self._recover()
        if self._given_store is not None:
            return
        if not self.data:
            raise UserError("no data was given", mend="nextword pretrain DATA... --out RUN")
        from nextword.tokens.prepare import prepare, refuse_changed_text

        place, resumed = self.path / configuration.STORE, (self.path / configuration.FILE).is_file()
        # The store of a run that was stopped before it began is used only if its data is the same.
        if resumed and (place / "manifest.json").is_file():
            refuse_changed_text(Store.open(place), self.data)
        else:
            own = self.settings.model_dump(include=set(PrepareSettings.model_fields))
            prepare(self.data, place, PrepareSettings(**own))

    def carry_out(self) -> State:
        """Plan and train, once all is prepared. Raises UserError where settings and data do not
        fit."""
        saved = self._take_up()
        store = self._store()
        check_objective(store, self.settings)
        objective = objective_of(self.settings, store.tokenizer)
        if saved is None:
            plan, precision = self._decide(store, objective)
            self._write(store, plan, precision)
        else:
            plan, precision = self._resume(saved, store, objective), saved.precision
        self.group.barrier()
        point, log = session.open_log(self.path, self.settings, self.group, saved is not None)
        trainer = self._trainer(store, objective, plan, precision, log)
        budget = self._budget
        if point is None:
            state = State(plan.schedule, budget, seconds=self.group.mean(self._elapsed))
            state.began = state.seconds
        else:
            state = periodic.restore(trainer, point)
            if self.settings.change_length:
                state.schedule, state.budget, state.horizon_fixed = plan.schedule, budget, False
                state.finished, state.saved = "", -1
                periodic.save(trainer, state)
                self._write(store, plan, precision)
        return session.train_to_end(trainer, state, resumed=point is not None)

    def _take_up(self) -> PretrainConfiguration | None:
        """Return what the run that goes on was started with, and take its settings and data."""
        if not (self.settings.resume and (self.path / configuration.FILE).is_file()):
            return None
        saved = configuration.read(self.path, PretrainConfiguration)
        self.settings = configuration.pretrain_settings_to_resume(
            self.path, saved, self.data, self.settings
        )
        self.data = saved.data
        return saved

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def _budget(self) -> float | None:
        settings = self.settings
        return settings.budget if settings.steps is None and settings.epochs is None else None

    def _recover(self) -> None:
        """Finish what a killed process was replacing."""
        recover(self.path / "model")
        for aside in (self.path / "checkpoints").glob(".step-*"):
            recover(aside.with_name(aside.name[1:].rsplit(".", 1)[0]))

    @cached_property
    def _given_store(self) -> Path | None:
        """The store that was given as data, if it was; one at an address is fetched."""
        given = local_place(self.data[0]) if len(self.data) == 1 else None
        return given if given and is_store(given) else None

    def _store(self) -> Store:
        """The store given as data, or the one prepared from it under the run."""
        if self._given_store is None:
            return Store.open(self.path / configuration.STORE)
        store = Store.open(self._given_store)
        if self.group.is_main and (lost := store.manifest.get("unknown_tokens")):
            losses.check(losses.Losses.from_json(lost), store.path)
        return store

    def _decide(self, store: Store, objective: Objective) -> tuple[PretrainPlan, Precision]:
        """Choose what the settings leave open, and say why."""
        group = self.group
        plan, precision = decide(self.settings, store, objective, group, self._elapsed)
        if group.is_main:
            for reason in [f"activations in {precision.name}: {precision.reason}", *plan.reasons]:
                say(f"  {reason}")
        return plan, precision

    def _resume(
        self, saved: PretrainConfiguration, store: Store, objective: Objective
    ) -> PretrainPlan:
        """The plan of the run that goes on, with another length if that is asked for."""
        if saved.store_sums != store.manifest["files"]:
            raise UserError(
                "the store is not the one this run was started on",
                where=store.path,
                mend="put the old store back, or start another run",
            )
        plan = saved.plan
        if self.settings.change_length:
            measure = SpeedTest(store, objective, self.settings, saved.precision, self.group)
            speed = measure(plan.config, plan.batch_size, plan.micro_batch)
            plan = planning.with_change_length(plan, self.settings, len(store.train.tokens), speed)
            if self.group.is_main:
                time_left = duration(plan.expected_seconds)
                say(f"  new horizon: {plan.schedule.steps:,} steps, about {time_left}")
        return plan

    def _write(self, store: Store, plan: PretrainPlan, precision: Precision) -> None:
        if self.group.is_main:
            found = PretrainConfiguration(
                data=self.data,
                settings=self.settings.model_dump(exclude_unset=True),
                precision=precision,
                environment=configuration.environment(),
                plan=plan,
                store=os.path.relpath(store.path, self.path),
                store_tokenizer=store.manifest["tokenizer"]["sha256"],
                store_sums=store.manifest["files"],
            )
            configuration.write(self.path, found)

    def _trainer(
        self,
        store: Store,
        objective: Objective,
        plan: PretrainPlan,
        precision: Precision,
        log: session.MetricsLog,
    ) -> Trainer:
        settings, group = self.settings, self.group
        config = replace(plan.config, dropout=settings.dropout, start_id=objective.start_id)
        with torch.device("meta"):  # ranks keep parts of it, or have it on another device
            model = build_model(config, seed=None)
        model.activation_dtype = precision.dtype
        if plan.compile:
            compile_blocks(model)
        validator = objective.validator_for(store, plan, settings.seed)
        if not len(store.val.tokens) and group.is_main:
            warn("no text is held out: the model is not validated (--val-fraction 0)")
        hooks = PretrainHooks(
            model,
            store,
            objective,
            plan,
            validator,
            top_speed=precision.peak
            * group.size
            / flops_per_token(config, config.context_length, objective.target_share),
            source=describe_source(self.data, store),
        )
        loader = objective.loader(store.train, config.context_length)
        sharding = choose_sharding(settings.shard, model, group)
        weights = model.initial_weights(settings.seed)
        root = spread(model, language_modeling.loss, sharding, group, weights)
        return build_trainer(
            self.path,
            Subject(model, root, loader, validator, hooks),
            build_optimizers(
                model,
                OptimizerSettings(
                    settings.optimizer,
                    plan.learning_rate,
                    plan.weight_decay,
                    plan.momentum,
                    (settings.beta1, settings.beta2),
                ),
                precision.dtype,
                model.tiles(plan.batch_size * config.context_length),
                ranks=group.size,
            ),
            plan,
            settings,
            Session(
                group,
                self.interrupt,
                watch_threads(settings.threads, precision, group, config.width),
            ),
            log,
        )


def decide(
    settings: PretrainSettings, store: Store, objective: Objective, group: Group, spent: float
) -> tuple[PretrainPlan, Precision]:
    """Choose what the settings leave open. The same on every rank: what they measure is averaged
    before anything depends on it. `spent` are seconds of the budget that are gone."""
    width = planning.width_to_time(settings)
    precision = choose_precision(settings.precision, group, width, settings.threads)
    machine = planning.Machine(
        peak=precision.peak * group.size,
        measure=SpeedTest(store, objective, settings, precision, group),
        gpu=group.device.type == "cuda",
        ranks=group.size,
        fitting=lambda config, rows: costs.fitting_micro_batch(
            config,
            rows,
            precision,
            settings.optimizer,
            costs.free_memory(group),
            group.device,
        ),
    )
    return planning.plan(settings, store.train, machine, spent=group.mean(spent)), precision
