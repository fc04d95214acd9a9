"""`finetune`: a model and labelled data in, a run directory with a model for that task out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nextword.runs.configuration import SEARCH, SEEDS
from nextword.settings import FinetuneSettings, with_overrides
from nextword.text.sources import list_items
from nextword.training import session
from nextword.training.parallel import Group, Interrupt
from nextword.verbs import finetune_plan
from nextword.verbs.finetune_run import Finetuned, Work, finetune_once
from nextword.verbs.search import search
from nextword.verbs.seeds import finetune_seeds


def finetune(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    settings: FinetuneSettings | None = None,
    **overrides: Any,
) -> Finetuned:
    """Fine-tune a model, ours or of the Hub, on labelled data; `out` becomes a run directory.

    With `resume=True` a run that was stopped goes on, bit for bit. Raises UserError where model,
    data and settings do not fit.
    """
    started, run = time.monotonic(), Path(out)
    settings = with_overrides(FinetuneSettings, settings, overrides)
    finetune_plan.check(settings)
    items = list_items(data)

    def work(group: Group, interrupt: Interrupt) -> Finetuned:
        return _carry_out(Work(str(model), items, group, interrupt), run, settings)

    def stopped(signal: int) -> Finetuned:
        seconds = round(time.monotonic() - started, 2)
        return Finetuned(str(run), settings.task, seconds=seconds, signal=signal)

    smaller = "give a smaller --micro-batch or --max-length, or --lora"
    return session.run_guarded(run, work, stopped, smaller)


def _carry_out(work: Work, run: Path, settings: FinetuneSettings) -> Finetuned:
    """Carry out what was asked for: a search, a run for each seed, or a single one."""

    def has_begun(file: str) -> bool:
        return settings.resume and (run / file).is_file()

    trials = {}
    if settings.search or has_begun(SEARCH):
        settings, best = search(work, run, settings)
        if best.signal or settings.seeds == 1:
            return best
        trials = best.trials
    if settings.seeds > 1 or has_begun(SEEDS):
        return replace(finetune_seeds(work, run, settings), trials=trials)
    return finetune_once(work, run, settings)
