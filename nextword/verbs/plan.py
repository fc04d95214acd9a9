"""`plan`: what a pretraining run would be on this machine, and how good, without training."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.models.config import parameter_count
from nextword.settings import PrepareSettings, PretrainSettings, with_overrides
from nextword.terminal import say
from nextword.text.sources import list_items
from nextword.tokens.prepare import prepare
from nextword.tokens.store import Store, is_store
from nextword.training import costs, forecast, planning
from nextword.training.machine import Precision, threads_given_back
from nextword.training.objective import check_objective, objective_of
from nextword.training.parallel import Group, processes
from nextword.training.planning import PretrainPlan
from nextword.verbs.pretrain_run import decide

NOTHING_TO_PLAN = ("resume", "change_length", "log_to")


@dataclass(frozen=True)
class Planned:
    """What a run would be. `memory` is its peak in bytes, `free` what there is (0 where the system
    does not say); `bits_per_byte` is expected on held-out text, None where nothing is known of it,
    `estimate` how it was found. `reasons` say why all of it was chosen."""

    parameters: int
    layers: int
    width: int
    heads: int
    vocab_size: int
    text_tokens: int
    seen_tokens: int
    batch_size: int
    micro_batch: int
    context_length: int
    steps: int
    warmup: int
    optimizer: str
    learning_rate: float
    precision: str
    threads: int
    seconds: float
    tokens_per_second: float
    memory: int
    free: int
    bits_per_byte: float | None
    estimate: str
    reasons: list[str]


def plan(
    data: str | Path | Sequence[str | Path],
    settings: PretrainSettings | None = None,
    **overrides: Any,
) -> Planned:
    """Return what `pretrain` with the same data and settings would do here.

    Raw text is prepared for it, into a temporary folder; a store is only read. Raises UserError
    where settings and data do not fit.
    """
    started = time.monotonic()
    settings = with_overrides(PretrainSettings, settings, overrides)
    for name in filter(settings.changes, NOTHING_TO_PLAN):
        flag = f"--{name.replace('_', '-')}"
        raise UserError(f"{flag} does nothing for a plan", mend=f"leave {flag} out")
    planning.check(settings)
    with (
        processes() as group,
        threads_given_back(),
        tempfile.TemporaryDirectory(prefix="nextword-plan-") as folder,
    ):
        store = open_or_prepare(list_items(data), Path(folder), settings)
        spent = 0.0 if settings.budget is None else time.monotonic() - started
        check_objective(store, settings)
        objective = objective_of(settings, store.tokenizer)
        found, precision = decide(settings, store, objective, group, spent)
        return _planned(settings, store, found, precision, group)


def open_or_prepare(items: list[str], folder: Path, settings: PretrainSettings) -> Store:
    """Return the store that was given, or one made of the text, into a folder."""
    if len(items) == 1 and is_store(items[0]):
        return Store.open(items[0])
    say("Preparing the text in a temporary folder (a store from `nextword prepare` saves this)")
    own = settings.model_dump(include=set(PrepareSettings.model_fields))
    return prepare(items, folder / "store", PrepareSettings(**own))


def _planned(
    settings: PretrainSettings,
    store: Store,
    found: PretrainPlan,
    precision: Precision,
    group: Group,
) -> Planned:
    config, train, steps = found.config, store.train, found.schedule.steps
    seen = steps * found.batch_size * config.context_length
    needed = costs.predict_memory(
        config,
        found.micro_batch,
        precision,
        settings.optimizer,
        accumulates=found.micro_batch < -(-found.batch_size // group.size),
        device=group.device,
    )
    bits, estimate = None, "none, since the run does not predict the next token"
    if settings.objective == "causal":
        bits = forecast.expected_bits_per_byte(train, seen)
        estimate = forecast.METHOD if bits else "none, since the store does not know its bytes"
    return Planned(
        parameters=parameter_count(config),
        layers=config.layers,
        width=config.width,
        heads=config.heads,
        vocab_size=config.vocab_size,
        text_tokens=len(train),
        seen_tokens=seen,
        batch_size=found.batch_size,
        micro_batch=found.micro_batch,
        context_length=config.context_length,
        steps=steps,
        warmup=found.schedule.warmup,
        optimizer=settings.optimizer,
        learning_rate=found.learning_rate,
        precision=precision.name,
        threads=precision.threads,
        seconds=round(found.expected_seconds, 1),
        tokens_per_second=round(seen / found.expected_seconds, 1),
        memory=needed.total,
        free=costs.free_memory(group),
        bits_per_byte=bits,
        estimate=estimate,
        reasons=[f"activations in {precision.name}: {precision.reason}", *found.reasons],
    )
